"""Features with their descriptions and scores, in a database."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from interp.errors import UserError, similar_names
from interp.store import schema
from interp.store.bundled import bundled_store, is_described
from interp.store.connect import (
    count_rows,
    database_file,
    explained,
    open_database,
    removed_if_new,
    sqlite_file,
)
from interp.store.read import catalogue, fetched, numbers, sides, whole_features
from interp.store.rows import Contents, FeatureRow, SpaceRow, key_parts
from interp.store.vectors import put_vectors, read_vectors
from interp.store.write import held, parts, put_features, put_spaces


class Store:
    """A store, opened by the path of a SQLite file or the URL of a PostgreSQL database.

    Writing something again replaces it. Text is kept as it is, except NUL, which PostgreSQL does not take:
    it becomes ␀, and half a surrogate pair becomes �.

    Raises:
        UserError: it cannot be opened, is no store, or was made by a newer version.
    """

    def __init__(self, where: str | Path) -> None:
        self.engine = open_database(where)
        self.where = self.engine.url.render_as_string(hide_password=True).removeprefix("sqlite:///")
        self.file = sqlite_file(self.engine.url)

    def close(self) -> None:
        """Close the connections; `with` does so too."""
        self.engine.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def put_space(self, space: SpaceRow) -> None:
        """Add a space, or replace what is known of it; its features stay."""
        self.put_all(Contents([space], {}))

    def put(self, subject: str, rows: Iterable[FeatureRow]) -> None:
        """Add features of one subject with their descriptions, scores and exemplars, in one transaction.

        What is known of a feature stays, but what is given again is replaced: descriptions of the same
        explainer and sample with all of their scores, and the exemplars if any are given.

        Raises:
            UserError: a feature's space has not been put, or a value does not fit its field.
        """
        with self._writing() as connection:
            self._put(connection, subject, rows)

    def put_all(self, contents: Contents, replaced: bool = True) -> None:
        """Add spaces and features of any subjects, all of them or nothing; as `put_space` and `put`.

        Without `replaced` what is known of a space stays.

        Raises:
            UserError: as `put`.
        """
        with self._writing() as connection:
            put_spaces(connection, contents.spaces, self.where, replaced)
            for subject, rows in contents.features.items():
                self._put(connection, subject, rows)

    def spaces(self) -> list[SpaceRow]:
        """All spaces, by subject and name."""
        table = schema.spaces
        with explained(self.where), self.engine.connect() as connection:
            columns = [table.c[field.name] for field in fields(SpaceRow)]
            query = select(*columns).order_by(table.c.subject, table.c.name)
            return [SpaceRow(*row) for row in fetched(connection, query)]

    def described(self, subject: str, explainer: str | None = None) -> set[str]:
        """Keys of the features that have a description (by one explainer)."""
        f, s, d = schema.features, schema.spaces, schema.descriptions
        query = (
            select(s.c.name, f.c.feature_id, f.c.polarity).join_from(f, s).join(d, d.c.feature == f.c.id)
            .where(s.c.subject == subject).distinct()
        )  # fmt: skip
        if explainer is not None:
            query = query.where(d.c.explainer == explainer)
        with explained(self.where), self.engine.connect() as connection:
            return {FeatureRow(*row).key for row in fetched(connection, query)}

    def n_described(self, subject: str) -> int:
        """How many sides of features have a description."""
        f, s, d = schema.features, schema.spaces, schema.descriptions
        query = (
            select(func.count(d.c.feature.distinct())).join_from(d, f).join(s).where(s.c.subject == subject)
        )
        with explained(self.where), self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def feature(self, subject: str, key: str) -> FeatureRow:
        """Reads all that is known of one feature.

        Raises:
            UserError: no feature has this key.
        """
        found = list(self.features(subject, [key]))
        if not found:
            known = sorted(self.described(subject))
            near = similar_names(key, known) or known[:5]
            raise UserError(
                f"the store has no feature {key!r} of {subject}",
                self.where,
                f"use {', '.join(near)}" if near else "describe some features first",
            )
        return found[0]

    def features(self, subject: str, keys: Sequence[str] | None = None) -> Iterator[FeatureRow]:
        """Features of a subject (those with `keys`) with all that is known of them, by space and id."""
        f, s = schema.features, schema.spaces
        query = (
            select(f, s.c.name).join_from(f, s).where(s.c.subject == subject)
            .order_by(s.c.name, f.c.feature_id, f.c.polarity.desc())
        )  # fmt: skip
        asked = [query] if keys is None else [query.where(one) for one in _named(keys)]
        with explained(self.where), self.engine.connect() as connection:
            for one in asked:
                rows: list[Mapping[str, Any]] = [dict(row._mapping) for row in fetched(connection, one)]
                for part in parts(rows):
                    yield from whole_features(connection, part)

    def quantiles(self, subject: str) -> Iterator[FeatureRow]:
        """The features of a subject with their quantiles only."""
        f, s = schema.features, schema.spaces
        query = (
            select(s.c.name, f.c.feature_id, f.c.polarity, f.c.rate, f.c.quantiles)
            .join_from(f, s).where(s.c.subject == subject)
        )  # fmt: skip
        with explained(self.where), self.engine.connect() as connection:
            for space, number, polarity, rate, quantiles in fetched(connection, query):
                yield FeatureRow(space, number, polarity, rate, numbers(quantiles))

    def catalogue(self, subject: str | None = None, chosen_only: bool = True) -> pd.DataFrame:
        """A row for each description: its id, its feature and what filters use, without its text.

        Columns: description, subject, space, layer, feature_id, polarity, explainer, chosen, interesting,
        and "KIND SPLIT" for each kind of score.
        """
        with explained(self.where), self.engine.connect() as connection:
            return catalogue(connection, subject, chosen_only)

    def sides(self, subject: str, space: str, kind: str, split: str) -> pd.DataFrame:
        """A row for each side of the features of one space and each of its chosen descriptions, in bulk.

        Columns: feature_id, polarity, rate; description (its id), text, summary, explainer, interesting; and
        value, low, high, null_high of its first score of this kind and split. What is missing is NaN.
        """
        with explained(self.where), self.engine.connect() as connection:
            return sides(connection, subject, space, kind, split)

    def texts(self, ids: Sequence[int] | None = None) -> dict[int, tuple[str, str]]:
        """Text and summary of descriptions by their id; of all chosen ones by default."""
        d = schema.descriptions
        query = select(d.c.id, d.c.text, d.c.summary)
        with explained(self.where), self.engine.connect() as connection:
            if ids is None:
                rows = list(fetched(connection, query.where(d.c.chosen)))
            else:
                asked = (query.where(d.c.id.in_(list(map(int, part)))) for part in parts(ids))
                rows = [row for one in asked for row in fetched(connection, one)]
            return {row.id: (row.text, row.summary) for row in rows}

    def containing(self, words: str) -> set[int]:
        """Ids of the descriptions whose text or summary contains these words, in any case."""
        d = schema.descriptions
        query = select(d.c.id).where(
            d.c.text.icontains(words, autoescape=True) | d.c.summary.icontains(words, autoescape=True)
        )
        with explained(self.where), self.engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def put_vectors(
        self, embedder: str, ids: Sequence[int], vectors: Float[np.ndarray, "description width"]
    ) -> None:
        """Write the vectors of descriptions, replacing those of the same embedder."""
        with self._writing() as connection:
            put_vectors(connection, embedder, ids, vectors)

    def vectors(
        self, embedder: str
    ) -> tuple[Int[np.ndarray, " description"], Float[np.ndarray, "description width"]]:
        """Ids and vectors of the chosen descriptions that have one of this embedder, by id."""
        with explained(self.where), self.engine.connect() as connection:
            return read_vectors(connection, embedder)

    def counts(self) -> dict[str, int]:
        """Number of rows of each table."""
        with explained(self.where):
            return {
                t.name: count_rows(self.engine, t) for t in schema.metadata.sorted_tables if t.name != "meta"
            }

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with explained(self.where), self.engine.begin() as connection:
            yield connection

    def _put(self, connection: Connection, subject: str, rows: Iterable[FeatureRow]) -> None:
        known = self._spaces(connection, subject)
        for given in parts(rows):
            part = [held(row, f"{self.where}, feature {row.space}/{row.feature_id}") for row in given]
            missing = {row.space for row in part} - known.keys()
            if missing:
                raise UserError(
                    f"the store does not know the space {', '.join(sorted(missing))}",
                    self.where,
                    "put the space first",
                )
            put_features(connection, known, part)

    def _spaces(self, connection: Connection, subject: str) -> dict[str, int]:
        table = schema.spaces
        found = connection.execute(select(table.c.name, table.c.id).where(table.c.subject == subject))
        return {name: number for name, number in found}


def _named(keys: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Conditions that the features with these keys meet, some keys in each; what is no key names none."""
    split = sorted(
        {side for key in keys if (side := key_parts(key))}, key=lambda one: (one[0], one[1], -one[2])
    )
    f, s = schema.features, schema.spaces
    for part in parts(split):
        yield or_(
            *(
                and_(s.c.name == name, f.c.polarity == polarity, f.c.feature_id.in_(ids))
                for (name, polarity), ids in _ids_by_side(part).items()
            )
        )


def _ids_by_side(sides: Sequence[tuple[str, int, int]]) -> dict[tuple[str, int], list[int]]:
    found: dict[tuple[str, int], list[int]] = {}
    for name, feature_id, polarity in sides:
        found.setdefault((name, polarity), []).append(feature_id)
    return found


@contextmanager
def opened(where: str | Path) -> Iterator[Store]:
    """Opens a store and closes it after the body; a file that this created is removed if the body fails.

    Raises:
        UserError: as `Store`.
    """
    with removed_if_new(database_file(where)), Store(where) as store:
        yield store


def open_store(where: str | Path) -> Store:
    """Opens an existing store at a path or URL, in a run's folder, or of a bundled model (`world`).

    Raises:
        UserError: there is no store.
    """
    if isinstance(where, str) and "://" in where:
        return Store(where)
    path = Path(where)
    if is_described(str(where)) and not os.path.exists(path):
        return Store(bundled_store(str(where)))
    path = path / "store.sqlite" if os.path.isdir(path) else path
    if not os.path.exists(path):
        raise UserError("there is no store", str(path), "run configs/describe.yaml, or import one")
    return Store(str(path))
