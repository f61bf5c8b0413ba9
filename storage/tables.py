"""The tables; the only place with column names. A table that mirrors a record has the record's names, so that
`Job(**row)` is the whole mapping."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Named,
    Table,
    Text,
    TypedColumns,
    UniqueConstraint,
    and_,
    select,
)

from storage.audit_records import AuditEvent
from storage.columns import Identifiers, PassedOver, SentText, UtcDateTime, Word, Words
from storage.outside_records import ExplainedStudy, ReportSource, ReportStatus
from storage.records import (
    Beside,
    ClosingKind,
    InstanceRole,
    PatientIdentifier,
    Priority,
    Stage,
    StepOutcome,
    timed_work,
)

# 64 bits on PostgreSQL; on SQLite only a key called exactly INTEGER is the row's own number (also 64 bits).
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

# Constraint names are fixed, so that a later migration can name what it changes on both databases.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class StudyColumns(TypedColumns):
    """Mirrors `Study`, and three numbers more that say what is left to read."""

    study_instance_uid: Named[str] = Column(Text, primary_key=True)
    patient_id: Named[str] = Column(SentText)
    issuer_of_patient_id: Named[str] = Column(SentText)
    patient_name: Named[str] = Column(SentText)
    birth_date: Named[str] = Column(SentText)
    sex: Named[str] = Column(SentText)
    study_date: Named[str] = Column(SentText)
    study_time: Named[str] = Column(SentText)
    accession_number: Named[str] = Column(SentText)
    study_description: Named[str] = Column(SentText)
    modalities: Named[tuple[str, ...]] = Column(Words)
    conflict: Named[str | None] = Column(SentText)
    fetched_from: Named[str | None] = Column(SentText)
    identifiers: Named[tuple[PatientIdentifier, ...]] = Column(Identifiers, nullable=False)
    images_deleted_at: Named[datetime | None] = Column(UtcDateTime)
    newest_number: Named[int] = Column(BigInteger)  # of its instances, any role
    newest_image_number: Named[int] = Column(BigInteger)  # of its instances of role IMAGE, or 0
    watermark: Named[int] = Column(BigInteger)  # the highest of its jobs, or 0


class StudyIdentifierColumns(TypedColumns):
    """`studies.identifiers`, one row each, to find a patient's studies by."""

    patient_id: Named[str] = Column(SentText, primary_key=True)
    issuer: Named[str] = Column(SentText, primary_key=True)
    study_instance_uid: Named[str] = Column(
        Text, ForeignKey("studies.study_instance_uid"), primary_key=True, index=True
    )


class HoldColumns(TypedColumns):
    """Mirrors `Hold`."""

    study_instance_uid: Named[str] = Column(Text, ForeignKey("studies.study_instance_uid"), primary_key=True)
    held_at: Named[datetime] = Column(UtcDateTime)
    held_by: Named[str] = Column(SentText)
    reason: Named[str] = Column(SentText)


class DeletedInstanceColumns(TypedColumns):
    """The instances that were here and were deleted, so that one that comes back is known. No foreign key: the
    rows outlive their study's."""

    sop_instance_uid: Named[str] = Column(Text, primary_key=True)
    study_instance_uid: Named[str] = Column(Text, index=True)
    role: Named[InstanceRole] = Column(Word(InstanceRole))
    deleted_at: Named[datetime] = Column(UtcDateTime, index=True)


class AuditRecordColumns(TypedColumns):
    """Mirrors `AuditRecord`, and where it has been written to since."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
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


class PatientLinkColumns(TypedColumns):
    """Mirrors `PatientLink`, each identifier in two columns."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    old_patient_id: Named[str] = Column(SentText)
    old_issuer: Named[str] = Column(SentText)
    patient_id: Named[str] = Column(SentText)
    issuer: Named[str] = Column(SentText)
    reason: Named[str] = Column(SentText)
    linked_by: Named[str] = Column(SentText)
    linked_at: Named[datetime] = Column(UtcDateTime)
    unlinked_by: Named[str | None] = Column(SentText)
    unlinked_at: Named[datetime | None] = Column(UtcDateTime)


