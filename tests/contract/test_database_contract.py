"""What `connect` promises, on SQLite and on PostgreSQL alike."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

import storage.database
import storage.postgresql
from storage.database import (
    HEAD,
    Database,
    DatabaseError,
    SchemaError,
    connect,
    connect_as_is,
    revision_of,
    trouble_of,
)
from storage.index import Index
from storage.inspection import look_at_database
from storage.jobs import Jobs
from storage.records import PatientIdentifier, Stage
from storage.tables import metadata
from tests.storage.builders import NOW, an_instance, put

PROCESSES = 4
PROCESS_MAX_SECONDS = 60


def stored_revision(database: Database) -> str:
    with database.reading() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()


def test_an_empty_database_becomes_one_with_the_tables_of_the_program(empty_url: str):
    database = connect(empty_url)

    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    assert differences == []
    assert stored_revision(database) == HEAD
    database.close()


def test_a_database_is_opened_again_with_its_rows(empty_url: str):
    first = connect(empty_url)
    put(Index(first))
    first.close()

    again = connect(empty_url)

    assert Index(again).known(an_instance().sop_instance_uid) is not None
    again.close()


def at_first_revision(url: str, *statements: str) -> None:
    """Makes a database as the first program left it, with these statements run in it."""
    config = Config()
    config.set_main_option("script_location", str(Path(storage.database.__file__).parent / "migrations"))
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir(parents=True)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_studies_of_an_older_program_are_found_by_the_patient_id_they_came_with(empty_url: str):
    row = "INSERT INTO studies VALUES ('{}', '{}', '{}', '', '', '', '', '', '', '', '', NULL, NULL, 1, 1, 1)"
    at_first_revision(empty_url, row.format("2.25.1", ' A"1 ', "NORTH "), row.format("2.25.2", " ", "NORTH"))

    database = connect(empty_url)

    own = PatientIdentifier('A"1', "NORTH")
    (study,) = Index(database).history([own]).studies
    assert (study.study_instance_uid, study.identifiers) == ("2.25.1", (own,))
    without_id = Index(database).study("2.25.2")
    assert without_id is not None
    assert without_id.identifiers == ()
    database.close()


def test_jobs_of_an_older_program_are_taken_in_the_order_in_which_they_became_due(empty_url: str):
    study = (
        "INSERT INTO studies VALUES ('2.25.1', '', '', '', '', '', '', '', '', '', '', NULL, NULL, 1, 1, 1)"
    )
    job = (
        "INSERT INTO jobs (number, study_instance_uid, revision, watermark, stage, complete_because, attempts, "
        "claim_number, due_at, opened_at, changed_at) VALUES ({0}, '2.25.1', {0}, 1, 'read', 'quiet', 0, 0, "
        "'2026-03-01 0{1}:00:00.000000', '2026-03-01 01:00:00.000000', '2026-03-01 01:00:00.000000')"
    )
    at_first_revision(empty_url, study, job.format(1, 5), job.format(2, 4))

    database = connect(empty_url)

    claims = [Jobs(database).claim([Stage.READ], "reader", NOW, 60) for _ in range(2)]
    assert [claim and (claim.number, claim.priority) for claim in claims] == [(2, "routine"), (1, "routine")]
    database.close()


def test_a_database_of_an_unknown_revision_is_refused_and_left_as_it_is(empty_url: str):
    newer = connect(empty_url)
    with newer.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'abcd'"))

    with pytest.raises(SchemaError, match=r'revision "abcd".* start the newer program'):
        connect(empty_url)

    assert stored_revision(newer) == "abcd"
    newer.close()


def test_who_only_looks_leaves_a_database_as_it_is_and_is_told_who_brings_it_up_to_date(empty_url: str):
    older = connect(empty_url)
    with older.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0011'"))

    with pytest.raises(SchemaError, match=f"revision 0011, and this program {HEAD}: preread serve brings it"):
        connect_as_is(empty_url)
    connect_as_is(empty_url, oldest="0008").close()

    assert revision_of(older) == "0011"
    older.close()


def test_who_only_looks_is_refused_a_newer_database_and_an_empty_one(empty_url: str):
    with pytest.raises(SchemaError, match="preread serve would"):
        connect_as_is(empty_url)
    newer = connect(empty_url)
    with newer.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'abcd'"))

    with pytest.raises(SchemaError, match=r'revision "abcd".* start the newer program'):
        connect_as_is(empty_url)

    newer.close()


@pytest.mark.slow
def test_processes_that_start_at_once_make_one_schema(empty_url: str):
    program = f"from storage.database import connect; connect({empty_url!r}).close()"
    command = [sys.executable, "-W", "error", "-c", program]

    starts = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    errors = [start.communicate(timeout=PROCESS_MAX_SECONDS)[1] for start in starts]

    assert errors == [""] * PROCESSES
    database = connect(empty_url)
    assert stored_revision(database) == HEAD
    database.close()


def test_what_is_written_in_a_transaction_that_fails_is_not_there(database: Database):
    def write_and_stumble() -> None:
        with database.writing() as connection:
            connection.execute(
                text(
                    "INSERT INTO events (at, study_instance_uid, text) VALUES ('2026-03-01', '2.25.1', 'came')"
                )
            )
            raise LookupError("stumbled")

    with pytest.raises(LookupError, match="stumbled"):
        write_and_stumble()
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar_one() == 0


def test_an_error_of_the_database_does_not_tell_the_values(database: Database):
    told = {"archive": "arch", "sender": "ARCH", "study_date": "20260301", "asked_at": NOW}
    row = metadata.tables["requested_studies"].insert()
    row = row.values(study_instance_uid="Doe^Jane", request_number=1, **told)

    def write_twice() -> None:
        with database.writing() as connection:
            connection.execute(row)
            connection.execute(row)

    with pytest.raises(DBAPIError) as failed:
        write_twice()
    parameters = str(failed.value).split("[SQL")[1]
    assert "Doe^Jane" not in parameters


def test_who_gets_no_connection_is_told_that_the_database_cannot_be_used(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(storage.database, "_FREE_SECONDS", 0.1)
    database = connect(url)
    with ExitStack() as in_use:
        for _ in range({"sqlite": 100, "postgresql": 30}[database.engine.dialect.name]):
            in_use.enter_context(database.reading())

        with pytest.raises(DatabaseError) as raised, database.reading():
            pass
        problem = database.problem()

    assert (
        trouble_of(raised.value) == "no connection to it came free within 0.1 s; those there are wait for it"
    )
    assert "no connection to it came free" in (problem or "")
    assert database.problem() is None
    database.close()


@pytest.fixture
def patient_database(postgresql_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A PostgreSQL that is waited for only so long as a test can wait."""
    monkeypatch.setattr(storage.postgresql, "STATEMENT_SECONDS", 1)
    monkeypatch.setattr(storage.postgresql, "SILENT_SECONDS", 2.0)
    monkeypatch.setattr(storage.postgresql, "PING_SECONDS", 0.5)
    opened = connect(postgresql_database.engine.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


@pytest.fixture
def frozen() -> Iterator[list[int]]:
    """Processes of the server that stand still until the test is over."""
    numbers: list[int] = []
    yield numbers
    for number in numbers:
        os.kill(number, signal.SIGCONT)


def freeze(connection: Connection, frozen: list[int]) -> None:
    frozen.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
    os.kill(frozen[-1], signal.SIGSTOP)


@pytest.mark.slow
def test_a_server_that_falls_silent_in_a_statement_counts_as_away(
    patient_database: Database, frozen: list[int]
):
    def write() -> None:
        with patient_database.writing() as connection:
            freeze(connection, frozen)
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseError) as raised:
        write()

    assert trouble_of(raised.value) == "the server has not answered for 2 s"
    assert patient_database.problem() is None, "a new connection is another one"


