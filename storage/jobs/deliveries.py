"""Deliveries: what is on its way to whom, what came of it, and which destinations are in trouble."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from storage.audit_records import AuditEvent
from storage.database import Database
from storage.jobs import rows
from storage.jobs.closing import is_closed
from storage.jobs.rows import NO_LEASE
from storage.records import Delivery, Job, Stage, StepOutcome, TroubledDestination, Undelivered
from storage.tables import (
    columns_of,
    deliveries,
    is_held_delivery,
    is_open_delivery,
    jobs,
    result_objects,
    troubled_destinations,
)

TROUBLE = columns_of(troubled_destinations, TroubledDestination)


class Deliveries:
    """The rows of one object on its way to one destination. Safe for several threads and processes.

    As with jobs, a claimed row belongs to its claimer until it is given on, given back, or its lease has run out and
    another one claimed it; every change is one commit with the event that tells it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # The lease

    def claim(
        self, owner: str, now: datetime, lease_seconds: float, busy_destinations: Collection[str] = ()
    ) -> tuple[Delivery, ...]:
        """Takes all due deliveries of one job to one destination, for one association; () if none is due.

        The pair whose delivery is due longest comes first. As with jobs, a lease that ran out counts one attempt.
        A destination that rests is left alone; once its rest is over, one claim goes as a trial, and the others wait
        for what becomes of it, but no longer than its lease.

        Args:
            busy_destinations: those that are to be left alone now.
        """
        resting = select(troubled_destinations.c.name).where(troubled_destinations.c.rests_until > now)
        due = and_(
            is_open_delivery,
            rows.is_claimable(deliveries, now),
            deliveries.c.destination.not_in(busy_destinations),
            deliveries.c.destination.not_in(resting),
            not_(is_held_delivery),
        )
        if not rows.is_any(self._database, deliveries, due):
            return ()
        query = select(deliveries).where(due).order_by(deliveries.c.due_at, deliveries.c.number)
        with self._database.writing() as connection:
            first = connection.execute(query.limit(1).with_for_update(skip_locked=True)).first()
            if first is None or not rows.may_try(connection, first.destination, now, lease_seconds):
                return ()
            same_way = (
                deliveries.c.job_number == first.job_number,
                deliveries.c.destination == first.destination,
            )
            # A trial has just put its destination to rest for all others: its own rows are asked for without that.
            mine = select(deliveries).where(is_open_delivery, rows.is_claimable(deliveries, now), *same_way)
            mine = mine.order_by(deliveries.c.due_at, deliveries.c.number)
            before = connection.execute(mine.with_for_update(skip_locked=True)).all()
            numbers = [row.number for row in before]
            rows.lease(connection, deliveries, numbers, owner, now, lease_seconds)
            dead = next((row.lease_owner for row in before if row.lease_owner is not None), None)
            if dead is not None:
                text = f"{dead} did not finish sending to {first.destination}; {owner} has it now"
                rows.tell(connection, rows.job_of(connection, first.job_number), now, text)
            study, to = rows.job_of(connection, first.job_number).study_instance_uid, first.destination
            rows.audit_study(connection, AuditEvent.SENDING, study, to, now, instances=len(numbers))
            return rows.deliveries_of(connection, deliveries.c.number.in_(numbers))

    def extend(self, claimed: Sequence[Delivery], now: datetime, lease_seconds: float) -> None:
        """Puts off the end of the leases that still stand to `lease_seconds` from now."""
        its_own = (
            and_(deliveries.c.number == one.number, deliveries.c.claim_number == one.claim_number)
            for one in claimed
        )
        with self._database.writing() as connection:
            connection.execute(
                update(deliveries)
                .where(or_(*its_own), deliveries.c.lease_owner.is_not(None))
                .values(lease_until=now + timedelta(seconds=lease_seconds))
            )

    # What became of one

    def delivered(
        self, delivery: Delivery, status: int | None, now: datetime, note: str | None = None
    ) -> Delivery:
        """Notes that the destination took it; the last delivery to end also ends its job.

        Args:
            status: the DIMSE status that came back, warnings count as taken; None where it was no C-STORE.
            note: a sentence if there is something to know, such as the meaning of a warning.

        Raises:
            LeaseLost: if the delivery is no longer the caller's.
        """
        text = _taken(delivery, status, note)
        taken = {"done_at": now, "taken_at": now, "last_status": status, "problem": note}
        return self._change(delivery, now, text, StepOutcome.DONE, **taken)

    def failed(
        self,
        delivery: Delivery,
        reason: str,
        now: datetime,
        status: int | None = None,
        *,
        is_error: bool = False,
    ) -> Delivery:
        """Gives a delivery up; the last delivery to end also ends its job, as failed. Raises LeaseLost.

        Args:
            is_error: the try ended badly, so that nobody knows whether it was taken; counts one attempt.
        """
        text = f"given up for {delivery.destination}: {reason}"
        tries = deliveries.c.attempts + int(is_error)
        ends = {"failed_at": now, "attempts": tries, "last_status": status, "problem": reason}
        return self._change(delivery, now, text, StepOutcome.FAILED, **ends)

    def replaced(
        self, delivery: Delivery, kind: str, reason: str, now: datetime, status: int | None = None
    ) -> Delivery:
        """Ends a delivery whose form the destination refuses; what goes instead is listed, or made first.

        Objects of `kind` that the job has made and that were not meant for this destination go there now. Where it
        has made none, the job goes back to `compose`. Raises LeaseLost.
        """
        text = f"refused by {delivery.destination}, {kind} goes instead: {reason}"
        ends = {"replaced_by": kind, "last_status": status, "problem": reason}
        return self._change(delivery, now, text, StepOutcome.SKIPPED, **ends)

    def later(
        self, delivery: Delivery, reason: str, due_at: datetime, now: datetime, status: int | None = None
    ) -> Delivery:
        """Puts a delivery off because the destination is not ready; costs no attempt. Raises LeaseLost."""
        text = None if reason == delivery.problem else f"waits for {delivery.destination}: {reason}"
        since = delivery.waiting_since or now
        waits = {"due_at": due_at, "waiting_since": since, "last_status": status, "problem": reason}
        return self._change(delivery, now, text, StepOutcome.LATER, **waits)

    def retry(
        self, delivery: Delivery, problem: str, due_at: datetime, now: datetime, status: int | None = None
    ) -> Delivery:
        """Puts a delivery off after a try that ended badly; counts one attempt. Raises LeaseLost."""
        text = f"not sent to {delivery.destination}, try {delivery.attempts + 1}: {problem}"
        tries = deliveries.c.attempts + 1
        again = {"attempts": tries, "due_at": due_at, "last_status": status, "problem": problem}
        return self._change(delivery, now, text, StepOutcome.ERROR, **again)

    def give_back(self, delivery: Delivery, now: datetime) -> Delivery:
        """Ends the lease because the worker is told to stop; costs no attempt. Raises LeaseLost."""
        text = f"not yet sent to {delivery.destination}: {delivery.lease_owner} was stopped"
        return self._change(delivery, now, text, None, last_status=delivery.last_status)

    def _change(
        self,
        delivery: Delivery,
        now: datetime,
        text: str | None,
        outcome: StepOutcome | None,
        **values: Any,
    ) -> Delivery:
        with self._database.writing() as connection:
            # The job's row first: of two last deliveries that end at once, on PostgreSQL, the second
            # waits here and then sees the first; otherwise each would take the other for open.
            touched = update(jobs).where(jobs.c.number == delivery.job_number).values(changed_at=now)
            connection.execute(touched)
            rows.change(connection, deliveries, delivery, values | NO_LEASE)
            job = rows.job_of(connection, delivery.job_number)
            if text is not None:
                rows.tell(connection, job, now, f"{delivery.sop_instance_uid} {text}")
            if "done_at" in values:
                _audit_sent(connection, job, delivery, now)
            if "replaced_by" in values:
                rows.list_instead(connection, job, delivery, values["replaced_by"], now)
            rows.end_if_all_sent(connection, rows.job_of(connection, job.number), now)
            changed = rows.deliveries_of(connection, deliveries.c.number == delivery.number)[0]
            if outcome is not None:
                rows.time_step(connection, delivery, Stage.DELIVER, outcome, delivery.destination, now)
            return changed

    # Storage commitment

    def taken(
        self, delivery: Delivery, transaction_uid: str, status: int, now: datetime, note: str | None = None
    ) -> Delivery:
        """Notes that the destination took it and is now asked to commit to it; the lease stays. Raises LeaseLost.

        Written before the question is put, since the answer may be quicker than this process.
        """
        values = {"taken_at": now, "transaction_uid": transaction_uid, "last_status": status, "problem": note}
        text = _taken(delivery, status, note)
        with self._database.writing() as connection:
            rows.change(connection, deliveries, delivery, values)
            job = rows.job_of(connection, delivery.job_number)
            rows.tell(connection, job, now, f"{delivery.sop_instance_uid} {text}; asked to commit to it")
            return rows.deliveries_of(connection, deliveries.c.number == delivery.number)[0]

    def await_commitment(self, delivery: Delivery, until: datetime, now: datetime) -> Delivery:
        """Gives the delivery on to the destination's report, or to the next try at `until`. Raises LeaseLost."""
        since = delivery.waiting_since or now
        return self._change(delivery, now, None, StepOutcome.DONE, due_at=until, waiting_since=since)

    def awaiting(self, transaction_uid: str) -> tuple[Delivery, ...]:
        """The deliveries of one request for commitment, whether or not they have ended; () if it is unknown."""
        with self._database.reading() as connection:
            return rows.deliveries_of(connection, deliveries.c.transaction_uid == transaction_uid)

    def committed(self, delivery: Delivery, now: datetime) -> None:
        """Notes that the destination answers for the object; no lease is needed, and a second time is harmless."""
        text = f"committed to by {delivery.destination}: done"
        self._settle(delivery, now, text, done_at=now)

    def uncommitted(self, delivery: Delivery, reason: str, due_at: datetime | None, now: datetime) -> None:
        """Notes that the destination does not answer for the object; no lease is needed.

        Args:
            due_at: when it is sent again; None gives it up.
        """
        if due_at is None:
            self._settle(
                delivery, now, f"given up for {delivery.destination}: {reason}", failed_at=now, problem=reason
            )
            return
        text = f"goes to {delivery.destination} again: {reason}"
        tries = deliveries.c.attempts + 1
        anew = {"transaction_uid": None, "attempts": tries, "due_at": due_at, "problem": reason}
        self._settle(delivery, now, text, **anew)

    def _settle(self, delivery: Delivery, now: datetime, text: str, **values: Any) -> None:
        """Changes what waits for the same report still; whoever has it in hand loses it."""
        same = (
            deliveries.c.number == delivery.number,
            deliveries.c.transaction_uid == delivery.transaction_uid,
        )
        with self._database.writing() as connection:
            connection.execute(
                update(jobs).where(jobs.c.number == delivery.job_number).values(changed_at=now)
            )
            change = update(deliveries).where(*same, is_open_delivery).values(**values, **NO_LEASE)
            if not connection.execute(change).rowcount:
                return
            job = rows.job_of(connection, delivery.job_number)
            rows.tell(connection, job, now, f"{delivery.sop_instance_uid} {text}")
            if "done_at" in values:
                _audit_sent(connection, job, delivery, now)
            rows.end_if_all_sent(connection, job, now)

    # Destinations in trouble

    def stumbled(
        self, destination: str, problem: str, rests_until: datetime | None, now: datetime
    ) -> TroubledDestination:
        """Notes one more try in a row in which a destination took nothing.

        Args:
            rests_until: it is left alone until then; None leaves it open to all.
        """
        its_own = troubled_destinations.c.name == destination
        values = {"failures": troubled_destinations.c.failures + 1, "rests_until": rests_until}
        with self._database.writing() as connection:
            again = update(troubled_destinations).where(its_own).values(**values, problem=problem)
            if not connection.execute(again).rowcount:
                first = {"name": destination, "failures": 1, "since": now, "rests_until": rests_until}
                connection.execute(insert(troubled_destinations).values(**first, problem=problem))
            row = connection.execute(select(*TROUBLE).where(its_own)).mappings().one()
            return TroubledDestination(**row)

    def recovered(self, destination: str, now: datetime) -> bool:
        """Notes that a destination answers; what waited for it is due now. False if it was in no trouble."""
        its_own = troubled_destinations.c.name == destination
        if self.trouble(destination) is None:
            return False
        with self._database.writing() as connection:
            gone = connection.execute(delete(troubled_destinations).where(its_own)).rowcount > 0
            waiting = and_(
                is_open_delivery,
                deliveries.c.destination == destination,
                deliveries.c.lease_owner.is_(None),
                deliveries.c.due_at > now,
                deliveries.c.taken_at.is_(None),
            )
            connection.execute(update(deliveries).where(waiting).values(due_at=now))
            return gone

    def trouble(self, destination: str) -> TroubledDestination | None:
        """What is known of a destination's trouble; None if its last try went well."""
        return next((one for one in self.troubles() if one.name == destination), None)

    def troubles(self) -> tuple[TroubledDestination, ...]:
        """The destinations in trouble, by name."""
        query = select(*TROUBLE).order_by(troubled_destinations.c.name)
        with self._database.reading() as connection:
            return tuple(TroubledDestination(**row) for row in connection.execute(query).mappings())

    def open_count(self, destination: str) -> int:
        """How many deliveries to a destination are still open."""
        query = select(func.count()).where(is_open_delivery, deliveries.c.destination == destination)
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def undelivered(self, since: datetime, limit: int) -> tuple[tuple[Undelivered, ...], int]:
        """What is open and has a problem, and then what was given up since, by destination and problem.

        Args:
            limit: groups at most of each, those of most deliveries first.

        Returns:
            the groups; and how many deliveries are in none of them for the limit.
        """
        waits = and_(is_open_delivery, deliveries.c.problem.is_not(None))
        lost = and_(
            deliveries.c.failed_at >= since, ~deliveries.c.is_stopped, deliveries.c.problem.is_not(None)
        )
        with self._database.reading() as connection:
            kinds = [
                _groups(connection, waits, deliveries.c.waiting_since, limit, is_given_up=False),
                _groups(connection, lost, deliveries.c.failed_at, limit, is_given_up=True),
            ]
        return tuple(one for groups, _ in kinds for one in groups), sum(left_out for _, left_out in kinds)

    # Those given up

    def given_up(self, destination: str = "", limit: int = 1000) -> tuple[Delivery, ...]:
        """The deliveries that failed for good, newest first; of one destination or, for "", of all."""
        query = select(*rows.DELIVERY).where(deliveries.c.failed_at.is_not(None), ~deliveries.c.is_stopped)
        if destination:
            query = query.where(deliveries.c.destination == destination)
        query = query.order_by(deliveries.c.failed_at.desc(), deliveries.c.number)
        with self._database.reading() as connection:
            return tuple(Delivery(**row) for row in connection.execute(query.limit(limit)).mappings())

    def replay(self, number: int, now: datetime, replayed_by: str = "the operator") -> Delivery:
        """Sends once more what was given up; its job goes back to `deliver`.

        Raises:
            LookupError: if there is no such delivery, it was not given up, its study is closed and it is a draft, or a
                later revision of it is made (a draft must not come after the one that replaces it). Says which.
        """
        with self._database.writing() as connection:
            found = rows.deliveries_of(connection, deliveries.c.number == number)
            if not found or found[0].failed_at is None or found[0].is_stopped:
                raise LookupError(f"delivery {number} was not given up; see: preread deliveries list")
            job = rows.job_of(connection, found[0].job_number)
            rows.lock_study(connection, job.study_instance_uid)
            is_withdrawal = job.reading_json is None  # nothing else that is sent has none
            if not is_withdrawal and is_closed(connection, job.study_instance_uid):
                raise LookupError(f"the drafts of study {job.study_instance_uid} are closed; nothing is sent")
            _refuse_if_superseded(connection, number, job)
            anew = {"failed_at": None, "waiting_since": None, "due_at": now, "attempts": 0, "problem": None}
            connection.execute(update(deliveries).where(deliveries.c.number == number).values(**anew))
            connection.execute(
                update(jobs)
                .where(jobs.c.number == job.number, jobs.c.stage == Stage.FAILED)
                .values(stage=Stage.DELIVER, problem=None, changed_at=now)
            )
            goes = f"{found[0].sop_instance_uid} goes to {found[0].destination} once more"
            rows.tell(connection, job, now, f"{goes}: replayed by {replayed_by}")
            return rows.deliveries_of(connection, deliveries.c.number == number)[0]

    # Looking

    def of_job(self, number: int) -> tuple[Delivery, ...]:
        """Where a job's objects go and how far each has come, in the order they were listed."""
        with self._database.reading() as connection:
            return rows.deliveries_of(connection, deliveries.c.job_number == number)


