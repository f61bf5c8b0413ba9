"""What is done about it: jobs, deliveries, second readings, requests; whose study is held, and what is told of them."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Named,
    Table,
    Text,
    TypedColumns,
    UniqueConstraint,
    and_,
    literal_column,
    select,
)

from storage.audit_records import AuditEvent
from storage.columns import PassedOver, SentText, UtcDateTime, Word, Words
from storage.outside_records import ExplainedStudy
from storage.records import (
    Beside,
    ClosingKind,
    Priority,
    Stage,
    StepOutcome,
    timed_work,
)
from storage.tables.schema import NUMBER, metadata


class HoldColumns(TypedColumns):
    """Mirrors `Hold`."""

    study_instance_uid: Named[str] = Column(Text, ForeignKey("studies.study_instance_uid"), primary_key=True)
    held_at: Named[datetime] = Column(UtcDateTime)
    held_by: Named[str] = Column(SentText)
    reason: Named[str] = Column(SentText)


class AuditRecordColumns(TypedColumns):
    """Mirrors `AuditRecord`, and where it has been written to since."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    at: Named[datetime] = Column(UtcDateTime)
    event: Named[AuditEvent] = Column(Word(AuditEvent))
    actor: Named[str] = Column(SentText)
    address: Named[str] = Column(SentText)
    study_instance_uid: Named[str] = Column(SentText)
    patient_id: Named[str] = Column(SentText)
    instances: Named[int] = Column(Integer)
    detail: Named[str] = Column(SentText)
    is_success: Named[bool] = Column(Boolean)
    filed_at: Named[datetime | None] = Column(UtcDateTime)
    sent_at: Named[datetime | None] = Column(UtcDateTime)


class LeaseColumns(TypedColumns):
    """What a claimable row needs; `jobs`, `deliveries`, `prior_requests` and `second_readings` share them."""

    attempts: Named[int] = Column(Integer)
    due_at: Named[datetime] = Column(UtcDateTime)
    waiting_since: Named[datetime | None] = Column(UtcDateTime)
    lease_owner: Named[str | None] = Column(Text)
    lease_until: Named[datetime | None] = Column(UtcDateTime)
    # Rises with each claim. An owner's name alone does not tell a lease from the one it lost before.
    claim_number: Named[int] = Column(Integer)
    claimed_at: Named[datetime | None] = Column(UtcDateTime)
    problem: Named[str | None] = Column(SentText)


class JobColumns(LeaseColumns):
    """Mirrors `Job`, and the time that it is taken in the order of."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    study_instance_uid: Named[str] = Column(Text, ForeignKey("studies.study_instance_uid"))
    revision: Named[int] = Column(Integer)
    watermark: Named[int] = Column(BigInteger)
    stage: Named[Stage] = Column(Word(Stage))
    complete_because: Named[str] = Column(SentText)
    manifest_json: Named[str | None] = Column(SentText)
    reading_json: Named[str | None] = Column(SentText)
    opened_at: Named[datetime] = Column(UtcDateTime)
    changed_at: Named[datetime] = Column(UtcDateTime)
    rule: Named[str | None] = Column(Text)
    priority: Named[Priority] = Column(Word(Priority))
    yields_seconds: Named[float] = Column(Float)
    turn_at: Named[datetime] = Column(UtcDateTime)  # due_at and yields_seconds together


class ResultObjectColumns(TypedColumns):
    """Mirrors `ResultObject`."""

    sop_instance_uid: Named[str] = Column(Text, primary_key=True)
    sop_class_uid: Named[str] = Column(Text)
    job_number: Named[int] = Column(NUMBER, ForeignKey("jobs.number"), index=True)
    kind: Named[str] = Column(Text)
    path: Named[str] = Column(Text, index=True)
    sha256: Named[str] = Column(Text)
    size_bytes: Named[int] = Column(BigInteger)


class DeliveryColumns(LeaseColumns):
    """Mirrors `Delivery`."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    job_number: Named[int] = Column(NUMBER, ForeignKey("jobs.number"))
    sop_instance_uid: Named[str] = Column(Text, ForeignKey("result_objects.sop_instance_uid"), index=True)
    destination: Named[str] = Column(SentText)
    last_status: Named[int | None] = Column(Integer)
    done_at: Named[datetime | None] = Column(UtcDateTime)
    failed_at: Named[datetime | None] = Column(UtcDateTime)
    is_stopped: Named[bool] = Column(Boolean)
    replaced_by: Named[str | None] = Column(Text)
    taken_at: Named[datetime | None] = Column(UtcDateTime)
    transaction_uid: Named[str | None] = Column(Text)