def test_a_connection_that_fell_silent_between_two_transactions_is_replaced(
    patient_database: Database, frozen: list[int]
):
    with patient_database.reading() as connection:
        freeze(connection, frozen)
        os.kill(frozen[-1], signal.SIGCONT)
    os.kill(frozen[-1], signal.SIGSTOP)

    assert patient_database.problem() is None


@pytest.mark.slow
def test_a_statement_that_takes_too_long_is_ended_by_the_server(patient_database: Database):
    with pytest.raises(DatabaseError) as raised, patient_database.reading() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))

    assert trouble_of(raised.value) == "canceling statement due to statement timeout"


def test_a_migration_takes_as_long_as_it_takes(patient_database: Database):
    engine = storage.database._engine(patient_database.engine.url, is_bounded=False)

    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0"
    engine.dispose()


def test_what_the_address_says_of_waiting_comes_first(patient_database: Database):
    address = make_url(patient_database.engine.url).update_query_dict(
        {"connect_timeout": "77", "options": "-c statement_timeout=5s"}
    )
    database = connect(address.set(drivername="postgresql").render_as_string(hide_password=False))

    with database.reading() as connection:
        driven = connection.connection.driver_connection
        assert driven is not None
        assert driven.info.get_parameters()["connect_timeout"] == "77"
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "5s"
    database.close()


def test_a_row_that_points_nowhere_is_refused(database: Database):
    row = (
        metadata.tables["result_objects"]
        .insert()
        .values(
            sop_instance_uid="1",
            sop_class_uid="1",
            job_number=99,
            kind="x",
            path="x",
            sha256="x",
            size_bytes=1,
        )
    )

    def write() -> None:
        with database.writing() as connection:
            connection.execute(row)

    with pytest.raises(DBAPIError, match=r"(?i)foreign key"):
        write()


def test_a_database_can_be_looked_at_without_opening_it_to_write(database: Database, url: str):
    facts = look_at_database(url, lambda: datetime.now(UTC))

    assert (facts.problem, facts.revision) == (None, HEAD)
    assert facts.version.startswith(("SQLite 3", "PostgreSQL 1"))
    assert abs(facts.ahead_seconds) < 2


def test_a_server_that_is_not_there_is_told_in_its_driver_s_words():
    facts = look_at_database("postgresql://nobody:secret@127.0.0.1:1/preread", lambda: datetime.now(UTC))

    assert "refused" in (facts.problem or "")
    assert "secret" not in f"{facts.place} {facts.problem}"
