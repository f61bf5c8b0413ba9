"""Reports that come from outside DICOM, each version of them, and messages that could not be taken in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds the three tables."""
    _create_reports()
    op.create_table(
        "quarantined_messages",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        *(_text(name) for name in ("origin", "reason", "path", "sha256")),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_quarantined_messages"),
        sa.UniqueConstraint("sha256", name="uq_quarantined_messages_sha256"),
        sqlite_autoincrement=True,
    )


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _create_reports() -> None:
    texts = ("report_key", "status", "source", "text", "birth_date", "accession_number", "study_instance_uid")
    op.create_table(
        "reports",
        sa.Column("number", _NUMBER, nullable=False),
        *(_text(name) for name in (*texts, "observed_at", "reported_at", "procedure", "origin")),
        sa.Column("received_at", _TIME, nullable=False),
        _text("sha256"),
        sa.PrimaryKeyConstraint("number", name="pk_reports"),
        sa.UniqueConstraint("sha256", name="uq_reports_sha256"),
        sqlite_autoincrement=True,
    )
    for column in ("report_key", "accession_number", "study_instance_uid"):
        op.create_index(f"ix_reports_{column}", "reports", [column])
    op.create_table(
        "report_patients",
        sa.Column("report_number", _NUMBER, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        _text("patient_id"),
        _text("issuer"),
        sa.PrimaryKeyConstraint("report_number", "place", name="pk_report_patients"),
        sa.ForeignKeyConstraint(
            ["report_number"], ["reports.number"], name="fk_report_patients_report_number"
        ),
    )
    op.create_index("ix_report_patients_patient_id", "report_patients", ["patient_id"])
