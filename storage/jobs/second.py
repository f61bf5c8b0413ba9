"""What a second engine reads beside the first: rows of their own, which nothing of the line ever waits for."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, insert, not_, or_, select

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, patient_of
from storage.database import Database, lock_writers
from storage.jobs import rows
from storage.jobs.rows import JOB, NO_LEASE
from storage.records import Beside, Job, SecondReading, Stage, StepOutcome
from storage.tables import columns_of, is_held_job, is_open_second_reading, jobs, second_readings, studies

_SECOND = columns_of(second_readings, SecondReading)

_WAITS_FOR_THE_FIRST = and_(jobs.c.stage.in_((Stage.READ, Stage.COMPOSE)), not_(is_held_job))
"""A job whose draft the first reader still has to make, or is just making."""


@dataclass(frozen=True, slots=True)
class Comparable:
    """Which jobs a second engine is to read.

    Attributes:
        since: those opened at this time or later.
        not_under: names of the rules whose studies it leaves alone.
    """

    since: datetime
    not_under: frozenset[str] = frozenset()


class SecondReadings:
    """The second readings. Safe for several threads and processes; leases as in `Jobs`.

    There is one for each job at most, made when it is claimed: the first line writes nothing here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, owner: str, now: datetime, lease_seconds: float, wanted: Comparable
    ) -> tuple[SecondReading, Job] | None:
        """Takes a job that the first engine has read, while no other waits for the first one; None if there is none.

        What is due for another try goes first, then the newest job. A lease that ran out counts one attempt.
        """
        again = and_(is_open_second_reading, rows.is_claimable(second_readings, now), not_(is_held_job))
        due = select(second_readings.c.number).join(jobs).where(again)
        due = due.order_by(second_readings.c.due_at, second_readings.c.number).limit(1)
        newest_first = jobs.c.opened_at.desc(), jobs.c.number.desc()
        new = select(jobs.c.number).where(_is_unread(wanted)).order_by(*newest_first).limit(1)
        with self._database.reading() as connection:  # looks before it claims, as Jobs does
            if not _is_first_idle(connection) or not any(connection.scalar(query) for query in (due, new)):
                return None
        with self._database.writing() as connection:
            lock_writers(connection, "second readings")
            if not _is_first_idle(connection):
                return None
            number = connection.scalar(due)
            if number is None:
                job_number = connection.scalar(new)
                if job_number is None:
                    return None
                number = _opened(connection, job_number, now)
            rows.lease(connection, second_readings, [number], owner, now, lease_seconds)
            second = _second(connection, second_readings.c.number == number)
            assert second is not None
            return second, rows.job_of(connection, second.job_number)

    def extend(self, second: SecondReading, now: datetime, lease_seconds: float) -> None:
        """Puts off the end of the lease to `lease_seconds` from now. Raises LeaseLost."""
        self._change(second, lease_until=now + timedelta(seconds=lease_seconds))

    def keep(self, second: SecondReading, job: Job, reading_json: str, now: datetime) -> None:
        """Keeps what the second engine said. Raises LeaseLost, as when the study was deleted meanwhile."""
        with self._database.writing() as connection:
            values = {"reading_json": reading_json, "done_at": now, "problem": None}
            rows.change(connection, second_readings, second, {**NO_LEASE, **values})
            patient_id = patient_of(connection, job.study_instance_uid)
            why = "by the second engine, for comparison"
            read = AuditRecord(now, AuditEvent.READ, "", "", job.study_instance_uid, patient_id, 0, why)
            audit(connection, [read])
            _time(connection, second, StepOutcome.DONE, now)

    def later(self, second: SecondReading, problem: str, due_at: datetime, now: datetime) -> None:
        """Puts it off because the world is not ready; costs no attempt. Raises LeaseLost."""
        since = second.waiting_since or now
        self._change(second, **NO_LEASE, waiting_since=since, due_at=due_at, problem=problem)

    def retry(self, second: SecondReading, problem: str, due_at: datetime, now: datetime) -> None:
        """Puts it off after a try that ended badly; counts one attempt. Raises LeaseLost."""
        attempts = second_readings.c.attempts + 1
        self._end_try(second, StepOutcome.ERROR, now, attempts=attempts, due_at=due_at, problem=problem)

    def fail(self, second: SecondReading, problem: str, now: datetime) -> None:
        """Gives it up. Raises LeaseLost."""
        self._end_try(second, StepOutcome.FAILED, now, failed_at=now, problem=problem)

    def give_back(self, second: SecondReading) -> None:
        """Ends the lease because the worker is told to stop; costs no attempt. Raises LeaseLost."""
        self._change(second, **NO_LEASE)

    # Looking

    def of_job(self, job_number: int) -> SecondReading | None:
        """The second reading of a job; None if nobody has begun with one."""
        with self._database.reading() as connection:
            return _second(connection, second_readings.c.job_number == job_number)

    def of_studies_since(self, since: datetime, limit: int) -> tuple[tuple[Job, SecondReading], ...]:
        """The newest job of each study that has a second reading, done or given up, with it; newest first.

        Args:
            since: jobs opened at this time or later.
            limit: jobs looked at, the newest ones.
        """
        ended = not_(is_open_second_reading)
        columns = [column.label(f"job_{column.name}") for column in JOB] + _SECOND
        query = select(*columns).join_from(second_readings, jobs).where(jobs.c.opened_at >= since, ended)
        found: dict[str, tuple[Job, SecondReading]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query.order_by(jobs.c.number.desc()).limit(limit)):
                job, second = Job(*row[: len(JOB)]), SecondReading(*row[len(JOB) :])
                found.setdefault(job.study_instance_uid, (job, second))
        return tuple(found.values())

    def counts(self, wanted: Comparable | None) -> dict[str, int]:
        """How many wait, were read and were given up.

        Args:
            wanted: what a second engine is to read, or None if there is none: then what was not begun waits for nobody.
        """
        states = {
            "read": second_readings.c.done_at.is_not(None),
            "failed": second_readings.c.failed_at.is_not(None),
        }
        with self._database.reading() as connection:
            ended = {
                word: _count(connection, second_readings.c.number, is_so) for word, is_so in states.items()
            }
            return {"waiting": _waiting(connection, wanted), **ended}

    def waiting_count(self, wanted: Comparable | None) -> int:
        """How many wait or are being read: what is open, and the jobs since `wanted.since`, are all that it looks at.

        Args:
            wanted: as in `counts`.
        """
        with self._database.reading() as connection:
            return _waiting(connection, wanted)

    def _end_try(self, second: SecondReading, outcome: StepOutcome, now: datetime, **values: Any) -> None:
        with self._database.writing() as connection:
            rows.change(connection, second_readings, second, {**NO_LEASE, **values})
            _time(connection, second, outcome, now)

    def _change(self, second: SecondReading, **values: Any) -> None:
        with self._database.writing() as connection:
            rows.change(connection, second_readings, second, values)


