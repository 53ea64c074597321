"""Vectors of descriptions in bulk: a database's own binary form, so that no number is written as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sqlalchemy import ColumnElement, Connection, LargeBinary, func, select, type_coerce

from interp.store import schema
from interp.store.postgres_copy import copied_from, copied_to
from interp.store.rows import kept
from interp.store.write import parts, upsert

_AT_ONCE = 20_000
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
Ids = Int[np.ndarray, " description"]
Vectors = Float[np.ndarray, "description width"]


def put_vectors(connection: Connection, embedder: str, ids: Sequence[int], vectors: Vectors) -> None:
    """Writes vectors, replacing those of the same description and embedder."""
    if connection.dialect.name != "postgresql":
        given = (
            {"description": int(number), "embedder": embedder, "vector": vector}
            for number, vector in zip(ids, vectors, strict=True)
        )
        for part in parts(given):
            upsert(connection, schema.embeddings, part, ("description", "embedder"))
        return
    name = kept(embedder).encode()
    stage = "create temp table if not exists staged_vectors (like embeddings) on commit delete rows"
    connection.exec_driver_sql(stage)
    rows = np.empty(len(ids), _row(vectors.shape[1], len(name)))
    for field, value in {
        "cells": 3, "id_bytes": 4, "id": np.asarray(ids), "name_bytes": len(name), "name": name,
        "vector_bytes": 4 + 4 * vectors.shape[1], "width": vectors.shape[1], "unused": 0, "vector": vectors,
    }.items():  # fmt: skip
        rows[field] = value
    copied_to(
        connection,
        "copy staged_vectors (description, embedder, vector) from stdin (format binary)",
        (_HEAD, *(rows[first : first + _AT_ONCE].tobytes() for first in range(0, len(rows), _AT_ONCE)), _END),
    )
    connection.exec_driver_sql(
        "insert into embeddings (description, embedder, vector) "
        "select description, embedder, vector from staged_vectors "
        "on conflict (description, embedder) do update set vector = excluded.vector"
    )
    connection.exec_driver_sql("delete from staged_vectors")


def read_vectors(connection: Connection, embedder: str) -> tuple[Ids, Vectors]:
    """Ids and vectors of the chosen descriptions that have one of this embedder, by id.

    Raises:
        DamagedCell: a cell holds no vector, or they are not equally long.
    """
    e, d = schema.embeddings, schema.descriptions
    here: tuple[ColumnElement[bool], ...] = (e.c.embedder == embedder, d.c.chosen)
    joined = select(func.count()).join_from(e, d, d.c.id == e.c.description).where(*here)
    n = int(connection.execute(joined).scalar_one())
    if not n:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32)
    if connection.dialect.name == "postgresql":
        return _copied(connection, embedder, n)
    ids, vectors, filled = np.empty(n, dtype=np.int64), np.zeros((0, 0), dtype=np.float32), 0
    cells = type_coerce(e.c.vector, LargeBinary)
    query = select(e.c.description, cells).join_from(e, d, d.c.id == e.c.description).where(*here)
    found = connection.execution_options(yield_per=_AT_ONCE).execute(query.order_by(e.c.description))
    for part in found.partitions():
        numbers, held = zip(*part, strict=True)
        if {*map(type, held)} != {bytes}:
            raise schema.DamagedCell("a vector is none")
        if not filled:
            vectors = np.empty((n, len(held[0]) // 4), dtype=np.float32)
        if {*map(len, held)} != {4 * vectors.shape[1]}:
            raise _unequal(embedder)
        rows = slice(filled, filled + len(part))
        ids[rows] = numbers
        vectors[rows] = np.frombuffer(b"".join(held), dtype="<f4").reshape(len(part), -1)
        filled += len(part)
    return ids, vectors


def _copied(connection: Connection, embedder: str, n: int) -> tuple[Ids, Vectors]:
    """As `read_vectors`, from PostgreSQL: rows of equal length are read as one table of numbers."""
    ids, vectors = np.empty(n, dtype=np.int64), np.zeros((0, 0), dtype=np.float32)
    query = (
        "copy (select e.description, e.vector from embeddings e join descriptions d on d.id = e.description "
        "where e.embedder = {} and d.chosen order by e.description) to stdout (format binary)"
    )
    filled, left = 0, bytearray()
    kind: np.dtype[Any] | None = None
    for block in copied_from(connection, query, kept(embedder)):
        left += block
        if filled == 0 and kind is None:
            if len(left) < len(_HEAD) + 18:
                continue
            del left[: len(_HEAD)]
            width = int.from_bytes(left[14:16], "big")
            kind = _row(width)
            vectors = np.empty((n, width), dtype=np.float32)
        assert kind is not None
        whole = min(len(left) // kind.itemsize, n - filled)
        if whole * kind.itemsize < 1 << 22 and filled + whole < n:
            continue  # some megabytes at once
        rows = np.frombuffer(bytes(left[: whole * kind.itemsize]), dtype=kind)
        if (rows["vector_bytes"] != 4 + 4 * vectors.shape[1]).any() or (rows["cells"] != 2).any():
            raise _unequal(embedder)
        ids[filled : filled + whole], vectors[filled : filled + whole] = rows["id"], rows["vector"]
        del left[: whole * kind.itemsize]
        filled += whole
    if filled != n or bytes(left) != _END:
        raise _unequal(embedder)
    return ids, vectors


def _unequal(embedder: str) -> schema.DamagedCell:
    return schema.DamagedCell(f"the vectors of {embedder} are not equally long")


def _row(width: int, name: int | None = None) -> np.dtype[Any]:
    """A row of PostgreSQL's binary copy: a description's id, a name of so many bytes if any, a vector."""
    named = [] if name is None else [("name_bytes", ">i4"), ("name", f"S{name}")]
    vector = [("vector_bytes", ">i4"), ("width", ">i2"), ("unused", ">i2"), ("vector", ">f4", (width,))]
    return np.dtype([("cells", ">i2"), ("id_bytes", ">i4"), ("id", ">i4"), *named, *vector])
