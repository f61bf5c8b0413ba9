"""What all tables share: how keys and constraints are called, and how records become rows.

Tables whose rows are numbered have `sqlite_autoincrement`: a number is never given twice, even after the newest row
was deleted.
"""

from dataclasses import fields
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table

# 64 bits on PostgreSQL; on SQLite only a key called exactly INTEGER is the row's own number (also 64 bits).
NUMBER = BigInteger().with_variant(Integer(), "sqlite")

# Constraint names are fixed, so that a later migration can name what it changes on both databases.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def columns_of(table: Table, record: type) -> list[Column[Any]]:
    """The columns of a table that a record has a field for, in the record's order."""
    return [table.c[field.name] for field in fields(record)]


def row_of(record: Any) -> dict[str, Any]:
    """A record as column names and values. Not `dataclasses.asdict`, which copies every value deeply."""
    return {field.name: getattr(record, field.name) for field in fields(record)}
