"""Which processes of preread run: each says so every few seconds, in a row of its own."""

from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from storage.database import Database
from storage.records import RunningProcess
from storage.tables import columns_of, processes, row_of

_FORGOTTEN_AFTER = timedelta(days=1)
"""A process that died said nothing; its row tells for a day that it was there, unless another took its place."""

SEEN_WITHIN = timedelta(seconds=60)
"""A process that runs says so every 5 s; one that has been silent for longer than this is taken not to run."""


class Processes:
    """The processes that use this database. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, process: RunningProcess) -> bool:
        """Says that a process runs, and forgets those that have long been silent, or whose place it took.

        Returns:
            False if the database cannot be written now: a beat that is missed is seen by whoever looks for it.
        """
        row = row_of(process)
        replaced = and_(_has_place_of(process), processes.c.seen_at < process.seen_at - SEEN_WITHIN)
        forgotten = or_(replaced, processes.c.seen_at < process.seen_at - _FORGOTTEN_AFTER)
        try:
            with self._database.writing() as connection:
                if connection.execute(update(processes).where(_is(process)).values(row)).rowcount == 0:
                    connection.execute(insert(processes), row)
                connection.execute(delete(processes).where(forgotten))
        except SQLAlchemyError:
            return False
        return True

    def end(self, process: RunningProcess) -> None:
        """Takes the row of a process away that stops as it was told to; if that fails, it is forgotten in time."""
        with suppress(SQLAlchemyError), self._database.writing() as connection:
            connection.execute(delete(processes).where(_is(process)))

    def seen_since(self, since: datetime) -> tuple[RunningProcess, ...]:
        """The processes that have said so at this time or later, the last one first."""
        seen = select(*columns_of(processes, RunningProcess)).where(processes.c.seen_at >= since)
        with self._database.reading() as connection:
            rows = connection.execute(seen.order_by(processes.c.seen_at.desc()))
            return tuple(RunningProcess(*row) for row in rows)


def _has_place_of(process: RunningProcess) -> ColumnElement[bool]:
    return and_(processes.c.role == process.role, processes.c.host == process.host)


def _is(process: RunningProcess) -> ColumnElement[bool]:
    return and_(_has_place_of(process), processes.c.pid == process.pid)
