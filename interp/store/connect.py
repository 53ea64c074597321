"""Open a database: a SQLite file by its path, PostgreSQL by its URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError

from interp.errors import UserError
from interp.json_text import to_json
from interp.secrets import keep_passwords_of
from interp.store.schema import VERSION, meta, metadata

PATIENCE_SECONDS = 60
"""How long a writer waits for another one."""


def connect(where: str | Path) -> Engine:
    """A database whose tables are there and of this version.

    Raises:
        UserError: it cannot be opened, is no store, or was made by a newer version.
    """
    shown, url = _address(where)
    with explained(shown):
        engine = create_engine(url, json_serializer=to_json)
        if engine.dialect.name == "sqlite":
            _set_up_sqlite(engine)
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("select pg_advisory_xact_lock(4242001)"))
                connection.execute(text("create extension if not exists vector"))
            names = set(inspect(connection).get_table_names())
            if names and "meta" not in names:
                raise UserError("this is another database, not a store", shown, "give a new path or database")
            metadata.create_all(connection)
            found = connection.execute(select(meta.c.value).where(meta.c.name == "version")).scalar()
            if found is None:
                connection.execute(meta.insert().values(name="version", value=str(VERSION)))
            elif int(found) > VERSION:
                raise UserError(
                    f"the store was made by a newer version (format {found}, this one reads {VERSION})",
                    shown,
                    "update interp, or export from the newer version",
                )
    return engine


@contextmanager
def explained(shown: str) -> Iterator[None]:
    """Turn what a database finds wrong into a `UserError` that names it, without its password.

    Raises:
        UserError: it cannot be reached, is locked for too long, damaged, or full.
    """
    try:
        yield
    except (OperationalError, DatabaseError, InterfaceError, ArgumentError) as error:
        said = " ".join(str(getattr(error, "orig", error)).split())
        if "locked" in said:
            raise UserError(
                f"another process has been writing for more than {PATIENCE_SECONDS} seconds",
                shown,
                "wait for it, then run the same command again",
            ) from None
        raise UserError(f"the store cannot be used ({said})", shown, "check the path or the URL") from None


def _address(where: str | Path) -> tuple[str, Any]:
    """How to name the place to people, and its URL."""
    if isinstance(where, Path) or "://" not in where:
        path = Path(where)
        if path.is_dir():
            raise UserError(
                "the store is a folder", str(path), f"name a file, such as {path / 'store.sqlite'}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path), f"sqlite:///{path}"
    keep_passwords_of(where)
    with explained(where.split("@")[-1]):
        url = make_url(where)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(
            f"stores of kind {url.get_backend_name()!r} are not known",
            "store",
            "give a path for SQLite, or postgresql://HOST/DATABASE",
        )
    return url.render_as_string(hide_password=True), url


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def begin_connection(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"pragma busy_timeout = {PATIENCE_SECONDS * 1000}")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma foreign_keys = on")
        connection.create_function("lower", 1, _lower, deterministic=True)  # its own knows only ASCII

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Any) -> None:
        # a transaction that reads first and writes later could not wait for another writer
        connection.exec_driver_sql("begin immediate")


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def count_rows(engine: Engine, table: Any) -> int:
    """Rows of a table."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
