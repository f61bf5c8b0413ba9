"""Studies that are held, instances that were deleted, and what is to be audited."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """From keeping everything to holding, forgetting and accounting for it."""
    op.add_column("studies", sa.Column("images_deleted_at", _TIME, nullable=True))
    # Each row that is deleted is looked for in the tables that may point to it.
    op.create_index("ix_study_identifiers_study_instance_uid", "study_identifiers", ["study_instance_uid"])
    op.create_index("ix_deliveries_sop_instance_uid", "deliveries", ["sop_instance_uid"])
    # Each file that is found is looked for in the tables that may name it.
    for table in ("instances", "result_objects", "quarantined_messages"):
        op.create_index(f"ix_{table}_path", table, ["path"])
    op.create_table(
        "holds",
        _text("study_instance_uid"),
        sa.Column("held_at", _TIME, nullable=False),
        _text("held_by"),
        _text("reason"),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_holds"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["studies.study_instance_uid"], name="fk_holds_study_instance_uid"
        ),
    )
    op.create_table(
        "deleted_instances",
        _text("sop_instance_uid"),
        _text("study_instance_uid"),
        _text("role"),
        sa.Column("deleted_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_deleted_instances"),
    )
    for column in ("study_instance_uid", "deleted_at"):
        op.create_index(f"ix_deleted_instances_{column}", "deleted_instances", [column])
    _create_audit_records()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _create_audit_records() -> None:
    op.create_table(
        "audit_records",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        *(_text(name) for name in ("event", "actor", "address", "study_instance_uid", "patient_id")),
        sa.Column("instances", sa.Integer(), nullable=False),
        _text("detail"),
        sa.Column("is_success", sa.Boolean(), nullable=False),
        sa.Column("filed_at", _TIME, nullable=True),
        sa.Column("sent_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_audit_records"),
        sqlite_autoincrement=True,
    )
