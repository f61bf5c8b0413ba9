"""Drafts are closed: withdrawn by a person, or ended by a radiologist's report; deliveries can be stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """From drafts that are only ever followed by the next one."""
    op.add_column(
        "deliveries", sa.Column("is_stopped", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "closings",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("report_number", _NUMBER, nullable=True),
        sa.Column("closed_at", _TIME, nullable=False),
        sa.Column("reopened_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_closings"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["studies.study_instance_uid"], name="fk_closings_study_instance_uid"
        ),
        sa.ForeignKeyConstraint(["report_number"], ["reports.number"], name="fk_closings_report_number"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_closings_study_instance_uid", "closings", ["study_instance_uid"])
    op.create_index("ix_studies_accession_number", "studies", ["accession_number"])