class PatientDemographicsColumns(TypedColumns):
    """What registries have said of the person behind an identifier; each different thing once."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    patient_id: Named[str] = Column(SentText)
    issuer: Named[str] = Column(SentText)
    patient_name: Named[str] = Column(SentText)
    birth_date: Named[str] = Column(SentText)
    sex: Named[str] = Column(SentText)
    said_by: Named[str] = Column(SentText)
    said_at: Named[datetime] = Column(UtcDateTime)


class InstanceColumns(TypedColumns):
    """Mirrors `Instance`."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    sop_instance_uid: Named[str] = Column(Text, unique=True)
    series_instance_uid: Named[str] = Column(Text)
    study_instance_uid: Named[str] = Column(Text, ForeignKey("studies.study_instance_uid"))
    sop_class_uid: Named[str] = Column(Text)
    transfer_syntax_uid: Named[str] = Column(Text)
    modality: Named[str] = Column(SentText)
    view_group: Named[str] = Column(SentText)
    calling_ae_title: Named[str] = Column(SentText)
    called_ae_title: Named[str] = Column(SentText)
    path: Named[str] = Column(Text, index=True)
    sha256: Named[str] = Column(Text)
    size_bytes: Named[int] = Column(BigInteger)
    received_at: Named[datetime] = Column(UtcDateTime)
    role: Named[InstanceRole] = Column(Word(InstanceRole))


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

    number: Named[int] = Column(_NUMBER, primary_key=True)
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
    job_number: Named[int] = Column(_NUMBER, ForeignKey("jobs.number"), index=True)
    kind: Named[str] = Column(Text)
    path: Named[str] = Column(Text, index=True)
    sha256: Named[str] = Column(Text)
    size_bytes: Named[int] = Column(BigInteger)


class DeliveryColumns(LeaseColumns):
    """Mirrors `Delivery`."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    job_number: Named[int] = Column(_NUMBER, ForeignKey("jobs.number"))
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

    number: Named[int] = Column(_NUMBER, primary_key=True)
    job_number: Named[int] = Column(_NUMBER, ForeignKey("jobs.number"), unique=True)
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

    number: Named[int] = Column(_NUMBER, primary_key=True)
    study_instance_uid: Named[str] = Column(Text, ForeignKey("studies.study_instance_uid"))
    kind: Named[ClosingKind] = Column(Word(ClosingKind))
    because: Named[str] = Column(SentText)
    report_number: Named[int | None] = Column(_NUMBER, ForeignKey("reports.number"))
    closed_at: Named[datetime] = Column(UtcDateTime)
    reopened_at: Named[datetime | None] = Column(UtcDateTime)


class OrderColumns(TypedColumns):
    """Mirrors `Order`."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    source: Named[str] = Column(SentText)
    accession_number: Named[str] = Column(SentText, index=True)
    study_instance_uid: Named[str] = Column(SentText, index=True)
    placer_order_number: Named[str] = Column(SentText)
    filler_order_number: Named[str] = Column(SentText)
    patient_id: Named[str] = Column(SentText)
    issuer_of_patient_id: Named[str] = Column(SentText)
    patient_name: Named[str] = Column(SentText)
    birth_date: Named[str] = Column(SentText)
    sex: Named[str] = Column(SentText)
    requested_procedure: Named[str] = Column(SentText)
    indication: Named[str] = Column(SentText)
    scheduled_date: Named[str] = Column(SentText)
    scheduled_time: Named[str] = Column(SentText)
    heard_at: Named[datetime] = Column(UtcDateTime, index=True)
    priority: Named[str] = Column(SentText)