def _groups(
    connection: Connection,
    condition: ColumnElement[bool],
    since: ColumnElement[Any],
    limit: int,
    *,
    is_given_up: bool,
) -> tuple[tuple[Undelivered, ...], int]:
    same = (deliveries.c.destination, deliveries.c.problem)
    count = func.count()
    query = select(*same, count, func.min(since)).where(condition).group_by(*same)
    rows = connection.execute(query.order_by(count.desc(), *same).limit(limit)).all()
    groups = tuple(
        Undelivered(name, is_given_up, number, first, problem) for name, problem, number, first in rows
    )
    total = int(connection.scalar(select(func.count()).where(condition)) or 0)
    return groups, total - sum(group.count for group in groups)


def _audit_sent(connection: Connection, job: Job, delivery: Delivery, now: datetime) -> None:
    to = delivery.destination
    rows.audit_study(connection, AuditEvent.SENT, job.study_instance_uid, to, now, instances=1)


def _taken(delivery: Delivery, status: int | None, note: str | None) -> str:
    text = f"taken by {delivery.destination}" + ("" if status is None else f", status 0x{status:04X}")
    return text if note is None else f"{text}: {note}"


def _refuse_if_superseded(connection: Connection, number: int, job: Job) -> None:
    made = exists().where(result_objects.c.job_number == jobs.c.number)
    newer = select(jobs.c.revision).where(
        jobs.c.study_instance_uid == job.study_instance_uid, jobs.c.revision > job.revision, made
    )
    revision = connection.scalar(newer.order_by(jobs.c.revision.desc()).limit(1))
    if revision is not None:
        raise LookupError(
            f"delivery {number} is of revision {job.revision} of study {job.study_instance_uid}, which revision "
            f"{revision} has replaced; nothing is sent"
        )
