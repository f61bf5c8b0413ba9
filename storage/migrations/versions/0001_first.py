"""The first tables. Spelled out here and not taken from `storage.tables`: that file goes on changing, this
revision does not."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_IS_UNREAD = "newest_image_number > watermark AND wanted_by_job IS NULL"
_IS_OPEN_DELIVERY = "done_at IS NULL AND failed_at IS NULL"


def upgrade() -> None:
    """From nothing to the first tables."""
    _create_intake()
    _create_line()
    _create_notes()


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _whole(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _count(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, _TIME, nullable=nullable)


def _number() -> sa.Column:
    return sa.Column("number", _NUMBER, nullable=False)


def _partial_index(name: str, table: str, column: str, condition: str) -> None:
    op.create_index(
        name, table, [column], sqlite_where=sa.text(condition), postgresql_where=sa.text(condition)
    )


def _create_intake() -> None:
    op.create_table(
        "studies",
        _text("study_instance_uid"),
        _text("patient_id"),
        _text("issuer_of_patient_id"),
        _text("patient_name"),
        _text("birth_date"),
        _text("sex"),
        _text("study_date"),
        _text("study_time"),
        _text("accession_number"),
        _text("study_description"),
        _text("modalities"),
        _text("conflict", nullable=True),
        _whole("wanted_by_job", nullable=True),
        _whole("newest_number"),
        _whole("newest_image_number"),
        _whole("watermark"),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_studies"),
    )
    _partial_index("ix_studies_unread", "studies", "study_instance_uid", _IS_UNREAD)
    op.create_index("ix_studies_newest_number", "studies", ["newest_number"])
    op.create_index("ix_studies_patient_id", "studies", ["patient_id"])
    op.create_table(
        "instances",
        _number(),
        _text("sop_instance_uid"),
        _text("series_instance_uid"),
        _text("study_instance_uid"),
        _text("sop_class_uid"),
        _text("transfer_syntax_uid"),
        _text("modality"),
        _text("view_group"),
        _text("calling_ae_title"),
        _text("called_ae_title"),
        _text("path"),
        _text("sha256"),
        _whole("size_bytes"),
        _time("received_at"),
        _text("role"),
        sa.PrimaryKeyConstraint("number", name="pk_instances"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_instances_sop_instance_uid"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["studies.study_instance_uid"], name="fk_instances_study_instance_uid"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_instances_study_instance_uid_number", "instances", ["study_instance_uid", "number"])
    op.create_table(
        "wanted_studies",
        _text("study_instance_uid"),
        _whole("job_number"),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_wanted_studies"),
    )


def _lease() -> tuple[sa.Column, ...]:
    return (
        _count("attempts"),
        _time("due_at"),
        _time("waiting_since", nullable=True),
        _text("lease_owner", nullable=True),
        _time("lease_until", nullable=True),
        _count("claim_number"),
        _text("problem", nullable=True),
    )


def _create_line() -> None:
    op.create_table(
        "jobs",
        _number(),
        _text("study_instance_uid"),
        _count("revision"),
        _whole("watermark"),
        _text("stage"),
        _text("complete_because"),
        *_lease(),
        _text("manifest_json", nullable=True),
        _text("reading_json", nullable=True),
        _time("opened_at"),
        _time("changed_at"),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
        sa.UniqueConstraint("study_instance_uid", "revision", name="uq_jobs_study_instance_uid_revision"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["studies.study_instance_uid"], name="fk_jobs_study_instance_uid"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_stage_due_at", "jobs", ["stage", "due_at"])
    _create_results()


def _create_results() -> None:
    op.create_table(
        "result_objects",
        _text("sop_instance_uid"),
        _text("sop_class_uid"),
        sa.Column("job_number", _NUMBER, nullable=False),
        _text("kind"),
        _text("path"),
        _text("sha256"),
        _whole("size_bytes"),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_result_objects"),
        sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], name="fk_result_objects_job_number"),
    )
    op.create_index("ix_result_objects_job_number", "result_objects", ["job_number"])
    op.create_table(
        "deliveries",
        _number(),
        sa.Column("job_number", _NUMBER, nullable=False),
        _text("sop_instance_uid"),
        _text("destination"),
        *_lease(),
        _count("last_status", nullable=True),
        _time("done_at", nullable=True),
        _time("failed_at", nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_deliveries"),
        sa.UniqueConstraint(
            "job_number",
            "sop_instance_uid",
            "destination",
            name="uq_deliveries_job_number_sop_instance_uid_destination",
        ),
        sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], name="fk_deliveries_job_number"),
        sa.ForeignKeyConstraint(
            ["sop_instance_uid"],
            ["result_objects.sop_instance_uid"],
            name="fk_deliveries_sop_instance_uid",
        ),
        sqlite_autoincrement=True,
    )
    _partial_index("ix_deliveries_open", "deliveries", "due_at", _IS_OPEN_DELIVERY)


def _create_notes() -> None:
    op.create_table(
        "events",
        _number(),
        _time("at"),
        _text("study_instance_uid"),
        _whole("job_number", nullable=True),
        _text("text"),
        sa.PrimaryKeyConstraint("number", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_study_instance_uid_number", "events", ["study_instance_uid", "number"])
    op.create_table(
        "refusals",
        _number(),
        _time("at"),
        _text("calling_ae_title"),
        _text("address"),
        _text("sop_instance_uid"),
        _count("status", nullable=True),
        _text("reason"),
        sa.PrimaryKeyConstraint("number", name="pk_refusals"),
        sqlite_autoincrement=True,
    )
