"""Open a database: a SQLite file by its path, PostgreSQL by its URL."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from interp.errors import UserError, quoted
from interp.json_text import from_json, to_json
from interp.secrets import keep_passwords_of
from interp.store.schema import VERSION, DamagedCell, meta, metadata
from interp.track.files import writing_explained

PATIENCE_SECONDS = 60
"""How long a process waits for another one that writes."""
CONNECT_SECONDS = 10
"""How long a server may take to answer, unless the URL sets `connect_timeout`."""
_ANOTHER = ("this is another database, not a store", "give a new path or database")
_RESTORE = "use a copy from before, or import an export of it into a new store"


def open_database(where: str | Path) -> Engine:
    """Opens a database and checks the version of its tables, or makes them; a new file is removed on failure.

    Raises:
        UserError: it cannot be opened, is no store, is damaged, or was made by a newer version.
    """
    shown, url = _address(where)
    with explained(shown), removed_if_new(sqlite_file(url)):
        engine = _engine(url, shown)
        try:
            with engine.begin() as connection:
                _set_up_tables(connection, shown)
        except BaseException:
            engine.dispose()
            raise
    return engine


@contextmanager
def removed_if_new(file: Path | None) -> Iterator[None]:
    """If the body fails, delete a SQLite file that it created; the body must close its connections."""
    new = file is not None and not file.exists()
    try:
        yield
    except BaseException:
        for end in ("", "-wal", "-shm", "-journal"):
            if new and file is not None:
                with suppress(OSError):  # a file system that refuses this has not let the file be made either
                    file.with_name(file.name + end).unlink()
        raise


@contextmanager
def explained(shown: str) -> Iterator[None]:
    """Turn what a database finds wrong into a `UserError` that names it, without its password.

    Raises:
        UserError: it cannot be reached, is locked for too long, damaged, or full.
    """
    try:
        yield
    except DamagedCell as error:
        raise UserError(f"the store is damaged: {error}", shown, _RESTORE) from None
    except (OperationalError, DatabaseError, InterfaceError, ArgumentError) as error:
        said = " ".join(str(getattr(error, "orig", error)).split())
        if "locked" in said:
            raise UserError(
                f"another process has been writing for more than {PATIENCE_SECONDS} seconds",
                shown,
                "wait for it, then run the same command again",
            ) from None
        fixes = {
            "readonly": "copy it to where it can be written",
            "disk": "make room on its disk, or copy it to another",
        }
        fix = next((fix for word, fix in fixes.items() if word in said), "check the path or the URL")
        raise UserError(f"the store cannot be used ({said})", shown, fix) from None


def database_file(where: str | Path) -> Path | None:
    """The file of a SQLite database, given its path or URL; None for another kind of database.

    Raises:
        UserError: as `open_database` where the name is wrong.
    """
    return sqlite_file(_address(where)[1])


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database; None for one in memory, and for another kind of database."""
    name = url.database or ":memory:"
    is_file = url.get_backend_name() == "sqlite" and name != ":memory:" and not name.startswith("file:")
    return Path(name) if is_file else None


def count_rows(engine: Engine, table: Any) -> int:
    """Number of rows of a table."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _address(where: str | Path) -> tuple[str, URL]:
    """The database's name for messages, without a password, and its URL."""
    if isinstance(where, Path) or "://" not in where:
        url = URL.create("sqlite", database=str(where))
    else:
        keep_passwords_of(where)
        try:
            url = make_url(where)
        except (ArgumentError, ValueError):  # their messages may quote the password
            raise UserError(
                "this is not the URL of a database",
                f"{where.partition('://')[0]}://…",
                "write postgresql://USER@HOST:PORT/DATABASE; a port is a number",
            ) from None
    kind, driver = url.get_backend_name(), url.drivername.partition("+")[2]
    if kind not in ("sqlite", "postgresql"):
        raise UserError(
            f"stores of kind {kind!r} are not known",
            "store",
            "give a path for SQLite, or postgresql://HOST/DATABASE",
        )
    if driver not in ("", {"sqlite": "pysqlite", "postgresql": "psycopg"}[kind]):
        raise UserError(f"the driver {driver!r} is not used", "store", f"write {kind}://…")
    if (file := sqlite_file(url)) is not None:
        _check_file(file)
        return str(file), url
    if kind == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=True), url


