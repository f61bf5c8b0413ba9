"""A request to an archive keeps why radiographs that are there were not chosen."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the reasons; of what was asked before nobody knows them any more."""
    op.add_column("prior_requests", sa.Column("passed_over", sa.Text(), nullable=False, server_default="[]"))
