"""Deliveries fall back to another form, wait for storage commitment, and leave a destination in trouble alone."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_IS_OPEN = "done_at IS NULL AND failed_at IS NULL AND replaced_by IS NULL"


def upgrade() -> None:
    """Adds what a delivery remembers of its destination. What was taken before was taken when it was done."""
    op.drop_index("ix_deliveries_open", "deliveries")
    op.add_column("deliveries", sa.Column("replaced_by", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("taken_at", _TIME, nullable=True))
    op.add_column("deliveries", sa.Column("transaction_uid", sa.Text(), nullable=True))
    op.execute("UPDATE deliveries SET taken_at = done_at")
    _partial_index("ix_deliveries_open", "due_at", _IS_OPEN)
    _partial_index("ix_deliveries_given_up", "failed_at", "failed_at IS NOT NULL")
    _partial_index("ix_deliveries_transaction_uid", "transaction_uid", "transaction_uid IS NOT NULL")
    op.create_table(
        "troubled_destinations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("rests_until", _TIME, nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_troubled_destinations"),
    )


def _partial_index(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "deliveries", [column], sqlite_where=where, postgresql_where=where)
