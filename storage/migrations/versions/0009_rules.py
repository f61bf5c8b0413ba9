"""Jobs know their rule and their turn, orders how urgent they are."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From jobs in the order in which they are due to jobs in the order of their turn.

    Those on their way keep their order: each has its turn when it is due.
    """
    op.add_column("jobs", sa.Column("rule", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("priority", sa.Text(), nullable=False, server_default="routine"))
    op.add_column("jobs", sa.Column("yields_seconds", sa.Float(), nullable=False, server_default="0"))
    # Both databases add a column that is never empty only with a constant to fill it.
    turn_at = sa.Column(
        "turn_at", sa.DateTime(timezone=True), nullable=False, server_default="1970-01-01 00:00:00"
    )
    op.add_column("jobs", turn_at)
    op.execute("UPDATE jobs SET turn_at = due_at")
    op.drop_index("ix_jobs_stage_due_at", "jobs")
    op.create_index("ix_jobs_stage_turn_at", "jobs", ["stage", "turn_at"])
    op.add_column("orders", sa.Column("priority", sa.Text(), nullable=False, server_default=""))
