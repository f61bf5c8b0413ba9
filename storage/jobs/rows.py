"""Statements on jobs and deliveries, each inside a transaction of its caller."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, case, delete, func, insert, or_, select, update

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, patient_of
from storage.database import Database, lock_writers
from storage.outside_records import PriorRequest
from storage.records import (
    Beside,
    Delivery,
    Event,
    Job,
    Priority,
    ResultObject,
    SecondReading,
    Stage,
    StepOutcome,
    StepTime,
)
from storage.tables import (
    columns_of,
    deliveries,
    events,
    is_open_delivery,
    jobs,
    result_objects,
    row_of,
    step_times,
    studies,
    troubled_destinations,
)

JOB = columns_of(jobs, Job)
DELIVERY = columns_of(deliveries, Delivery)
NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_until": None}


STEP_TIMES_MAX = 100_000
"""So many tries are kept, the newest: they are counted soon after, and looked at by nobody later."""


class LeaseLost(Exception):
    """The row is no longer the caller's: its lease ran out and another worker has it, or it has ended.

    Nothing was changed. What was being done is to be dropped.
    """


def due(job: Job, stage: Stage, due_at: datetime) -> dict[str, datetime]:
    """The columns that say when a job is due at a stage, and when its turn is among those that are.

    At gather nobody yields: how urgent a study is is only found out there.
    """
    yields_seconds = 0.0 if stage is Stage.GATHER else job.yields_seconds
    return {"due_at": due_at, "turn_at": due_at + timedelta(seconds=yields_seconds)}


def is_claimable(table: Table, now: datetime) -> ColumnElement[bool]:
    """Due, and leased to nobody whose time is not over."""
    return and_(table.c.due_at <= now, or_(table.c.lease_until.is_(None), table.c.lease_until <= now))


def lease(
    connection: Connection,
    table: Table,
    numbers: Sequence[int],
    owner: str,
    now: datetime,
    lease_seconds: float,
) -> None:
    """Gives rows that this transaction has locked to an owner. An owner still there is a dead one, and
    its death counts as one attempt."""
    taken = update(table).where(table.c.number.in_(numbers))
    taken = taken.values(
        lease_owner=owner,
        lease_until=now + timedelta(seconds=lease_seconds),
        claim_number=table.c.claim_number + 1,
        claimed_at=now,
        attempts=table.c.attempts + case((table.c.lease_owner.is_not(None), 1), else_=0),
    )
    connection.execute(taken)


def change(
    connection: Connection,
    table: Table,
    row: Job | Delivery | PriorRequest | SecondReading,
    values: Mapping[str, Any],
) -> None:
    """Changes a leased row, or raises LeaseLost. A lease whose time is over still stands until
    somebody else claims the row."""
    its_own = (
        table.c.number == row.number,
        table.c.claim_number == row.claim_number,
        table.c.lease_owner.is_not(None),
    )
    changed = connection.execute(update(table).where(*its_own).values(**values).returning(table.c.number))
    if changed.first() is None:
        raise LeaseLost(f"number {row.number} of {table.name} is no longer leased to {row.lease_owner}")


def change_job(connection: Connection, job: Job, **values: Any) -> Job:
    """Changes a leased job, or raises LeaseLost; the job as it is then."""
    change(connection, jobs, job, values)
    return job_of(connection, job.number)


def lock_study(connection: Connection, study_instance_uid: str) -> int:
    """Keeps others from opening a job of this study until the commit; its highest instance number."""
    query = select(studies.c.newest_number).where(studies.c.study_instance_uid == study_instance_uid)
    # Its key stays: a transaction that changes a job twice has PostgreSQL look at the key of its study once more.
    newest_number = connection.scalar(query.with_for_update(key_share=True))
    if newest_number is None:
        raise LookupError(f"study {study_instance_uid} is unknown: nothing of it was received")
    return newest_number


def open_job(
    connection: Connection,
    study_instance_uid: str,
    watermark: int,
    because: str,
    now: datetime,
    stage: Stage = Stage.GATHER,
) -> Job:
    """Adds the next revision of a study that this transaction has locked."""
    of_study = jobs.c.study_instance_uid == study_instance_uid
    revision = (connection.scalar(select(func.max(jobs.c.revision)).where(of_study)) or 0) + 1
    row = {
        "study_instance_uid": study_instance_uid,
        "revision": revision,
        "watermark": watermark,
        "stage": stage,
        "complete_because": because,
        "attempts": 0,
        "claim_number": 0,
        "due_at": now,
        "turn_at": now,
        "priority": Priority.ROUTINE,
        "yields_seconds": 0.0,
        "opened_at": now,
        "changed_at": now,
    }
    added = connection.execute(insert(jobs).values(row).returning(*JOB)).mappings().one()
    connection.execute(
        update(studies)
        .where(studies.c.study_instance_uid == study_instance_uid, studies.c.watermark < watermark)
        .values(watermark=watermark)
    )
    job = Job(**added)
    tell(connection, job, now, f"revision {revision} opened up to instance {watermark}: {because}")
    return job


def job_of(connection: Connection, number: int) -> Job:
    """The job of this number, or LookupError."""
    row = connection.execute(select(*JOB).where(jobs.c.number == number)).mappings().first()
    if row is None:
        raise LookupError(f"there is no job {number}")
    return Job(**row)


def results_of(connection: Connection, job_number: int) -> tuple[ResultObject, ...]:
    """What a job made, by kind."""
    query = select(result_objects).where(result_objects.c.job_number == job_number)
    ordered = query.order_by(result_objects.c.kind, result_objects.c.sop_instance_uid)
    return tuple(ResultObject(**row) for row in connection.execute(ordered).mappings())


def deliveries_of(connection: Connection, condition: ColumnElement[bool]) -> tuple[Delivery, ...]:
    """The deliveries that meet a condition, in the order they were listed."""
    query = select(*DELIVERY).where(condition).order_by(deliveries.c.number)
    return tuple(Delivery(**row) for row in connection.execute(query).mappings())


def add_result(connection: Connection, result: ResultObject) -> None:
    """Adds what is not there yet; ValueError if the same UID is there with other content."""
    query = select(result_objects).where(result_objects.c.sop_instance_uid == result.sop_instance_uid)
    before = connection.execute(query).mappings().first()
    if before is None:
        connection.execute(insert(result_objects).values(row_of(result)))
    elif ResultObject(**before) != result:
        raise ValueError(f"result object {result.sop_instance_uid} is recorded with other content already")


def add_delivery(
    connection: Connection, job: Job, sop_instance_uid: str, destination: str, now: datetime
) -> None:
    """Adds what is not there yet."""
    row = {"job_number": job.number, "sop_instance_uid": sop_instance_uid, "destination": destination}
    same = (deliveries.c[name] == value for name, value in row.items())
    if connection.execute(select(deliveries.c.number).where(*same)).first() is None:
        connection.execute(
            insert(deliveries).values(**row, attempts=0, claim_number=0, due_at=now, is_stopped=False)
        )


def list_instead(connection: Connection, job: Job, delivery: Delivery, kind: str, now: datetime) -> None:
    """Sends a job's objects of one kind to a delivery's destination, too; if it has none, sends the job to have them
    made. A job without a reading, as a withdrawal is, can make none: then the delivery is given up."""
    made = [result.sop_instance_uid for result in results_of(connection, job.number) if result.kind == kind]
    for sop_instance_uid in made:
        add_delivery(connection, job, sop_instance_uid, delivery.destination, now)
    if made:
        return
    if job.reading_json is None:
        given_up = update(deliveries).where(deliveries.c.number == delivery.number)
        connection.execute(given_up.values(replaced_by=None, failed_at=now))
    elif job.stage in (Stage.DELIVER, Stage.COMPOSE):
        # At compose already, for another form: whoever is making that one loses the lease, and both are made.
        anew = {"stage": Stage.COMPOSE, "attempts": 0, "waiting_since": None} | due(job, Stage.COMPOSE, now)
        connection.execute(update(jobs).where(jobs.c.number == job.number).values(**anew, **NO_LEASE))


def end_if_all_sent(connection: Connection, job: Job, now: datetime) -> None:
    """Ends a job with its last delivery: failed if one was given up, skipped if all were stopped, else done."""
    of_job = deliveries.c.job_number == job.number
    still_open = select(deliveries.c.number).where(of_job, is_open_delivery).limit(1)
    if job.stage != Stage.DELIVER or connection.execute(still_open).first() is not None:
        return
    ended = deliveries_of(connection, of_job)
    failed = [f"{one.destination}: {one.problem}" for one in ended if one.failed_at and not one.is_stopped]
    stopped = [str(one.problem) for one in ended if one.is_stopped]
    if failed:
        stage, text = Stage.FAILED, "not everything is delivered: "
    elif any(one.done_at for one in ended) or not stopped:
        stage = Stage.DONE
        text = "everything is delivered: done" if ended else "no destination wants anything of it: done"
    else:
        stage, text = Stage.SKIPPED, "nothing was sent: "
    problem = "; ".join(dict.fromkeys(failed or stopped)) or None
    connection.execute(update(jobs).where(jobs.c.number == job.number).values(stage=stage, problem=problem))
    if stage is Stage.DONE and problem is not None:
        text = "done, but for what was stopped: "
    tell(connection, job, now, text + (problem or ""))


def may_try(connection: Connection, destination: str, now: datetime, lease_seconds: float) -> bool:
    """Says whether a destination may be tried now. One whose rest is over is put to rest for all others, while the
    caller's trial lasts."""
    its_own = troubled_destinations.c.name == destination
    rest = select(troubled_destinations.c.rests_until).where(its_own)
    if connection.scalar(rest) is None:
        return True
    trial = update(troubled_destinations).where(its_own, troubled_destinations.c.rests_until <= now)
    until = now + timedelta(seconds=lease_seconds)
    return connection.execute(trial.values(rests_until=until)).rowcount > 0


