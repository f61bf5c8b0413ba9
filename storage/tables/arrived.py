"""What came in: studies, their instances and patients, reports, orders, and what was refused or could not be read."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    Named,
    Table,
    Text,
    TypedColumns,
    and_,
)

from storage.columns import Identifiers, SentText, UtcDateTime, Word, Words
from storage.outside_records import ReportSource, ReportStatus
from storage.records import (
    InstanceRole,
    PatientIdentifier,
)
from storage.tables.schema import NUMBER, metadata


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


class DeletedInstanceColumns(TypedColumns):
    """The instances that were here and were deleted, so that one that comes back is known. No foreign key: the
    rows outlive their study's."""

    sop_instance_uid: Named[str] = Column(Text, primary_key=True)
    study_instance_uid: Named[str] = Column(Text, index=True)
    role: Named[InstanceRole] = Column(Word(InstanceRole))
    deleted_at: Named[datetime] = Column(UtcDateTime, index=True)


class PatientLinkColumns(TypedColumns):
    """Mirrors `PatientLink`, each identifier in two columns."""

    number: Named[int] = Column(NUMBER, primary_key=True)
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

    number: Named[int] = Column(NUMBER, primary_key=True)
    patient_id: Named[str] = Column(SentText)
    issuer: Named[str] = Column(SentText)
    patient_name: Named[str] = Column(SentText)
    birth_date: Named[str] = Column(SentText)
    sex: Named[str] = Column(SentText)
    said_by: Named[str] = Column(SentText)
    said_at: Named[datetime] = Column(UtcDateTime)


class InstanceColumns(TypedColumns):
    """Mirrors `Instance`."""

    number: Named[int] = Column(NUMBER, primary_key=True)
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


class OrderColumns(TypedColumns):
    """Mirrors `Order`."""

    number: Named[int] = Column(NUMBER, primary_key=True)
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


class RefusalColumns(TypedColumns):
    """Mirrors `Refusal`, with the order of writing."""

    number: Named[int] = Column(NUMBER, primary_key=True)
    at: Named[datetime] = Column(UtcDateTime)
    calling_ae_title: Named[str] = Column(SentText)
    address: Named[str] = Column(SentText)
    sop_instance_uid: Named[str] = Column(SentText)
    status: Named[int | None] = Column(Integer)
    reason: Named[str] = Column(SentText)


class ReportColumns(TypedColumns):
    """Mirrors `Report` but for its patients, with a digest of what makes it a version of its own."""

    number: Named[int] = Column(NUMBER, primary_key=True)
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

    report_number: Named[int] = Column(NUMBER, ForeignKey("reports.number"), primary_key=True)
    place: Named[int] = Column(Integer, primary_key=True)
    patient_id: Named[str] = Column(SentText, index=True)
    issuer: Named[str] = Column(SentText)


class QuarantinedMessageColumns(TypedColumns):
    """Mirrors `QuarantinedMessage`."""

    number: Named[int] = Column(NUMBER, primary_key=True)
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


studies = Table("studies", metadata, StudyColumns)
study_identifiers = Table("study_identifiers", metadata, StudyIdentifierColumns)
deleted_instances = Table("deleted_instances", metadata, DeletedInstanceColumns)
patient_links = Table("patient_links", metadata, PatientLinkColumns, sqlite_autoincrement=True)
patient_demographics = Table(
    "patient_demographics", metadata, PatientDemographicsColumns, sqlite_autoincrement=True
)
instances = Table("instances", metadata, InstanceColumns, sqlite_autoincrement=True)
orders = Table("orders", metadata, OrderColumns, sqlite_autoincrement=True)
refusals = Table("refusals", metadata, RefusalColumns, sqlite_autoincrement=True)
reports = Table("reports", metadata, ReportColumns, sqlite_autoincrement=True)
report_patients = Table("report_patients", metadata, ReportPatientColumns)
report_feeds = Table("report_feeds", metadata, ReportFeedColumns)
quarantined_messages = Table(
    "quarantined_messages", metadata, QuarantinedMessageColumns, sqlite_autoincrement=True
)

is_unread = and_(studies.c.newest_image_number > studies.c.watermark, studies.c.fetched_from.is_(None))
"""A study of our own with images that no job has seen. Also the condition of the index below: an index
with a condition holds only the rows that meet it, so that the question "what is unread?", put every
second, costs what is unread and not what was ever received."""

is_in_force = patient_links.c.unlinked_at.is_(None)
"""A link that nobody has taken back."""

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
Index("ix_studies_accession_number", studies.c.accession_number)
