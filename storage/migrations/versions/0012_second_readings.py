"""A second engine reads beside the first: what it says has a table of its own, and jobs are found by their time."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_IS_OPEN = "done_at IS NULL AND failed_at IS NULL"


def upgrade() -> None:
    """Adds the table, empty: what was read before has no second reading yet."""
    op.create_index("ix_jobs_opened_at", "jobs", ["opened_at"])
    op.create_table(
        "second_readings",
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("waiting_since", _TIME, nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("claim_number", sa.Integer(), nullable=False),
        sa.Column("claimed_at", _TIME, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("job_number", _NUMBER, nullable=False),
        sa.Column("reading_json", sa.Text(), nullable=True),
        sa.Column("done_at", _TIME, nullable=True),
        sa.Column("failed_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["job_number"], ["jobs.number"], name=op.f("fk_second_readings_job_number_jobs")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_second_readings")),
        sa.UniqueConstraint("job_number", name=op.f("uq_second_readings_job_number")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_second_readings_open",
        "second_readings",
        ["due_at"],
        sqlite_where=sa.text(_IS_OPEN),
        postgresql_where=sa.text(_IS_OPEN),
    )