class PriorRequestColumns(LeaseColumns):
    """Mirrors `PriorRequest`."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    archive: Named[str] = Column(SentText)
    job_number: Named[int | None] = Column(_NUMBER, ForeignKey("jobs.number"), index=True)
    order_number: Named[int | None] = Column(
        _NUMBER, ForeignKey("orders.number", ondelete="CASCADE"), index=True
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

    number: Named[int] = Column(_NUMBER, primary_key=True)
    at: Named[datetime] = Column(UtcDateTime)
    study_instance_uid: Named[str] = Column(Text)
    job_number: Named[int | None] = Column(BigInteger)
    text: Named[str] = Column(SentText)


class RefusalColumns(TypedColumns):
    """Mirrors `Refusal`, with the order of writing."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    at: Named[datetime] = Column(UtcDateTime)
    calling_ae_title: Named[str] = Column(SentText)
    address: Named[str] = Column(SentText)
    sop_instance_uid: Named[str] = Column(SentText)
    status: Named[int | None] = Column(Integer)
    reason: Named[str] = Column(SentText)


class StepTimeColumns(TypedColumns):
    """Mirrors `StepTime`, with the order of writing."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
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


class ReportColumns(TypedColumns):
    """Mirrors `Report` but for its patients, with a digest of what makes it a version of its own."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    report_key: Named[str] = Column(SentText, index=True)
    status: Named[ReportStatus] = Column(Word(ReportStatus))
    source: Named[ReportSource] = Column(Word(ReportSource))
    text: Named[str] = Column(SentText)
    birth_date: Named[str] = Column(SentText)
    accession_number: Named[str] = Column(SentText, index=True)
    study_instance_uid: Named[str] = Column(SentText, index=True)
    observed_at: Named[str] = Column(SentText)
    reported_at: Named[str] = Column(SentText)
    procedure: Named[str] = Column(SentText)
    origin: Named[str] = Column(SentText)
    received_at: Named[datetime] = Column(UtcDateTime)
    sha256: Named[str] = Column(Text, unique=True)


class ReportPatientColumns(TypedColumns):
    """The identifiers that a report names its patient by."""

    report_number: Named[int] = Column(_NUMBER, ForeignKey("reports.number"), primary_key=True)
    place: Named[int] = Column(Integer, primary_key=True)
    patient_id: Named[str] = Column(SentText, index=True)
    issuer: Named[str] = Column(SentText)


class QuarantinedMessageColumns(TypedColumns):
    """Mirrors `QuarantinedMessage`."""

    number: Named[int] = Column(_NUMBER, primary_key=True)
    at: Named[datetime] = Column(UtcDateTime)
    times: Named[int] = Column(Integer)
    origin: Named[str] = Column(SentText)
    reason: Named[str] = Column(SentText)
    path: Named[str] = Column(Text, index=True)
    sha256: Named[str] = Column(Text, unique=True)
    size_bytes: Named[int] = Column(BigInteger)
    resolved_at: Named[datetime | None] = Column(UtcDateTime)


class ReportFeedColumns(TypedColumns):
    """How far a server of reports has been heard."""

    name: Named[str] = Column(SentText, primary_key=True)
    heard_until: Named[str] = Column(SentText)


# sqlite_autoincrement: a number is never given twice, even after the newest row was deleted.
studies = Table("studies", metadata, StudyColumns)
study_identifiers = Table("study_identifiers", metadata, StudyIdentifierColumns)
holds = Table("holds", metadata, HoldColumns)
deleted_instances = Table("deleted_instances", metadata, DeletedInstanceColumns)
audit_records = Table("audit_records", metadata, AuditRecordColumns, sqlite_autoincrement=True)
patient_links = Table("patient_links", metadata, PatientLinkColumns, sqlite_autoincrement=True)
patient_demographics = Table(
    "patient_demographics", metadata, PatientDemographicsColumns, sqlite_autoincrement=True
)
instances = Table("instances", metadata, InstanceColumns, sqlite_autoincrement=True)
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
orders = Table("orders", metadata, OrderColumns, sqlite_autoincrement=True)
prior_requests = Table("prior_requests", metadata, PriorRequestColumns, sqlite_autoincrement=True)
requested_studies = Table("requested_studies", metadata, RequestedStudyColumns)
events = Table("events", metadata, EventColumns, sqlite_autoincrement=True)
refusals = Table("refusals", metadata, RefusalColumns, sqlite_autoincrement=True)
step_times = Table("step_times", metadata, StepTimeColumns, sqlite_autoincrement=True)
processes = Table("processes", metadata, ProcessColumns)
reports = Table("reports", metadata, ReportColumns, sqlite_autoincrement=True)
report_patients = Table("report_patients", metadata, ReportPatientColumns)
report_feeds = Table("report_feeds", metadata, ReportFeedColumns)
quarantined_messages = Table(
    "quarantined_messages", metadata, QuarantinedMessageColumns, sqlite_autoincrement=True
)