def _check_file(file: Path) -> None:
    """Refuse what is not a plain file; make the folder for a new file."""
    with writing_explained(file.parent):
        try:
            found = file.exists()
        except ValueError:  # a name with NUL
            found = False
        if "\0" in str(file):
            raise UserError("a path cannot hold NUL", quoted(str(file)), "give another path")
        if file.is_dir():
            raise UserError(
                "the store is a folder", str(file), f"name a file, such as {file / 'store.sqlite'}"
            )
        if found and not file.is_file():
            raise UserError("the store is not a plain file (a device, a pipe)", str(file), "name a file")
        file.parent.mkdir(parents=True, exist_ok=True)


def _engine(url: URL, shown: str) -> Engine:
    postgres = url.get_backend_name() == "postgresql"
    for package in ("psycopg", "pgvector.sqlalchemy") if postgres else ():
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(
                f"the package {package.partition('.')[0]}, by which PostgreSQL is reached, is not installed",
                shown,
                "pip install 'interp[postgres]'",
            ) from None
    try:
        options: dict[str, Any] = {}
        if postgres and "connect_timeout" not in url.query:
            options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        if url.get_backend_name() == "sqlite" and sqlite_file(url) is None:
            # threads take turns on one connection: of two, each would have a database of its own
            options = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
            options["connect_args"] = {"check_same_thread": False}
        engine = create_engine(
            url,
            json_serializer=to_json,
            json_deserializer=_values,
            **options,
        )
        if engine.dialect.name == "sqlite":
            _set_up_sqlite(engine)
        engine.connect().close()
    except (TypeError, ValueError) as error:  # an option that the driver does not know
        raise UserError(f"the URL has a wrong option ({error})", shown, "take it out") from None
    return engine


def _set_up_tables(connection: Connection, shown: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("select pg_advisory_xact_lock(4242001)"))
        connection.execute(text("create extension if not exists vector"))
    there = {
        name: {column["name"] for column in columns}
        for (_, name), columns in inspect(connection).get_multi_columns().items()
    }
    if there and not {"name", "value"} <= there.get("meta", set()):
        raise UserError(_ANOTHER[0], shown, _ANOTHER[1])
    metadata.create_all(connection)
    found = connection.execute(select(meta.c.value).where(meta.c.name == "version")).scalar()
    if not there:
        connection.execute(meta.insert().values(name="version", value=str(VERSION)))
    elif not isinstance(found, str) or not (found.isascii() and found[:9].isdecimal()) or int(found[:9]) < 1:
        raise DamagedCell(f"its version is {quoted(found)}")
    elif int(found[:9]) > VERSION:
        raise UserError(
            f"the store was made by a newer version (format {found}, this one reads {VERSION})",
            shown,
            "update interp, or export from the newer version",
        )
    for table in metadata.sorted_tables:
        if missing := {column.name for column in table.c} - there.get(table.name, {c.name for c in table.c}):
            raise DamagedCell(f"the table {table.name} has no column {', '.join(sorted(missing))}")


def _values(written: str | bytes) -> Any:
    try:
        return from_json(written, "a cell", _RESTORE, halves=True)
    except UserError as error:
        raise DamagedCell(f"{error.place}: {error.thing}") from None


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def begin_connection(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"pragma busy_timeout = {PATIENCE_SECONDS * 1000}")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma foreign_keys = on")
        connection.create_function("lower", 1, _lower, deterministic=True)  # SQLite's own knows only ASCII

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Any) -> None:
        # a transaction that reads first and writes later could not wait for another writer
        connection.exec_driver_sql("begin immediate")


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()