class SecondReadingColumns(LeaseColumns):
    """Mirrors `SecondReading`."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    job_number: Named[int] = Column(NUMBER, ForeignKey("jobs.number"), unique=True)
    reading_json: Named[str | None] = Column(SentText)
    done_at: Named[datetime | None] = Column(UtcDateTime)
    failed_at: Named[datetime | None] = Column(UtcDateTime)


class TroubledDestinationColumns(TypedColumns):
    """Mirrors `TroubledDestination`."""

    name: Named[str] = Column(Text, primary_key=True)
    failures: Named[int] = Column(Integer)
    since: Named[datetime] = Column(UtcDateTime)
    rests_until: Named[datetime | None] = Column(UtcDateTime)
    problem: Named[str] = Column(SentText)


class ClosingColumns(TypedColumns):
    """Mirrors `Closing`."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    study_instance_uid: Named[str] = Column(Text, ForeignKey("studies.study_instance_uid"))
    kind: Named[ClosingKind] = Column(Word(ClosingKind))
    because: Named[str] = Column(SentText)
    report_number: Named[int | None] = Column(NUMBER, ForeignKey("reports.number"))
    closed_at: Named[datetime] = Column(UtcDateTime)
    reopened_at: Named[datetime | None] = Column(UtcDateTime)


class PriorRequestColumns(LeaseColumns):
    """Mirrors `PriorRequest`."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    archive: Named[str] = Column(SentText)
    job_number: Named[int | None] = Column(NUMBER, ForeignKey("jobs.number"), index=True)
    order_number: Named[int | None] = Column(
        NUMBER, ForeignKey("orders.number", ondelete="CASCADE"), index=True
    )
    asked_at: Named[datetime] = Column(UtcDateTime)
    expires_at: Named[datetime] = Column(UtcDateTime)
    found_at: Named[datetime | None] = Column(UtcDateTime)
    study_instance_uids: Named[tuple[str, ...]] = Column(Words)
    passed_over: Named[tuple[ExplainedStudy, ...]] = Column(PassedOver)
    note: Named[str | None] = Column(SentText)
    done_at: Named[datetime | None] = Column(UtcDateTime)
    failed_at: Named[datetime | None] = Column(UtcDateTime)


class RequestedStudyColumns(TypedColumns):
    """Mirrors `RequestedStudy`. No foreign key to its request: the row outlives that of an order."""

    study_instance_uid: Named[str] = Column(Text, primary_key=True)
    request_number: Named[int] = Column(BigInteger, index=True)
    archive: Named[str] = Column(SentText)
    sender: Named[str] = Column(SentText)
    study_date: Named[str] = Column(SentText)
    asked_at: Named[datetime] = Column(UtcDateTime)
    fetching_since: Named[datetime | None] = Column(UtcDateTime)
    ended_at: Named[datetime | None] = Column(UtcDateTime)
    problem: Named[str | None] = Column(SentText)


class EventColumns(TypedColumns):
    """Mirrors `Event`, with the order of writing."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    at: Named[datetime] = Column(UtcDateTime)
    study_instance_uid: Named[str] = Column(Text)
    job_number: Named[int | None] = Column(BigInteger)
    text: Named[str] = Column(SentText)


