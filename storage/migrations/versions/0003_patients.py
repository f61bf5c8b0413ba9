"""Patient identifiers: several for a study, and links between them. Studies that are here keep the one they have."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_IN_DOUBT = sa.text("conflict IS NOT NULL")
_IN_FORCE = sa.text("unlinked_at IS NULL")


def upgrade() -> None:
    """From studies found by Patient ID to studies found by any identifier of the patient."""
    _create_study_identifiers()
    _create_patient_links()
    _create_patient_demographics()
    op.create_index(
        "ix_studies_in_doubt",
        "studies",
        ["newest_number"],
        sqlite_where=_IN_DOUBT,
        postgresql_where=_IN_DOUBT,
    )
    op.drop_index("ix_studies_patient_id", "studies")


def _texts(*names: str) -> tuple[sa.Column[str], ...]:
    return tuple(sa.Column(name, sa.Text(), nullable=False) for name in names)


def _create_study_identifiers() -> None:
    op.create_table(
        "study_identifiers",
        *_texts("patient_id", "issuer", "study_instance_uid"),
        sa.PrimaryKeyConstraint("patient_id", "issuer", "study_instance_uid", name="pk_study_identifiers"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["studies.study_instance_uid"],
            name="fk_study_identifiers_study_instance_uid",
        ),
    )
    op.add_column("studies", sa.Column("identifiers", sa.Text(), nullable=False, server_default="[]"))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    array = "json_array(json_array({0}))" if is_sqlite else "json_build_array(json_build_array({0}))::text"
    trimmed = "trim(patient_id), trim(issuer_of_patient_id)"
    op.execute(f"UPDATE studies SET identifiers = {array.format(trimmed)} WHERE trim(patient_id) <> ''")
    op.execute(
        "INSERT INTO study_identifiers (patient_id, issuer, study_instance_uid) "
        f"SELECT {trimmed}, study_instance_uid FROM studies WHERE trim(patient_id) <> ''"
    )


def _create_patient_links() -> None:
    op.create_table(
        "patient_links",
        sa.Column("number", _NUMBER, nullable=False),
        *_texts("old_patient_id", "old_issuer", "patient_id", "issuer", "reason", "linked_by"),
        sa.Column("linked_at", _TIME, nullable=False),
        sa.Column("unlinked_by", sa.Text(), nullable=True),
        sa.Column("unlinked_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_patient_links"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_patient_links_old",
        "patient_links",
        ["old_patient_id", "old_issuer"],
        unique=True,
        sqlite_where=_IN_FORCE,
        postgresql_where=_IN_FORCE,
    )
    op.create_index("ix_patient_links_surviving", "patient_links", ["patient_id", "issuer"])


def _create_patient_demographics() -> None:
    said = ("patient_id", "issuer", "patient_name", "birth_date", "sex")
    op.create_table(
        "patient_demographics",
        sa.Column("number", _NUMBER, nullable=False),
        *_texts(*said, "said_by"),
        sa.Column("said_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_patient_demographics"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_patient_demographics_said", "patient_demographics", list(said), unique=True)
