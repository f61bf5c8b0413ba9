"""Looks at a database without opening it as `connect` does: nothing is made, migrated or switched."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import URL, Connection, create_engine, inspect, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from storage.database import sqlite_file

_CONNECT_SECONDS = 10
_POSTGRESQL_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
_CHECKED_BYTES_MAX = 500_000_000
"""A larger SQLite file is not read through: that takes minutes, while the service waits for the disk."""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was seen of a database.

    Attributes:
        place: its address without a password.
        version: of SQLite, or of the server; "" if it does not answer.
        revision: of its schema; None if it holds none yet, or is not there yet.
        settings: those that decide whether a commit is kept.
        ahead_seconds: how far its clock is before ours; 0.0 for SQLite, whose clock is ours.
        answer_seconds: one question and its answer.
        problem: why it cannot be used, the first line of the database's words, or None.
    """

    place: str
    version: str = ""
    revision: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    ahead_seconds: float = 0.0
    answer_seconds: float = 0.0
    problem: str | None = None


def look_at_database(url: str, clock: Callable[[], datetime]) -> DatabaseFacts:
    """Looks at the database of an address as `connect` takes it.

    Args:
        clock: gives the time, UTC and aware.
    """
    address = make_url(url)
    place = address.render_as_string(hide_password=True)
    try:
        file = sqlite_file(address)
        if file is not None and not file.exists():
            return DatabaseFacts(place)
    except PermissionError as error:
        return DatabaseFacts(place, problem=f"{error.strerror} (this is not the user of preread)")
    engine = create_engine(_patient(address), poolclass=NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            look = _sqlite if address.get_backend_name() == "sqlite" else _postgresql
            return look(place, connection, clock)
    except DBAPIError as error:
        return DatabaseFacts(place, problem=str(error.orig).strip().partition("\n")[0])
    finally:
        engine.dispose()


def _patient(address: URL) -> URL:
    if address.get_backend_name() == "sqlite":
        return address
    address = address.set(drivername="postgresql+psycopg")
    return address.update_query_dict({"connect_timeout": str(_CONNECT_SECONDS)})


def _sqlite(place: str, connection: Connection, clock: Callable[[], datetime]) -> DatabaseFacts:
    def ask(question: str) -> str:
        return str(connection.exec_driver_sql(question).scalar())

    before = clock()
    version = ask("SELECT sqlite_version()")
    seconds = (clock() - before).total_seconds()
    settings = {"journal_mode": ask("PRAGMA journal_mode")}
    size = int(ask("PRAGMA page_count")) * int(ask("PRAGMA page_size"))
    if size <= _CHECKED_BYTES_MAX:
        settings["quick_check"] = ask("PRAGMA quick_check(1)")
    return DatabaseFacts(place, f"SQLite {version}", _revision(connection), settings, 0.0, seconds)


def _postgresql(place: str, connection: Connection, clock: Callable[[], datetime]) -> DatabaseFacts:
    version = str(connection.scalar(text("SHOW server_version")))
    settings = {name: str(connection.scalar(text(f"SHOW {name}"))) for name in _POSTGRESQL_SETTINGS}
    before = clock()
    theirs = connection.scalar(text("SELECT clock_timestamp()"))
    after = clock()
    assert isinstance(theirs, datetime)
    ahead = (theirs - (before + (after - before) / 2)).total_seconds()
    seconds = (after - before).total_seconds()
    return DatabaseFacts(place, f"PostgreSQL {version}", _revision(connection), settings, ahead, seconds)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))
