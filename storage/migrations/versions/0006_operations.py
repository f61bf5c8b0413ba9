"""Who runs and how long steps take: what a monitor and `preread doctor` ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """From not knowing since when a row is in somebody's hand to knowing how long each try took."""
    for table in ("jobs", "deliveries", "prior_requests"):
        op.add_column(table, sa.Column("claimed_at", _TIME, nullable=True))
    op.create_table(
        "step_times",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("done_by", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_step_times")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "processes",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("role", "host", "pid", name=op.f("pk_processes")),
    )