def is_any(database: Database, table: Table, due: ColumnElement[bool]) -> bool:
    """Looks before it claims: workers ask all the time, and an idle one must not hold up a writer."""
    with database.reading() as connection:
        return connection.execute(select(table.c.number).where(due).limit(1)).first() is not None


def time_step(
    connection: Connection,
    row: Job | Delivery | SecondReading,
    stage: Stage | Beside,
    outcome: StepOutcome,
    done_by: str,
    now: datetime,
) -> None:
    """Notes how long a claimed row was in hand. The last statement of its transaction: see `lock_writers`.

    One writer at a time, so that no number appears after a higher one: `Census.since` would pass it over.
    """
    if row.claimed_at is None:  # claimed by the program before this column
        return
    lock_writers(connection, "step times")
    took = StepTime(now, stage, outcome, done_by, (now - row.claimed_at).total_seconds())
    added = insert(step_times).values(row_of(took)).returning(step_times.c.number)
    number = connection.execute(added).scalar_one()
    connection.execute(delete(step_times).where(step_times.c.number <= number - STEP_TIMES_MAX))


def tell(connection: Connection, job: Job, now: datetime, text: str) -> None:
    """Adds a sentence to the life of the job's study."""
    event = Event(at=now, study_instance_uid=job.study_instance_uid, job_number=job.number, text=text)
    connection.execute(insert(events), row_of(event))


def audit_study(
    connection: Connection,
    event: AuditEvent,
    study_instance_uid: str,
    actor: str,
    now: datetime,
    *,
    instances: int = 0,
) -> None:
    """Writes down who did what with a study."""
    patient_id = patient_of(connection, study_instance_uid)
    audit(connection, [AuditRecord(now, event, actor, "", study_instance_uid, patient_id, instances)])
