"""Studies that somebody holds. The claims of `storage.jobs` leave them alone, and so does what deletes."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, patient_of
from storage.database import Database
from storage.jobs.rows import lock_study
from storage.records import Event, Hold
from storage.tables import columns_of, deliveries, events, holds, is_open_delivery, jobs, row_of

_HOLD = columns_of(holds, Hold)


class Holds:
    """The studies that are held. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, study_instance_uid: str, held_by: str, reason: str, now: datetime) -> Hold:
        """Holds a study: a step that is under way still ends, the next one is not begun.

        Raises:
            LookupError: if the study is unknown, or held already.
        """
        with self._database.writing() as connection:
            lock_study(connection, study_instance_uid)
            before = _held(connection, study_instance_uid)
            if before is not None:
                since = before.held_at.isoformat(timespec="seconds")
                raise LookupError(
                    f"study {study_instance_uid} is held by {before.held_by} since {since}; release it first"
                )
            hold = Hold(study_instance_uid, now, held_by, reason)
            connection.execute(insert(holds), row_of(hold))
            _tell(connection, study_instance_uid, AuditEvent.HELD, held_by, reason, now)
            return hold

    def release(self, study_instance_uid: str, released_by: str, now: datetime) -> Hold:
        """Lets a study go on from where it is; the time that it was held counts as waiting nowhere.

        Raises:
            LookupError: if it is not held.
        """
        its_jobs = jobs.c.study_instance_uid == study_instance_uid
        numbers = select(jobs.c.number).where(its_jobs)
        with self._database.writing() as connection:
            before = _held(connection, study_instance_uid)
            if before is None:
                raise LookupError(f"study {study_instance_uid} is not held; `preread status` shows which are")
            connection.execute(delete(holds).where(holds.c.study_instance_uid == study_instance_uid))
            connection.execute(update(jobs).where(its_jobs).values(waiting_since=None))
            waiting = update(deliveries).where(deliveries.c.job_number.in_(numbers), is_open_delivery)
            connection.execute(waiting.values(waiting_since=None))
            _tell(connection, study_instance_uid, AuditEvent.RELEASED, released_by, "", now)
            return before

    def held(self, limit: int) -> tuple[Hold, ...]:
        """The studies that are held, those held longest first."""
        query = select(*_HOLD).order_by(holds.c.held_at).limit(limit)
        with self._database.reading() as connection:
            return tuple(Hold(*row) for row in connection.execute(query))

    def of_study(self, study_instance_uid: str) -> Hold | None:
        """Who holds a study, or None."""
        with self._database.reading() as connection:
            return _held(connection, study_instance_uid)


def _held(connection: Connection, study_instance_uid: str) -> Hold | None:
    query = select(*_HOLD).where(holds.c.study_instance_uid == study_instance_uid)
    row = connection.execute(query).first()
    return None if row is None else Hold(*row)


def _tell(
    connection: Connection, study_instance_uid: str, event: AuditEvent, actor: str, reason: str, now: datetime
) -> None:
    text = f"{event} by {actor}" + (f": {reason}" if reason else "")
    connection.execute(insert(events), row_of(Event(now, study_instance_uid, None, text)))
    patient_id = patient_of(connection, study_instance_uid)
    record = AuditRecord(
        now, event, actor, study_instance_uid=study_instance_uid, patient_id=patient_id, detail=reason
    )
    audit(connection, [record])