class StepTimeColumns(TypedColumns):
    """Mirrors `StepTime`, with the order of writing."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    at: Named[datetime] = Column(UtcDateTime)
    stage: Named[Stage | Beside] = Column(Word(timed_work))
    outcome: Named[StepOutcome] = Column(Word(StepOutcome))
    done_by: Named[str] = Column(SentText)
    seconds: Named[float] = Column(Float)


class ProcessColumns(TypedColumns):
    """Mirrors `RunningProcess`."""

    role: Named[str] = Column(Text, primary_key=True)
    host: Named[str] = Column(Text, primary_key=True)
    pid: Named[int] = Column(Integer, primary_key=True)
    started_at: Named[datetime] = Column(UtcDateTime)
    seen_at: Named[datetime] = Column(UtcDateTime)
    config_digest: Named[str] = Column(Text)
    engine: Named[str] = Column(Text)


holds = Table("holds", metadata, HoldColumns)
audit_records = Table("audit_records", metadata, AuditRecordColumns, sqlite_autoincrement=True)
jobs = Table(
    "jobs",
    metadata,
    JobColumns,
    UniqueConstraint("study_instance_uid", "revision"),
    sqlite_autoincrement=True,
)
result_objects = Table("result_objects", metadata, ResultObjectColumns)
deliveries = Table(
    "deliveries",
    metadata,
    DeliveryColumns,
    UniqueConstraint("job_number", "sop_instance_uid", "destination"),
    sqlite_autoincrement=True,
)
second_readings = Table("second_readings", metadata, SecondReadingColumns, sqlite_autoincrement=True)
troubled_destinations = Table("troubled_destinations", metadata, TroubledDestinationColumns)
closings = Table("closings", metadata, ClosingColumns, sqlite_autoincrement=True)
prior_requests = Table("prior_requests", metadata, PriorRequestColumns, sqlite_autoincrement=True)
requested_studies = Table("requested_studies", metadata, RequestedStudyColumns)
events = Table("events", metadata, EventColumns, sqlite_autoincrement=True)
step_times = Table("step_times", metadata, StepTimeColumns, sqlite_autoincrement=True)
processes = Table("processes", metadata, ProcessColumns)

is_open_delivery = and_(
    deliveries.c.done_at.is_(None), deliveries.c.failed_at.is_(None), deliveries.c.replaced_by.is_(None)
)
"""Neither done nor given up, and nothing goes instead; the condition of the claim's index."""

is_open_request = and_(prior_requests.c.done_at.is_(None), prior_requests.c.failed_at.is_(None))
"""An archive is still to be asked, or to send; the condition of the claim's index."""

is_open_second_reading = and_(second_readings.c.done_at.is_(None), second_readings.c.failed_at.is_(None))
"""A second engine has begun with it or is to try again; the condition of the claim's index."""

is_failed_job = jobs.c.stage == literal_column(f"'{Stage.FAILED}'", Text)
"""It ended without a draft, or with one that not everybody took. The stage stands in the statement itself: a partial
index is used only where its condition stands there word for word."""

is_held_job = jobs.c.study_instance_uid.in_(select(holds.c.study_instance_uid))
"""A job whose study somebody holds: no step of it is claimed."""

is_held_delivery = deliveries.c.job_number.in_(select(jobs.c.number).where(is_held_job))
"""A delivery of such a job: it does not go."""

Index("ix_jobs_stage_turn_at", jobs.c.stage, jobs.c.turn_at)
Index(
    "ix_deliveries_open",
    deliveries.c.due_at,
    sqlite_where=is_open_delivery,
    postgresql_where=is_open_delivery,
)
Index(
    "ix_deliveries_given_up",
    deliveries.c.failed_at,
    sqlite_where=deliveries.c.failed_at.is_not(None),
    postgresql_where=deliveries.c.failed_at.is_not(None),
)
Index(
    "ix_deliveries_transaction_uid",
    deliveries.c.transaction_uid,
    sqlite_where=deliveries.c.transaction_uid.is_not(None),
    postgresql_where=deliveries.c.transaction_uid.is_not(None),
)
Index(
    "ix_prior_requests_open",
    prior_requests.c.due_at,
    sqlite_where=is_open_request,
    postgresql_where=is_open_request,
)
Index("ix_jobs_opened_at", jobs.c.opened_at)
# With the stage, the same in all: without it SQLite takes ix_jobs_stage_turn_at and reads what ever failed.
Index(
    "ix_jobs_failed",
    jobs.c.stage,
    jobs.c.changed_at,
    sqlite_where=is_failed_job,
    postgresql_where=is_failed_job,
)
Index(
    "ix_second_readings_open",
    second_readings.c.due_at,
    sqlite_where=is_open_second_reading,
    postgresql_where=is_open_second_reading,
)
Index("ix_closings_study_instance_uid", closings.c.study_instance_uid)
Index("ix_events_study_instance_uid_number", events.c.study_instance_uid, events.c.number)