def columns_of(table: Table, record: type) -> list[Column[Any]]:
    """The columns of a table that a record has a field for, in the record's order."""
    return [table.c[field.name] for field in fields(record)]


def row_of(record: Any) -> dict[str, Any]:
    """A record as column names and values. Not `dataclasses.asdict`, which copies every value deeply."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


is_unread = and_(studies.c.newest_image_number > studies.c.watermark, studies.c.fetched_from.is_(None))
"""A study of our own with images that no job has seen. Also the condition of the index below: an index
with a condition holds only the rows that meet it, so that the question "what is unread?", put every
second, costs what is unread and not what was ever received."""

is_in_force = patient_links.c.unlinked_at.is_(None)
"""A link that nobody has taken back."""

is_open_delivery = and_(
    deliveries.c.done_at.is_(None), deliveries.c.failed_at.is_(None), deliveries.c.replaced_by.is_(None)
)
"""Neither done nor given up, and nothing goes instead; the condition of the claim's index."""

is_open_request = and_(prior_requests.c.done_at.is_(None), prior_requests.c.failed_at.is_(None))
"""An archive is still to be asked, or to send; the condition of the claim's index."""

is_open_second_reading = and_(second_readings.c.done_at.is_(None), second_readings.c.failed_at.is_(None))
"""A second engine has begun with it or is to try again; the condition of the claim's index."""

is_held_job = jobs.c.study_instance_uid.in_(select(holds.c.study_instance_uid))
"""A job whose study somebody holds: no step of it is claimed."""

is_held_delivery = deliveries.c.job_number.in_(select(jobs.c.number).where(is_held_job))
"""A delivery of such a job: it does not go."""

Index("ix_studies_unread", studies.c.study_instance_uid, sqlite_where=is_unread, postgresql_where=is_unread)
Index("ix_studies_newest_number", studies.c.newest_number)
Index(
    "ix_studies_in_doubt",
    studies.c.newest_number,
    sqlite_where=studies.c.conflict.is_not(None),
    postgresql_where=studies.c.conflict.is_not(None),
)
# Unique: an identifier has one successor at a time, whatever two processes are told at once.
Index(
    "ix_patient_links_old",
    patient_links.c.old_patient_id,
    patient_links.c.old_issuer,
    unique=True,
    sqlite_where=is_in_force,
    postgresql_where=is_in_force,
)
Index("ix_patient_links_surviving", patient_links.c.patient_id, patient_links.c.issuer)
Index(
    "ix_patient_demographics_said",
    *(patient_demographics.c[name] for name in ("patient_id", "issuer", "patient_name", "birth_date", "sex")),
    unique=True,
)
Index("ix_instances_study_instance_uid_number", instances.c.study_instance_uid, instances.c.number)
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
Index(
    "ix_second_readings_open",
    second_readings.c.due_at,
    sqlite_where=is_open_second_reading,
    postgresql_where=is_open_second_reading,
)
Index("ix_closings_study_instance_uid", closings.c.study_instance_uid)
Index("ix_studies_accession_number", studies.c.accession_number)
Index("ix_events_study_instance_uid_number", events.c.study_instance_uid, events.c.number)
