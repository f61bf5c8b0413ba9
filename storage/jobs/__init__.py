"""Jobs and deliveries: rows that are their own queue entries, and the sentences on what became of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, insert, not_, select

from storage.audit_records import AuditEvent
from storage.database import Database
from storage.jobs import rows
from storage.jobs.closing import Closings, is_closed, reopen, stop_earlier
from storage.jobs.deliveries import Deliveries
from storage.jobs.rows import JOB, NO_LEASE, LeaseLost
from storage.jobs.second import Comparable, SecondReadings
from storage.jobs.stages import CLAIMABLE, ENDS, NEXT, STAGES, check_move
from storage.records import Event, Job, Priority, ResultObject, Stage, StepOutcome
from storage.tables import columns_of, events, instances, is_failed_job, is_held_job, jobs, row_of

__all__ = [
    "ENDS",
    "NEXT",
    "STAGES",
    "Comparable",
    "Deliveries",
    "Jobs",
    "LeaseLost",
    "SecondReadings",
]


class Jobs:
    """The worklist. Safe for several threads and processes.

    A claimed row belongs to its claimer until it is given on, given back, or its lease has run out
    and another one claimed it. Every change is one commit with the event that tells it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.closings = Closings(database)
        self.deliveries = Deliveries(database)
        self.second_readings = SecondReadings(database)

    # Opening

    def open(
        self, study_instance_uid: str, watermark: int, complete_because: str, now: datetime
    ) -> Job | None:
        """Opens the next job of a study, at stage `gather`; None if one saw as much already, or it is closed.

        Args:
            watermark: the highest instance number that this job is to see.
            complete_because: why the study is taken to be complete, a sentence.

        Raises:
            LookupError: if the study is unknown.
        """
        with self._database.writing() as connection:
            rows.lock_study(connection, study_instance_uid)
            seen = select(func.max(jobs.c.watermark)).where(jobs.c.study_instance_uid == study_instance_uid)
            if (connection.scalar(seen) or 0) >= watermark or is_closed(connection, study_instance_uid):
                return None
            return rows.open_job(connection, study_instance_uid, watermark, complete_because, now)

    def again(self, study_instance_uid: str, now: datetime, asked_by: str = "the operator") -> Job:
        """Opens one more job over all that is here of a study, because the operator asks for it; reopens it.

        Raises:
            LookupError: if the study is unknown, its images were deleted, or one of its jobs is still on its way.
        """
        with self._database.writing() as connection:
            newest_number = rows.lock_study(connection, study_instance_uid)
            going = select(jobs.c.number, jobs.c.stage).where(
                jobs.c.study_instance_uid == study_instance_uid, jobs.c.stage.not_in(ENDS)
            )
            row = connection.execute(going).first()
            if row is not None:
                raise LookupError(
                    f"job {row.number} of study {study_instance_uid} is still on its way "
                    f"(stage {row.stage}); ask again once it has ended"
                )
            here = select(instances.c.number).where(instances.c.study_instance_uid == study_instance_uid)
            if connection.execute(here.limit(1)).first() is None:
                raise LookupError(
                    f"the images of study {study_instance_uid} were deleted; have them sent again, then ask again"
                )
            rows.audit_study(connection, AuditEvent.AGAIN, study_instance_uid, asked_by, now)
            reopen(connection, study_instance_uid, now, asked_by)
            return rows.open_job(
                connection, study_instance_uid, newest_number, f"asked for by {asked_by}", now
            )

    # A job and its lease

    def claim(
        self,
        stages: Sequence[Stage],
        owner: str,
        now: datetime,
        lease_seconds: float,
        *,
        only_untried: bool = False,
    ) -> Job | None:
        """Takes the due job of these stages whose turn it is, or None if nothing is due.

        The turn of a job comes `yields_seconds` after it became due: it lets those go first that become due within
        that time and yield nothing, and none that comes later. A job whose lease ran out is due, too: its worker
        died, and that counts one attempt.

        Args:
            stages: those of the first one go first, whoever's turn it is: what is begun is brought to its end.
            only_untried: takes no job that this stage has failed before, or whose worker died.

        Raises:
            ValueError: if a stage is none of gather, read and compose.
        """
        if not set(stages) <= set(CLAIMABLE):
            raise ValueError(f"jobs are claimed at {', '.join(CLAIMABLE)}, not at {', '.join(stages)}")
        due = and_(jobs.c.stage.in_(stages), rows.is_claimable(jobs, now), not_(is_held_job))
        if only_untried:
            due = and_(due, jobs.c.attempts == 0, jobs.c.lease_owner.is_(None))
        if not rows.is_any(self._database, jobs, due):
            return None
        next_one = select(jobs).where(due).order_by(jobs.c.turn_at, jobs.c.number).limit(1)
        next_one = next_one.with_for_update(skip_locked=True)
        with self._database.writing() as connection:
            # One stage at a time, in the order of its index: sorted by stage, all that is due would be read.
            looks = (connection.execute(next_one.where(jobs.c.stage == stage)).first() for stage in stages)
            before = next((row for row in looks if row is not None), None)
            if before is None:
                return None
            rows.lease(connection, jobs, [before.number], owner, now, lease_seconds)
            job = rows.job_of(connection, before.number)
            if before.lease_owner is not None:
                text = f"{before.lease_owner} did not finish {job.stage}; {owner} has it now"
                rows.tell(connection, job, now, text)
            return job

    def extend(self, job: Job, now: datetime, lease_seconds: float) -> Job:
        """Puts off the end of the lease to `lease_seconds` from now. Raises LeaseLost."""
        with self._database.writing() as connection:
            return rows.change_job(connection, job, lease_until=now + timedelta(seconds=lease_seconds))

    def decide(
        self,
        job: Job,
        rule: str,
        priority: Priority,
        yields_seconds: float,
        now: datetime,
        *,
        event: str,
    ) -> Job:
        """Notes which rule a job falls under, and whom it lets go first from the next stage on; the lease stays.

        Raises:
            LeaseLost: if the job is no longer the caller's.
        """
        with self._database.writing() as connection:
            decided = rows.change_job(
                connection,
                job,
                rule=rule,
                priority=priority,
                yields_seconds=yields_seconds,
                changed_at=now,
            )
            rows.tell(connection, decided, now, event)
            return decided

    def advance(
        self,
        job: Job,
        to: Stage,
        now: datetime,
        *,
        manifest_json: str | None = None,
        reading_json: str | None = None,
        results: Sequence[ResultObject] = (),
        destinations: Mapping[str, Sequence[str]] = MappingProxyType({}),
        replacing: Collection[str] = (),
        event: str,
        problem: str | None = None,
        done_by: str = "",
    ) -> Job:
        """Commits what a step made, together with the stage that comes next; the lease ends.

        Args:
            manifest_json, reading_json: kept if given; None leaves what is there.
            results: the objects made; the same one again is no error.
            destinations: for each destination the SOP Instance UIDs to be sent there. A job that
                goes to `deliver` with nothing to send goes straight to `done`.
            replacing: destinations to which no earlier revision may go any more.
            event: what happened, a sentence.
            problem: what is worth knowing although the step went on, a sentence, or None.
            done_by: the engine, of a reading.

        Raises:
            LeaseLost: if the job is no longer the caller's.
            ValueError: if `NEXT` has no such move, or a result is recorded with other content.
        """
        check_move(job.stage, to)
        made = {"manifest_json": manifest_json, "reading_json": reading_json}
        values: dict[str, Any] = {name: value for name, value in made.items() if value is not None}
        values |= {"stage": to, "attempts": 0, "waiting_since": None, "changed_at": now}
        values |= rows.due(job, to, now)
        with self._database.writing() as connection:
            moved = rows.change_job(connection, job, **values, **NO_LEASE, problem=problem)
            for result in results:
                rows.add_result(connection, result)
            for destination, sop_instance_uids in destinations.items():
                for sop_instance_uid in sop_instance_uids:
                    rows.add_delivery(connection, job, sop_instance_uid, destination, now)
            rows.tell(connection, moved, now, event)
            if reading_json is not None:
                rows.audit_study(connection, AuditEvent.READ, job.study_instance_uid, "", now)
            stop_earlier(connection, job, replacing, now)
            rows.end_if_all_sent(connection, moved, now)
            rows.time_step(connection, job, job.stage, StepOutcome.DONE, done_by, now)
            return rows.job_of(connection, job.number)

    def later(self, job: Job, reason: str, due_at: datetime, now: datetime) -> Job:
        """Puts the job off because the world is not ready; costs no attempt. Raises LeaseLost.

        `waiting_since` stays what it was when this stage first waited.
        """
        with self._database.writing() as connection:
            since = job.waiting_since or now
            moved = rows.change_job(
                connection,
                job,
                **NO_LEASE,
                **rows.due(job, job.stage, due_at),
                waiting_since=since,
                problem=reason,
                changed_at=now,
            )
            # A PACS that is down for a night is one sentence, not one for each minute.
            if reason != job.problem:
                rows.tell(connection, moved, now, f"{job.stage} waits: {reason}")
            return moved

    def retry(self, job: Job, problem: str, due_at: datetime, now: datetime) -> Job:
        """Puts the job off after a try that ended badly; counts one attempt. Raises LeaseLost."""
        with self._database.writing() as connection:
            moved = rows.change_job(
                connection,
                job,
                **NO_LEASE,
                **rows.due(job, job.stage, due_at),
                attempts=jobs.c.attempts + 1,
                problem=problem,
                changed_at=now,
            )
            rows.tell(connection, moved, now, f"{job.stage} failed, try {moved.attempts}: {problem}")
            rows.time_step(connection, job, job.stage, StepOutcome.ERROR, "", now)
            return moved

    def end(self, job: Job, stage: Stage, problem: str, now: datetime) -> Job:
        """Ends the job before its line does: SKIPPED if a rule said no, FAILED otherwise.

        Raises:
            LeaseLost: if the job is no longer the caller's.
            ValueError: if the stage is none of the two.
        """
        if stage not in (Stage.SKIPPED, Stage.FAILED):
            raise ValueError(f"a job is ended as skipped or failed, not as {stage}")
        check_move(job.stage, stage)
        with self._database.writing() as connection:
            moved = rows.change_job(
                connection, job, **NO_LEASE, stage=stage, waiting_since=None, problem=problem, changed_at=now
            )
            rows.tell(connection, moved, now, f"{stage} in {job.stage}: {problem}")
            rows.time_step(connection, job, job.stage, StepOutcome(stage), "", now)
            return moved

    def give_back(self, job: Job, now: datetime) -> Job:
        """Ends the lease because the worker is told to stop; costs no attempt. Raises LeaseLost."""
        with self._database.writing() as connection:
            moved = rows.change_job(connection, job, **NO_LEASE, changed_at=now)
            rows.tell(connection, moved, now, f"{job.lease_owner} was stopped and gave {job.stage} back")
            return moved

    # Looking

    def job(self, number: int) -> Job:
        """The job of this number. Raises LookupError if there is none."""
        with self._database.reading() as connection:
            return rows.job_of(connection, number)

    def jobs_of_study(self, study_instance_uid: str) -> tuple[Job, ...]:
        """All jobs of a study, first revision first."""
        query = select(*JOB).where(jobs.c.study_instance_uid == study_instance_uid)
        with self._database.reading() as connection:
            return tuple(Job(**row) for row in connection.execute(query.order_by(jobs.c.revision)).mappings())

    def opened_since(self, since: datetime, limit: int) -> tuple[Job, ...]:
        """The newest job of each study that got one since then, in the order in which these were opened.

        Args:
            limit: jobs looked at, the newest ones.
        """
        query = select(*JOB).where(jobs.c.opened_at >= since).order_by(jobs.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            newest: dict[str, Job] = {}
            for row in connection.execute(query).mappings():
                newest.setdefault(row["study_instance_uid"], Job(**row))
        return tuple(reversed(newest.values()))

    def failed_since(self, since: datetime, limit: int) -> tuple[tuple[Job, ...], int]:
        """The jobs that failed since and have no successor, newest first; and how many these are without a limit."""
        later = jobs.alias()
        is_superseded = exists().where(
            later.c.study_instance_uid == jobs.c.study_instance_uid, later.c.revision > jobs.c.revision
        )
        failed = and_(is_failed_job, jobs.c.changed_at >= since, ~is_superseded)
        return self._some(failed, jobs.c.changed_at.desc(), limit)

    def waiting(self, limit: int) -> tuple[tuple[Job, ...], int]:
        """The jobs that wait for the world, the longest first; and how many these are without a limit."""
        waits = and_(
            jobs.c.stage.in_(CLAIMABLE), jobs.c.waiting_since.is_not(None), jobs.c.problem.is_not(None)
        )
        return self._some(waits, jobs.c.waiting_since, limit)

    def _some(
        self, condition: ColumnElement[bool], order: ColumnElement[Any], limit: int
    ) -> tuple[tuple[Job, ...], int]:
        query = select(*JOB).where(condition).order_by(order, jobs.c.number).limit(limit)
        with self._database.reading() as connection:
            some = tuple(Job(**row) for row in connection.execute(query).mappings())
            return some, int(connection.scalar(select(func.count()).where(condition)) or 0)

    def latest(self, limit: int) -> tuple[Job, ...]:
        """The jobs opened last, newest first."""
        query = select(*JOB).order_by(jobs.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(Job(**row) for row in connection.execute(query).mappings())

    def results_of_job(self, number: int) -> tuple[ResultObject, ...]:
        """What a job made, by kind."""
        with self._database.reading() as connection:
            return rows.results_of(connection, number)

    def previous_results(self, study_instance_uid: str, before_revision: int) -> tuple[ResultObject, ...]:
        """What earlier revisions of a study made, of each kind what the latest one made that made any."""
        earlier = (
            select(jobs.c.number)
            .where(jobs.c.study_instance_uid == study_instance_uid, jobs.c.revision < before_revision)
            .order_by(jobs.c.revision)
        )
        latest: dict[str, list[ResultObject]] = {}
        with self._database.reading() as connection:
            for number in connection.scalars(earlier).all():
                made: dict[str, list[ResultObject]] = {}
                for result in rows.results_of(connection, number):
                    made.setdefault(result.kind, []).append(result)
                latest |= made
        return tuple(result for results in latest.values() for result in results)

    def events_of_study(self, study_instance_uid: str) -> tuple[Event, ...]:
        """The life of a study in sentences, in the order they were written."""
        query = select(*columns_of(events, Event)).where(events.c.study_instance_uid == study_instance_uid)
        with self._database.reading() as connection:
            return tuple(
                Event(**row) for row in connection.execute(query.order_by(events.c.number)).mappings()
            )

    def note(self, event: Event) -> None:
        """Writes down a sentence that goes with no change of a row."""
        with self._database.writing() as connection:
            connection.execute(insert(events), row_of(event))

    def counts(self) -> dict[Stage, int]:
        """How many jobs stand at each stage; every stage is there, with 0 if need be."""
        query = select(jobs.c.stage, func.count()).group_by(jobs.c.stage)
        with self._database.reading() as connection:
            return dict.fromkeys(STAGES, 0) | dict(connection.execute(query).all())
