"""Write many rows at once; what is there already is replaced."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from interp.json_text import finite
from interp.store import schema
from interp.store.rows import DescriptionRow, FeatureRow

ROWS_AT_ONCE = 500
_NOT_TEXT = {0: "\N{SYMBOL FOR NULL}"} | dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")
Row = TypeVar("Row")


def parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists that one statement takes."""
    iterator = iter(rows)
    while part := list(islice(iterator, ROWS_AT_ONCE)):
        yield part


def put_features(connection: Connection, known: Mapping[str, int], rows: Sequence[FeatureRow]) -> None:
    """Write features with all that belongs to them; `known` are the ids of their spaces by name."""
    f, d = schema.features, schema.descriptions
    values = [
        {"space": known[row.space], "feature_id": row.feature_id, "polarity": row.polarity, "rate": row.rate,
         "quantiles": dict(row.quantiles)}
        for row in rows
    ]  # fmt: skip
    ids = upsert(connection, f, values, ("space", "feature_id", "polarity"))
    features = [ids[known[row.space], row.feature_id, row.polarity] for row in rows]
    described = [
        {"feature": number, **_description(one)}
        for number, row in zip(features, rows, strict=True)
        for one in row.descriptions
    ]
    ids = upsert(connection, d, described, ("feature", "explainer", "sample"))
    numbers = [ids[one["feature"], one["explainer"], one["sample"]] for one in described]
    given = [one for row in rows for one in row.descriptions]
    for part in parts(numbers):
        connection.execute(delete(schema.scores).where(schema.scores.c.description.in_(part)))
        connection.execute(delete(schema.embeddings).where(schema.embeddings.c.description.in_(part)))
    scored = [
        {"description": number, **finite(asdict(score))}
        for number, one in zip(numbers, given, strict=True)
        for score in one.scores
    ]
    _insert(connection, schema.scores, scored)
    with_exemplars = [n for n, row in zip(features, rows, strict=True) if row.exemplars]
    for part in parts(with_exemplars):
        connection.execute(delete(schema.exemplars).where(schema.exemplars.c.feature.in_(part)))
    shown = [
        {"feature": number, **asdict(one)}
        for number, row in zip(features, rows, strict=True)
        for one in row.exemplars
    ]
    _insert(connection, schema.exemplars, shown)


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(table.insert(), list(rows))


def upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], key: tuple[str, ...]
) -> dict[tuple[Any, ...], int]:
    """Insert or replace rows; their ids by their keys, where the table has ids."""
    if not rows:
        return {}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(table)
    changed = {name: insert.excluded[name] for name in rows[0] if name not in key}
    connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=changed), list(rows))
    if "id" not in table.c:
        return {}
    columns = [table.c[name] for name in key]
    found: dict[tuple[Any, ...], int] = {}
    first = sorted({row[key[0]] for row in rows})
    for part in parts(first):
        query = select(table.c.id, *columns).where(columns[0].in_(part))
        if table is schema.features:
            query = query.where(columns[1].in_({row[key[1]] for row in rows}))
        found |= {tuple(row[1:]): row[0] for row in connection.execute(query)}
    return found


def _description(one: DescriptionRow) -> dict[str, Any]:
    return {
        "explainer": _text(one.explainer), "sample": one.sample, "text": _text(one.text),
        "summary": _text(one.summary), "chosen": one.chosen, "interesting": one.interesting,
        "reason": _text(one.reason), "provenance": dict(one.provenance),
    }  # fmt: skip


def _text(text: str) -> str:
    return text.translate(_NOT_TEXT)
