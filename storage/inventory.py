"""What ought to be on the disk: every stored file with the digest in its row, whatever table that is in."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, literal, select

from storage.database import Database
from storage.tables import instances, jobs, quarantined_messages, result_objects

_ROWS_AT_ONCE = 1_000


class StoredAs(StrEnum):
    """Which table a file is of."""

    INSTANCE = "instance"
    """As it was sent. The digest is of the dataset alone, without preamble and File Meta Information."""
    RESULT = "result"
    """An object of ours."""
    MESSAGE = "message"
    """A message in quarantine."""


_TABLES = {
    StoredAs.INSTANCE: instances,
    StoredAs.RESULT: result_objects,
    StoredAs.MESSAGE: quarantined_messages,
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a row speaks of.

    Attributes:
        path: within the files folder.
        sha256: of its content, for an INSTANCE of the dataset in it.
        study_instance_uid: the study that it is of; "" for a MESSAGE.
    """

    stored_as: StoredAs
    path: str
    sha256: str
    study_instance_uid: str


class Inventory:
    """All stored files. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def files(self) -> Iterator[StoredFile]:
        """Every file that has a row when its turn comes; some rows at a time, so that nobody waits for this."""
        of_job = result_objects.join(jobs, jobs.c.number == result_objects.c.job_number)
        yield from self._pages(
            StoredAs.INSTANCE,
            select(instances.c.path, instances.c.sha256, instances.c.study_instance_uid),
            instances.c.sop_instance_uid,
        )
        yield from self._pages(
            StoredAs.RESULT,
            select(result_objects.c.path, result_objects.c.sha256, jobs.c.study_instance_uid).select_from(
                of_job
            ),
            result_objects.c.sop_instance_uid,
        )
        yield from self._pages(
            StoredAs.MESSAGE,
            select(
                quarantined_messages.c.path,
                quarantined_messages.c.sha256,
                literal("").label("study_instance_uid"),
            ),
            quarantined_messages.c.sha256,
        )

    def has(self, file: StoredFile) -> bool:
        """Whether a row still speaks of the file; retention takes rows away first and files after them."""
        table = _TABLES[file.stored_as]
        with self._database.reading() as connection:
            return (
                connection.scalar(select(table.c.path).where(table.c.path == file.path).limit(1)) is not None
            )

    def _pages(self, stored_as: StoredAs, query: Select, key: ColumnElement[str]) -> Iterator[StoredFile]:
        last = ""
        while True:
            page = query.add_columns(key.label("key")).where(key > last).order_by(key).limit(_ROWS_AT_ONCE)
            with self._database.reading() as connection:
                rows = connection.execute(page).all()
            yield from (StoredFile(stored_as, row.path, row.sha256, row.study_instance_uid) for row in rows)
            if len(rows) < _ROWS_AT_ONCE:
                return
            last = rows[-1].key
