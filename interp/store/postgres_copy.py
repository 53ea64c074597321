"""PostgreSQL's COPY, by which rows go in and out many times faster than by statements."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, Connection, Table
from sqlalchemy.exc import DatabaseError

from interp.json_text import to_json


def copied_to(connection: Connection, statement: str, blocks: Iterable[bytes]) -> None:
    """Runs a COPY ... FROM STDIN with this content, in the connection's transaction."""
    with _explained(statement), _cursor(connection) as cursor, cursor.copy(statement) as copy:
        for block in blocks:
            copy.write(block)


def copied_from(connection: Connection, statement: str, *values: str) -> Iterator[bytes]:
    """The content of a COPY ... TO STDOUT; `values` take the places {} in the statement."""
    from psycopg import sql

    composed = sql.SQL(statement).format(*map(sql.Literal, values))
    with _explained(statement), _cursor(connection) as cursor, cursor.copy(composed) as copy:
        for block in copy:
            yield bytes(block)


def copied_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows to a table, all with the columns of the first; none may be there already."""
    names = list(rows[0])
    written = [name for name in names if isinstance(table.c[name].type, JSON)]
    columns = ", ".join(f'"{name}"' for name in names)
    statement = f"copy {table.name} ({columns}) from stdin"
    with _explained(statement), _cursor(connection) as cursor, cursor.copy(statement) as copy:
        for row in rows:
            cells = {**row, **{name: to_json(row[name]) for name in written}} if written else row
            copy.write_row([cells[name] for name in names])


@contextmanager
def _cursor(connection: Connection) -> Iterator[Any]:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        yield cursor


@contextmanager
def _explained(statement: str) -> Iterator[None]:
    """Gives the driver's errors the form in which SQLAlchemy gives them."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(statement, None, error) from error
