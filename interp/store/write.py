"""Write many rows at once; existing rows of the same key are replaced."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, delete
from sqlalchemy.dialects import postgresql, sqlite

from interp.errors import UserError
from interp.json_text import finite
from interp.store import schema
from interp.store.postgres_copy import copied_rows
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow, SpaceRow, checked

ROWS_AT_ONCE = 500
Row = TypeVar("Row")
_ROWS = frozenset({SpaceRow, FeatureRow, DescriptionRow, ScoreRow, ExemplarRow})


def parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Splits rows into lists that one statement can take."""
    iterator = iter(rows)
    while part := list(islice(iterator, ROWS_AT_ONCE)):
        yield part


def put_spaces(connection: Connection, rows: Sequence[SpaceRow], where: str, replaced: bool = True) -> None:
    """Write spaces; without `replaced` existing ones stay as they are.

    Raises:
        UserError: a value does not fit its field; `where` names the store in the message.
    """
    values = [vars(held(row, f"{where}, space {row.name}")) for row in rows]
    upsert(connection, schema.spaces, values, ("subject", "name"), replaced)


def put_features(connection: Connection, known: Mapping[str, int], rows: Sequence[FeatureRow]) -> None:
    """Write features (as `held`) with all that belongs to them; `known` are the ids of spaces by name."""
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
        {"description": number, **vars(score)}
        for number, one in zip(numbers, given, strict=True)
        for score in one.scores
    ]
    _insert(connection, schema.scores, scored)
    with_exemplars = [n for n, row in zip(features, rows, strict=True) if row.exemplars]
    for part in parts(with_exemplars):
        connection.execute(delete(schema.exemplars).where(schema.exemplars.c.feature.in_(part)))
    shown = [
        {"feature": number, **vars(one)}
        for number, row in zip(features, rows, strict=True)
        for one in row.exemplars
    ]
    _insert(connection, schema.exemplars, shown)


def held(row: Row, place: str) -> Row:
    """The row as a store holds it: numbers that are not finite become None, unknown quantiles are dropped.

    Raises:
        UserError: a value does not fit its field.
    """
    fix = "give a value of that kind"
    try:
        values = _plain(row)
    except RecursionError:
        raise UserError("lists or objects are nested too deeply", place, fix) from None
    if "quantiles" in values:
        values["quantiles"] = {p: value for p, value in values["quantiles"].items() if value is not None}
    return checked(type(row), values, place, fix)


def _plain(value: Any) -> Any:
    """A row as plain JSON values, with the rows that it holds; quicker than `asdict`, which copies each."""
    if type(value) in _ROWS:
        return {name: _plain(one) for name, one in vars(value).items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else finite(value)


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows and connection.dialect.name == "postgresql":
        copied_rows(connection, table, rows)
    elif rows:
        connection.execute(table.insert(), list(rows))


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    key: tuple[str, ...],
    replaced: bool = True,
) -> dict[tuple[Any, ...], int]:
    """Insert rows; with `replaced`, update existing ones. Returns ids by key, if the table has ids."""
    if not rows:
        return {}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(table)
    changed = {name: insert.excluded[name] for name in rows[0] if name not in key}
    if replaced:
        statement = insert.on_conflict_do_update(index_elements=list(key), set_=changed)
    else:
        statement = insert.on_conflict_do_nothing(index_elements=list(key))
    if not replaced or "id" not in table.c:
        connection.execute(statement, list(rows))
        return {}
    # the database returns the ids: no second query, and many rows in one statement, each key once
    last = {tuple(row[name] for name in key): row for row in rows}
    returning = statement.returning(table.c.id, *(table.c[name] for name in key))
    return {tuple(row[1:]): row[0] for row in connection.execute(returning, list(last.values()))}


def _description(one: DescriptionRow) -> dict[str, Any]:
    values = {name: value for name, value in vars(one).items() if name != "scores"}
    return {**values, "provenance": dict(one.provenance)}
