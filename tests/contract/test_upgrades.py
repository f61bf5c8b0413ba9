"""A database of every released schema, with rows in it, becomes one of this program with its rows intact."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Boolean,
    Connection,
    DateTime,
    Float,
    Integer,
    MetaData,
    Table,
    create_engine,
    insert,
    select,
)

import storage.database
from storage.database import HEAD, connect

pytestmark = pytest.mark.slow

CONFIG = Config()
CONFIG.set_main_option("script_location", str(Path(storage.database.__file__).parent / "migrations"))
REVISIONS = [script.revision for script in ScriptDirectory.from_config(CONFIG).walk_revisions()][::-1]
MOMENT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
WORDS = {"stage": "done", "role": "image", "status": "final", "source": "hl7", "identifiers": "[]"}
"""Columns that hold one word out of some."""


def at_revision(connection: Connection, revision: str) -> MetaData:
    """Makes the tables as the program of that revision left them, and reads what they are."""
    config = Config()
    config.set_main_option("script_location", CONFIG.get_main_option("script_location") or "")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    found = MetaData()
    found.reflect(connection)
    return found


def a_row(table: Table) -> dict[str, Any]:
    """Something in every column; rows point to each other, since all have the same values."""
    return {column.name: _value(table, column) for column in table.columns}


def _value(table: Table, column: Any) -> Any:
    if isinstance(column.type, DateTime):
        return MOMENT.replace(tzinfo=None) if table.info["is_sqlite"] else MOMENT
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, Integer | Float):
        return 1
    return WORDS.get(column.name, "2.25.1")


def fill(connection: Connection, tables: MetaData) -> dict[str, dict[str, Any]]:
    rows = {}
    for table in tables.sorted_tables:
        table.info["is_sqlite"] = connection.dialect.name == "sqlite"
        if table.name != "alembic_version":
            rows[table.name] = a_row(table)
            connection.execute(insert(table).values(rows[table.name]))
    return rows


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_row_of_an_older_schema_is_there_afterwards_with_what_it_held(empty_url: str, revision: str):
    engine = create_engine(empty_url)
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir(parents=True)
    with engine.begin() as connection:
        before = fill(connection, at_revision(connection, revision))

    connect(empty_url).close()

    with engine.begin() as connection:
        now = MetaData()
        now.reflect(connection)
        for name in before.keys() & now.tables.keys():
            columns = [column for column in now.tables[name].columns if column.name in before[name]]
            rows = connection.execute(select(*columns)).mappings().all()
            assert [{**row} for row in rows] == [
                {column.name: before[name][column.name] for column in columns}
            ]
    engine.dispose()


def test_the_revisions_are_one_chain_that_ends_at_the_programs():
    assert REVISIONS[-1] == HEAD
    assert sorted(REVISIONS) == REVISIONS
