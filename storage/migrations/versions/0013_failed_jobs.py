"""Jobs that failed are found by the time when they did."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_FAILED = "stage = 'failed'"


def upgrade() -> None:
    """Adds an index that holds the failed ones alone."""
    op.create_index(
        "ix_jobs_failed",
        "jobs",
        ["stage", "changed_at"],
        sqlite_where=sa.text(_FAILED),
        postgresql_where=sa.text(_FAILED),
    )
