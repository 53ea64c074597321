"""Approximate nearest neighbours inside PostgreSQL: pgvector's HNSW graph, which all processes share."""

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sqlalchemy import ARRAY, Connection, Engine, Integer, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError

from interp.errors import UserError
from interp.json_text import from_json
from interp.store import schema
from interp.store.index_exact import ExactIndex
from interp.store.recall import held_out_queries, reached

EFFORTS = (100, 200, 400, 700, 1000)
"""Values of `hnsw.ef_search` that are tried; pgvector takes at most 1000."""
FEWEST_SHARE = 0.05
"""The share of allowed rows from which on the graph is walked; fewer are all compared."""
_WALK = ("enable_sort = off", "enable_hashjoin = off", "enable_mergejoin = off", "jit = off")
_AGAIN = "drop the index, or use index exact"


@dataclass(frozen=True)
class HnswTuning:
    """What a graph reaches: as `IndexBuild`, with `ef`, how many candidates a walk keeps."""

    n: int
    ef: int
    k: int
    wanted: float
    recall: float
    chosen_on: float
    queries: int


@dataclass(frozen=True)
class HnswSearch:
    """A graph over the vectors of one embedder; `numbers` [row] are the descriptions' ids, ascending."""

    engine: Engine
    embedder: str
    width: int
    numbers: Int[np.ndarray, " row"]
    tuning: HnswTuning

    def search(
        self, query: Float[np.ndarray, " width"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
        """Approximately the rows most similar to the query, best first, and their inner products with it.

        With a filter the walk goes on until enough rows have passed it; where few may pass, all of those are
        compared instead, exactly.
        """
        ids = None if allowed is None or allowed.all() else self.numbers[allowed].tolist()
        walked = ids is None or len(ids) >= FEWEST_SHARE * len(self.numbers)
        with self.engine.begin() as connection:
            if walked:
                _prepare(connection, self.tuning.ef)
            return _nearest(connection, self, query, k, ids, walked)


def open_hnsw(
    engine: Engine,
    embedder: str,
    numbers: Int[np.ndarray, " row"],
    vectors: Float[np.ndarray, "row width"],
    recall: float,
    k: int = 500,
) -> HnswSearch:
    """Opens the graph of an embedder's vectors, or builds it with the least effort that reaches `recall`.

    Efforts are chosen and checked as by `build_annoy`. New vectors join the graph by themselves; it is tuned
    again when their number has changed by a tenth. While it is built, nothing can be written.

    Raises:
        UserError: the recall is not reached at the most effort; says what is.
    """
    width = vectors.shape[1]
    row = f"hnsw {embedder}"
    with engine.connect() as connection:
        known = _known(connection, row)
    if known and known.wanted == recall and abs(known.n - len(numbers)) <= len(numbers) / 10:
        return HnswSearch(engine, embedder, width, numbers, known)
    make_hnsw(engine, embedder, width, len(numbers))
    k, exact = min(k, len(numbers)), ExactIndex(vectors)
    choosing, checking = held_out_queries(vectors)
    truths = [[set(exact.search(query, k)[0].tolist()) for query in part] for part in (choosing, checking)]

    def of(ef: int, part: int) -> float:
        found = HnswSearch(engine, embedder, width, numbers, HnswTuning(0, ef, k, recall, 0.0, 0.0, 0))
        return reached(lambda query: found.search(query, k)[0], (choosing, checking)[part], truths[part], k)

    ef, chosen_on = 0, 0.0
    for ef in EFFORTS:
        chosen_on = of(ef, 0)
        if chosen_on >= recall:
            break
    else:
        raise UserError(
            f"the HNSW graph of {len(numbers):,} vectors finds {chosen_on:.2f} of the {k} nearest at the "
            f"most effort (ef_search {ef}), not {recall:g}",
            engine.url.render_as_string(hide_password=True),
            f"use index exact, or ask for a recall of {np.floor(chosen_on * 100) / 100:g}",
        )
    tuning = HnswTuning(len(numbers), ef, k, recall, of(ef, 1), chosen_on, len(checking))
    with engine.begin() as connection:
        kept = insert(schema.meta).values(name=row, value=json.dumps(asdict(tuning)))
        connection.execute(
            kept.on_conflict_do_update(index_elements=["name"], set_={"value": kept.excluded.value})
        )
    return HnswSearch(engine, embedder, width, numbers, tuning)


def make_hnsw(engine: Engine, embedder: str, width: int, n: int) -> None:
    """Builds the graph if it is not there; where shared memory is short, by one process."""
    name = f"embeddings_hnsw_{zlib.crc32(embedder.encode()):08x}_{width}"
    megabytes = 64 + int(
        n * (4 * width + 600) * 1.2 / 2**20
    )  # what does not fit is built many times as slowly
    statement = text(
        f"create index if not exists {name} on embeddings using hnsw "
        f"((vector::vector({width})) vector_ip_ops) where embedder = :embedder"
    ).bindparams(bindparam("embedder", embedder, literal_execute=True))
    for workers in ("", "set local max_parallel_maintenance_workers = 0"):
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"set local maintenance_work_mem = '{megabytes}MB'")
                if workers:
                    connection.exec_driver_sql(workers)
                connection.execute(statement)
            return
        except OperationalError as error:
            if workers or "shared memory" not in str(error):
                raise


def _prepare(connection: Connection, ef: int) -> None:
    for one in (*_WALK, f"hnsw.ef_search = {ef}", "hnsw.iterative_scan = strict_order"):
        connection.exec_driver_sql(f"set local {one}")


def _nearest(
    connection: Connection,
    graph: HnswSearch,
    query: Float[np.ndarray, " width"],
    k: int,
    ids: list[int] | None,
    walked: bool,
) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
    near = f"(e.vector::vector({graph.width}) <#> (:query)::vector)" + ("" if walked else " + 0")
    passing = "" if ids is None else "and e.description = any(:ids)"
    statement = text(
        f"select e.description, {near} as distance from embeddings e "
        "join descriptions d on d.id = e.description "
        f"where e.embedder = :embedder and d.chosen {passing} order by distance limit :k"
    ).bindparams(bindparam("embedder", graph.embedder, literal_execute=True))
    values: dict[str, Any] = {"query": str(query.tolist()), "k": k}
    if ids is not None:
        statement, values["ids"] = statement.bindparams(bindparam("ids", type_=ARRAY(Integer))), ids
    rows = connection.execute(statement, values).all()
    places = np.searchsorted(graph.numbers, np.array([row[0] for row in rows], dtype=np.int64))
    return places.astype(np.int64), np.array([-row[1] for row in rows], dtype=np.float32)


def _known(connection: Connection, row: str) -> HnswTuning | None:
    found = connection.execute(schema.meta.select().where(schema.meta.c.name == row)).first()
    try:
        return None if found is None else HnswTuning(**from_json(found.value, row, _AGAIN))
    except (TypeError, UserError):
        return None