def _is_unread(wanted: Comparable) -> ColumnElement[bool]:
    """The first engine has read it, the images are here, and no second reading was begun."""
    # Asked of each job: as a list of studies SQLite begins with all of them.
    of_study = studies.c.study_instance_uid == jobs.c.study_instance_uid
    conditions = [
        jobs.c.opened_at >= wanted.since,
        jobs.c.reading_json.is_not(None),
        ~exists().where(second_readings.c.job_number == jobs.c.number),
        exists().where(of_study, studies.c.images_deleted_at.is_(None)),
        not_(is_held_job),
    ]
    if wanted.not_under:
        conditions.append(or_(jobs.c.rule.is_(None), jobs.c.rule.not_in(wanted.not_under)))
    return and_(*conditions)


def _is_first_idle(connection: Connection) -> bool:
    return connection.scalar(select(jobs.c.number).where(_WAITS_FOR_THE_FIRST).limit(1)) is None


def _opened(connection: Connection, job_number: int, now: datetime) -> int:
    row = {"job_number": job_number, "attempts": 0, "claim_number": 0, "due_at": now}
    added = insert(second_readings).values(row).returning(second_readings.c.number)
    return int(connection.execute(added).scalar_one())


def _second(connection: Connection, condition: ColumnElement[bool]) -> SecondReading | None:
    row = connection.execute(select(*_SECOND).where(condition)).first()
    return None if row is None else SecondReading(*row)


def _time(connection: Connection, second: SecondReading, outcome: StepOutcome, now: datetime) -> None:
    rows.time_step(connection, second, Beside.SECOND_READING, outcome, "", now)


def _waiting(connection: Connection, wanted: Comparable | None) -> int:
    begun = _count(connection, second_readings.c.number, is_open_second_reading)
    return begun + (0 if wanted is None else _count(connection, jobs.c.number, _is_unread(wanted)))


def _count(connection: Connection, column: ColumnElement[int], condition: ColumnElement[bool]) -> int:
    query: Select[int] = select(func.count(column)).where(condition)
    return int(connection.scalar(query) or 0)
