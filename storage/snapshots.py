"""Copies of a database that is in use, each as it was at one moment."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from storage.database import Database

SQLITE_FILE, POSTGRESQL_FILE = "preread.sqlite", "preread.pgdump"
_DUMP_SECONDS_MAX = 6 * 3600


class SnapshotError(Exception):
    """A database cannot be copied; the message says why and what to do."""


def snapshot(database: Database, folder: Path) -> Path:
    """Copies the database into a folder, while others go on reading and writing; durable when this returns.

    Raises:
        SnapshotError: if PostgreSQL's own program for it is not there or fails.
    """
    if database.engine.dialect.name == "sqlite":
        target = folder / SQLITE_FILE
        _copy_sqlite(str(database.engine.url.database), target)
    else:
        target = folder / POSTGRESQL_FILE
        _dump_postgresql(database, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return target


def _copy_sqlite(source: str, target: Path) -> None:
    target.touch(0o600)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        # All pages in one step: in WAL mode that is one reader's moment, and no writer waits for it. In several
        # steps each commit in between would have the copy begin anew.
        live.backup(copy, pages=-1)
        # One file, with nothing beside it; opened as a store it goes back to WAL.
        copy.execute("PRAGMA journal_mode=DELETE")


def _dump_postgresql(database: Database, target: Path) -> None:
    url = database.engine.url
    address = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    command = ["pg_dump", "--format=custom", "--no-owner", f"--file={target}", f"--dbname={address}"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_DUMP_SECONDS_MAX, check=False
        )
    except FileNotFoundError as error:
        raise SnapshotError(
            "pg_dump is not installed; install the PostgreSQL client of the server's version (postgresql-client)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SnapshotError(f"pg_dump did not end within {_DUMP_SECONDS_MAX} s") from error
    if done.returncode != 0:
        raise SnapshotError(f"pg_dump failed: {' '.join(done.stderr.split())[:500]}")


def problem_of_copy(copy: Path) -> str | None:
    """What is wrong with a copy of an SQLite database, read as a whole; None if nothing is."""
    try:
        with closing(_opened(copy)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else str(found)


def paths_in_copy(copy: Path) -> Iterator[str]:
    """Every path that a row of a copied SQLite database names."""
    with closing(_opened(copy)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
            if "path" in columns:
                yield from (path for (path,) in connection.execute(f'SELECT path FROM "{table}"'))


def _opened(copy: Path) -> sqlite3.Connection:
    # Immutable: nobody writes to it, and nothing is put beside it.
    return sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
