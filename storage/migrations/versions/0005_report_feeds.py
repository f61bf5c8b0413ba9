"""Servers of reports are asked for what is new since the last answer."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keeps how far each server has been heard."""
    op.create_table(
        "report_feeds",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("heard_until", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_report_feeds"),
    )
