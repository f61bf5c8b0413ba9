"""The database: one address, two kinds. SQLite by default, PostgreSQL by URL; the same promises on both."""

import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.pool import ConnectionPoolEntry

HEAD = "0013"
"""The revision that this program writes and reads; the newest of `storage/migrations/versions`."""

DatabaseError = (DBAPIError, NoConnectionFree)
"""What any statement may raise: the database is gone, full, hangs, or does not take it."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30
_FREE_SECONDS = 10
"""How long a thread waits for a connection that another one has; those who have it wait for the database."""


class SchemaError(Exception):
    """The database cannot be used as it is; the message says why and what to do."""


def trouble_of(error: BaseException) -> str | None:
    """Says in the driver's words why the database cannot be used, if that is what an error tells; None if not.

    It is away, full, read-only, hangs or is held by somebody for too long; no value of a row is in it.
    """
    if isinstance(error, NoConnectionFree):
        return f"no connection to it came free within {_FREE_SECONDS} s; those there are wait for it"
    if not isinstance(error, OperationalError | InterfaceError) or _is_of_the_row(error):
        return None
    return str(error.orig).partition("\n")[0].strip()


def _words_of(error: DBAPIError | NoConnectionFree) -> str:
    return trouble_of(error) or str(getattr(error, "orig", error))


def is_unavailable(error: BaseException) -> bool:
    """Says whether a database takes nothing now, whatever it is given; False for a row that it would never take."""
    return isinstance(error, DatabaseError) and not _is_of_the_row(error)


def _is_of_the_row(error: BaseException) -> bool:
    # Class 54 of PostgreSQL, program limit exceeded, is among the operational errors: a text too long for its index.
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return isinstance(error, DataError | IntegrityError) or sqlstate.startswith("54")


@dataclass(frozen=True, slots=True)
class Database:
    """An open database, safe for several threads. Made by `connect`."""

    engine: Engine

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that may write; commits at the end, rolls back if the block raises."""
        with self.engine.connect().execution_options(preread_writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that only reads; waits for no writer and keeps none waiting on SQLite."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def problem(self) -> str | None:
        """Says in a sentence why the database does not answer, or None if it does."""
        try:
            with self.reading() as connection:
                connection.execute(text("SELECT 1"))
        except DatabaseError as error:
            shown = self.engine.url.render_as_string(hide_password=True)
            return f"the database {shown} does not answer: {_words_of(error)}"
        return None

    def close(self) -> None:
        """Closes all connections; nothing is lost by not calling it."""
        self.engine.dispose()


def connect(url: str) -> Database:
    """Opens the database and brings its schema up to date; safe when several processes start at once.

    Args:
        url: "sqlite:////folder/preread.sqlite" (the folder is made if missing) or
            "postgresql://user:password@host/name".

    Raises:
        SchemaError: if the address is none of these, the database cannot be reached, or its schema
            is one that this program does not know.
    """
    return _opened(url, _bring_up_to_date)


def connect_as_is(url: str, *, oldest: str = HEAD) -> Database:
    """Opens a database that is there; makes none, and leaves its schema to the program that serves from it.

    Args:
        url: as `connect` takes it.
        oldest: the first revision of the schema that the caller can do with.

    Raises:
        SchemaError: if there is none, it cannot be reached, or its schema is older or newer than that.
    """
    return _opened(url, lambda database, found: _check_revision(database, found, oldest), must_exist=True)


def _address_of(url: str | URL) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        raise SchemaError(
            'the database URL cannot be read; write "sqlite:///file" or "postgresql://…"'
        ) from None


def sqlite_file(url: str | URL) -> Path | None:
    """The file of an SQLite database, whether it is there or not; None for a server's.

    Raises:
        SchemaError: if the address cannot be read.
    """
    address = _address_of(url)
    return Path(address.database or "") if address.get_backend_name() == "sqlite" else None


def _opened(
    url: str, prepare: Callable[[Database, str | None], None], *, must_exist: bool = False
) -> Database:
    address = _address_of(url)
    file = sqlite_file(address)
    if must_exist and file is not None and not file.exists():
        raise SchemaError(
            f"there is no database {_shown(address)}; is its disk mounted? preread serve would begin an empty one"
        )
    database = Database(_engine(address))
    try:
        prepare(database, revision_of(database))
    except DatabaseError as error:
        database.close()
        told = " ".join(_words_of(error).split())  # PostgreSQL's has several lines
        raise SchemaError(
            f"the database {_shown(address)} cannot be used: {told}; start it, or correct [storage] in agent.toml"
        ) from error
    except SchemaError:
        database.close()
        raise
    return database


def _shown(address: URL) -> str:
    return address.render_as_string(hide_password=True)


def _bring_up_to_date(database: Database, found: str | None) -> None:
    if found != HEAD:
        _migrate(database.engine.url)


def _check_revision(database: Database, found: str | None, oldest: str) -> None:
    if found is None:
        raise SchemaError(
            f"the database {_shown(database.engine.url)} is empty; is it the right one? preread serve would fill it"
        )
    refusal = refusal_of(found)
    if refusal is not None:
        raise SchemaError(refusal)
    if found < oldest:
        raise SchemaError(
            f"the database has schema revision {found}, and this program {HEAD}: preread serve brings it up to date; "
            "for the way back make a backup first (preread backup make)"
        )


def _engine(address: URL, *, is_bounded: bool = True) -> Engine:
    kind = address.get_backend_name()
    if kind == "sqlite":
        return _sqlite(address)
    if kind == "postgresql":
        return _postgresql(address, is_bounded=is_bounded)
    raise SchemaError(f'databases are "sqlite" or "postgresql", not "{kind}"')


def _sqlite(address: URL) -> Engine:
    if address.database in (None, "", ":memory:"):
        raise SchemaError('a database in memory forgets what was acknowledged; write "sqlite:///file"')
    _make_private_file(Path(address.database or ""))
    # hide_parameters, here and below: an error's text goes to the log, a patient's name must not.
    engine = create_engine(
        address,
        connect_args={"timeout": _BUSY_SECONDS},
        # One for each thread that may ask at once, of up to 66 associations, 10 HL7 connections and a dozen of our
        # own by default: a connection is a descriptor here, and whoever waits for the writer has one.
        pool_size=5,
        max_overflow=95,
        pool_timeout=_FREE_SECONDS,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_on_sqlite)
    return engine


def _make_private_file(path: Path) -> None:
    """Makes the database file readable by its owner only; SQLite gives its side files the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        # Not even opened: to close any descriptor of a file drops all POSIX locks that this process
        # holds on it, those of an SQLite connection included.
        return
    except OSError as error:
        raise SchemaError(f"the database file {path} cannot be made: {error.strerror}") from error


def _set_up_sqlite(dbapi_connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    # The driver is told to begin nothing by itself: `_begin_on_sqlite` does.
    dbapi_connection.isolation_level = None
    with closing(dbapi_connection.cursor()) as cursor:
        _switch_to_wal(cursor)
        # FULL, not NORMAL: in WAL mode NORMAL may lose the last commits at a power cut, and by then
        # we have told the sender 0x0000 and it has forgotten the image.
        cursor.execute("PRAGMA synchronous=FULL")
        # SQLite keeps foreign keys only if asked, on each connection anew.
        cursor.execute("PRAGMA foreign_keys=ON")


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """WAL: readers and the one writer do not wait for one another."""
    deadline_seconds = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # The first switch of a new file needs it alone, and SQLite does not apply its own
            # time-out to that: of six processes starting at once, one or two fail here.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_seconds:
                raise
            time.sleep(0.01)


def _begin_on_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a deferred transaction that reads first and writes later fails at once with
    # SQLITE_BUSY if another one wrote in between, whatever the time-out.
    writes = connection.get_execution_options().get("preread_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(address: URL, *, is_bounded: bool) -> Engine:
    # Imported here: a site with SQLite does without.
    from storage.postgresql import CONNECT_ARGUMENTS

    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        connect_args={name: value for name, value in CONNECT_ARGUMENTS.items() if name not in address.query},
        # A server allows 100 by default, to all its clients: this leaves room for two that serve and their readers,
        # which have three or four in use. Who gets none waits, and its sender is told to come again.
        pool_size=10,
        max_overflow=20,
        pool_timeout=_FREE_SECONDS,
        # READ COMMITTED: each statement sees what others committed until then; the row locks of
        # `jobs` and `lock_writers` do the rest, without the retries that SERIALIZABLE would ask for.
        isolation_level="READ COMMITTED",
        # A server that was restarted must cost a new connection, not an error in the next step.
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _keep_commits)
    if is_bounded:
        event.listen(engine, "do_connect", _connect_bounded)
        event.listen(engine, "connect", _bound_statements)
    return engine


def _connect_bounded(
    dialect: Dialect, entry: ConnectionPoolEntry, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> DBAPIConnection:
    from storage.postgresql import BoundedConnection

    return cast(DBAPIConnection, BoundedConnection.connect(*arguments, **keywords))


def _bound_statements(dbapi_connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    from storage.postgresql import STATEMENT_SECONDS

    with closing(dbapi_connection.cursor()) as cursor:
        cursor.execute("SHOW statement_timeout")
        if cursor.fetchone() == ("0",):  # anything else is the site's own
            cursor.execute(f"SET statement_timeout TO '{STATEMENT_SECONDS}s'")
    dbapi_connection.commit()


def _keep_commits(dbapi_connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    # A server may be set up to answer a commit before it is on its disk. Ours must be: the same
    # reason as SQLite's FULL. Anything stricter than "on" is left as the site wants it.
    with closing(dbapi_connection.cursor()) as cursor:
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone() == ("off",):
            cursor.execute("SET synchronous_commit TO on")
    dbapi_connection.commit()


def lock_writers(connection: Connection, purpose: str) -> None:
    """Lets one writer of this purpose at a time go on, until the end of its transaction.

    On SQLite every writing transaction is alone already.
    """
    if connection.dialect.name == "postgresql":
        key = zlib.crc32(f"preread {purpose}".encode())
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def known_revisions() -> tuple[str, ...]:
    """The revisions of the schema that this program can bring up to date, oldest first; the last is HEAD."""
    found = tuple(sorted(file.name[:4] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py")))
    assert found[-1] == HEAD
    return found


def revision_of(database: Database) -> str | None:
    """The revision of the schema that a database has; None for an empty one."""
    with database.reading() as connection:
        return _stored_revision(connection)


def refusal_of(revision: str) -> str | None:
    """Says what to do about a schema that this program does not know; None if it does."""
    if revision in known_revisions():
        return None
    return (
        f'the database has schema revision "{revision}", and this program knows up to "{HEAD}": '
        "start the newer program that wrote it, or restore the backup made before the update"
    )


def _stored_revision(connection: Connection) -> str | None:
    """The revision found, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(address: URL) -> None:
    # Imported here: a start with nothing to do, which is every start but one, does without Alembic.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    database = Database(_engine(address, is_bounded=False))  # it takes as long as it takes
    with closing(database), database.writing() as connection:
        lock_writers(connection, "migrate")
        found = _stored_revision(connection)
        if found == HEAD:  # another process was first
            return
        refusal = None if found is None else refusal_of(found)
        if refusal is not None:
            raise SchemaError(refusal)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
