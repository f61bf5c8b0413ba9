"""Archives are asked for priors, and orders are known before their images.

`wanted_studies` and `studies.wanted_by_job` go: nothing ever wrote them, and who fetches a study, and whether it
is under way, is now one row of `requested_studies`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_IS_UNREAD = "newest_image_number > watermark AND fetched_from IS NULL"
_IS_OPEN_REQUEST = "done_at IS NULL AND failed_at IS NULL"


def upgrade() -> None:
    """From asking nobody to asking archives."""
    _change_studies()
    _create_orders()
    _create_requests()


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, _TIME, nullable=nullable)


def _partial_index(name: str, table: str, column: str, condition: str) -> None:
    op.create_index(
        name, table, [column], sqlite_where=sa.text(condition), postgresql_where=sa.text(condition)
    )


def _change_studies() -> None:
    op.drop_index("ix_studies_unread", "studies")
    op.add_column("studies", _text("fetched_from", nullable=True))
    op.drop_column("studies", "wanted_by_job")
    _partial_index("ix_studies_unread", "studies", "study_instance_uid", _IS_UNREAD)
    op.drop_table("wanted_studies")


def _create_orders() -> None:
    op.create_table(
        "orders",
        sa.Column("number", _NUMBER, nullable=False),
        _text("source"),
        _text("accession_number"),
        _text("study_instance_uid"),
        _text("placer_order_number"),
        _text("filler_order_number"),
        _text("patient_id"),
        _text("issuer_of_patient_id"),
        _text("patient_name"),
        _text("birth_date"),
        _text("sex"),
        _text("requested_procedure"),
        _text("indication"),
        _text("scheduled_date"),
        _text("scheduled_time"),
        _time("heard_at"),
        sa.PrimaryKeyConstraint("number", name="pk_orders"),
        sqlite_autoincrement=True,
    )
    for column in ("accession_number", "study_instance_uid", "heard_at"):
        op.create_index(f"ix_orders_{column}", "orders", [column])


def _create_requests() -> None:
    op.create_table(
        "prior_requests",
        sa.Column("number", _NUMBER, nullable=False),
        _text("archive"),
        sa.Column("job_number", _NUMBER),
        sa.Column("order_number", _NUMBER),
        _time("asked_at"),
        _time("expires_at"),
        _time("found_at", nullable=True),
        _text("study_instance_uids"),
        _text("note", nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("due_at"),
        _time("waiting_since", nullable=True),
        _text("lease_owner", nullable=True),
        _time("lease_until", nullable=True),
        sa.Column("claim_number", sa.Integer(), nullable=False),
        _text("problem", nullable=True),
        _time("done_at", nullable=True),
        _time("failed_at", nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_prior_requests"),
        sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], name="fk_prior_requests_job_number"),
        sa.ForeignKeyConstraint(
            ["order_number"], ["orders.number"], name="fk_prior_requests_order_number", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_prior_requests_job_number", "prior_requests", ["job_number"])
    op.create_index("ix_prior_requests_order_number", "prior_requests", ["order_number"])
    _partial_index("ix_prior_requests_open", "prior_requests", "due_at", _IS_OPEN_REQUEST)
    op.create_table(
        "requested_studies",
        _text("study_instance_uid"),
        sa.Column("request_number", sa.BigInteger(), nullable=False),
        _text("archive"),
        _text("sender"),
        _text("study_date"),
        _time("asked_at"),
        _time("fetching_since", nullable=True),
        _time("ended_at", nullable=True),
        _text("problem", nullable=True),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_requested_studies"),
    )
    op.create_index("ix_requested_studies_request_number", "requested_studies", ["request_number"])
