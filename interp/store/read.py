"""Read validated rows, features with all that belongs to them, and the catalogue that filters use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import JSON, Boolean, Connection, Float, Integer, Select, String, Text, select

from interp.store import schema
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow
from interp.store.write import parts

_SCORE = [field.name for field in fields(ScoreRow)]
_EXEMPLAR = [field.name for field in fields(ExemplarRow)]
_HELD: dict[type, set[type]] = {
    Boolean: {bool}, Integer: {int}, Float: {int, float}, String: {str}, Text: {str}, schema.Name: {str},
    schema.KeptText: {str}, JSON: {dict}, schema.EmbeddingColumn: {np.ndarray},
}  # fmt: skip

_DTYPE: dict[type, Any] = {
    Boolean: "boolean", Integer: "int64", Float: "float64", schema.Name: "object", schema.KeptText: "object",
}  # fmt: skip


def fetched(connection: Connection, query: Select[Any]) -> list[Any]:
    """The rows of a query; every cell is checked, as SQLite does not enforce the types of columns.

    Raises:
        DamagedCell: a cell is not of its column's type.
    """
    rows = list(connection.execute(query))
    for place, column in enumerate(query.selected_columns):
        plain = getattr(column, "element", column)  # of a label
        found = set(map(type, map(itemgetter(place), rows)))
        odd = found - _HELD.get(type(column.type), found) - ({type(None)} if plain.nullable else set())
        if odd:
            kinds = ", ".join(sorted(one.__name__ for one in odd))
            raise schema.DamagedCell(f"the column {plain.table.name}.{plain.name} holds {kinds}")
    return rows


def numbers(quantiles: Mapping[str, Any]) -> dict[str, float]:
    """Quantiles by their probabilities, without the unknown ones.

    Raises:
        DamagedCell: one is not a number.
    """
    if not all(type(value) in (int, float, type(None)) for value in quantiles.values()):
        raise schema.DamagedCell("a quantile is not a number")
    return {level: float(value) for level, value in quantiles.items() if value is not None}


def catalogue(connection: Connection, subject: str | None, chosen_only: bool) -> pd.DataFrame:
    """A row for each description; see `Store.catalogue`."""
    f, s, d, c = schema.features, schema.spaces, schema.descriptions, schema.scores
    named = select(s.c.id, s.c.subject, s.c.name, s.c.layer).order_by(s.c.id)
    spaces = pd.DataFrame(fetched(connection, named), columns=["id", "subject", "name", "layer"])
    query = select(
        d.c.id.label("description"), f.c.space, f.c.feature_id, f.c.polarity, d.c.explainer, d.c.chosen,
        d.c.interesting,
    ).join_from(d, f).join(s, f.c.space == s.c.id).order_by(d.c.id)  # fmt: skip
    if subject is not None:
        query = query.where(s.c.subject == subject)
    if chosen_only:
        query = query.where(d.c.chosen)
    table = _table(connection, query)
    at = np.searchsorted(spaces["id"].to_numpy(), table["space"].to_numpy())  # names once, not for each row
    table["explainer"] = table["explainer"].astype("category")
    table["space"] = spaces["name"].astype("category").array[at]
    table.insert(1, "subject", spaces["subject"].astype("category").array[at])
    table.insert(3, "layer", spaces["layer"].to_numpy(dtype=np.float64)[at])
    ids = table["description"].to_numpy()
    for kind, split in sorted(fetched(connection, select(c.c.kind, c.c.split).distinct())):
        given = select(c.c.description, c.c.value).where(
            c.c.kind == kind, c.c.split == split, c.c.value.is_not(None)
        )
        found = _table(connection, given.order_by(c.c.id.desc()))  # of several, the first is written last
        of = found["description"].to_numpy()
        place = np.minimum(np.searchsorted(ids, of), max(0, len(ids) - 1))
        here = ids[place] == of if len(ids) else np.zeros(len(of), dtype=np.bool_)
        if here.any():
            values = np.full(len(ids), np.nan)
            values[place[here]] = found["value"].to_numpy()[here]
            table[f"{kind} {split}"] = values
    return table


def sides(connection: Connection, subject: str, space: str, kind: str, split: str) -> pd.DataFrame:
    """A row for each side of a space and each of its chosen descriptions; see `Store.sides`."""
    s, f, d, c = schema.spaces, schema.features, schema.descriptions, schema.scores
    here = s.c.subject == subject, s.c.name == space
    known = _table(
        connection,
        select(f.c.id, f.c.feature_id, f.c.polarity, f.c.rate).join_from(f, s).where(*here),
    )
    described = _table(
        connection,
        select(
            d.c.feature.label("id"), d.c.id.label("description"), d.c.text, d.c.summary, d.c.explainer,
            d.c.interesting,
        ).join_from(d, f).join(s, f.c.space == s.c.id).where(*here, d.c.chosen).order_by(d.c.id),
    )  # fmt: skip
    scored = _table(
        connection,
        select(c.c.description, c.c.value, c.c.low, c.c.high, c.c.null_high)
        .join_from(c, d).join(f, d.c.feature == f.c.id).join(s, f.c.space == s.c.id)
        .where(*here, d.c.chosen, c.c.kind == kind, c.c.split == split).order_by(c.c.id),
    )  # fmt: skip
    told = described.merge(scored.drop_duplicates("description"), "left", "description")
    return known.merge(told, "left", "id").drop(columns="id")


def _table(connection: Connection, query: Select[Any]) -> pd.DataFrame:
    """The rows of a query with the types of their columns, also where there are none."""
    rows = fetched(connection, query)
    held = {  # a column at a time: pandas would be three times as slow on rows
        column.name: pd.Series(list(map(itemgetter(place), rows)), dtype=_DTYPE.get(type(column.type)))
        for place, column in enumerate(query.selected_columns)
    }
    return pd.DataFrame(held)


def whole_features(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Iterator[FeatureRow]:
    """Features with everything that belongs to them."""
    ids = [row["id"] for row in rows]
    d, c, e = schema.descriptions, schema.scores, schema.exemplars
    described = _mappings(connection, select(d).where(d.c.feature.in_(ids)).order_by(d.c.id))
    of = [one["id"] for one in described]
    scored: dict[int, list[ScoreRow]] = {}
    for part in parts(of):
        for one in _mappings(connection, select(c).where(c.c.description.in_(part)).order_by(c.c.id)):
            scored.setdefault(one["description"], []).append(ScoreRow(*(one[name] for name in _SCORE)))
    words: dict[int, list[DescriptionRow]] = {}
    for one in described:
        words.setdefault(one["feature"], []).append(
            DescriptionRow(
                one["text"], one["explainer"], one["sample"], one["summary"], one["chosen"],
                one["interesting"], one["reason"], one["provenance"], tuple(scored.get(one["id"], ())),
            )
        )  # fmt: skip
    shown: dict[int, list[ExemplarRow]] = {}
    for one in _mappings(connection, select(e).where(e.c.feature.in_(ids)).order_by(e.c.id)):
        shown.setdefault(one["feature"], []).append(ExemplarRow(*(one[name] for name in _EXEMPLAR)))
    for row in rows:
        yield FeatureRow(
            row["name"], row["feature_id"], row["polarity"], row["rate"], numbers(row["quantiles"]),
            tuple(words.get(row["id"], ())), tuple(shown.get(row["id"], ())),
        )  # fmt: skip


def _mappings(connection: Connection, query: Select[Any]) -> list[Mapping[str, Any]]:
    return [dict(row._mapping) for row in fetched(connection, query)]
