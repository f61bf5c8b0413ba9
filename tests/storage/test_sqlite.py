"""What holds for SQLite only: its durability, its locks, its query plans, its file."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import event, text

from storage.census import Census, Marks
from storage.database import HEAD, Database, SchemaError, connect
from storage.index import Index
from storage.jobs import Deliveries, Jobs
from storage.listing import Listing
from tests.storage.builders import LEASE_SECONDS, NOW, a_study, an_instance, an_open_job, put

WAIT_MAX_SECONDS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "preread.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = connect(f"sqlite:///{path}")
    yield opened
    opened.close()


def pragma(database: Database, name: str) -> Any:
    with database.reading() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def plans(database: Database, ask: Any) -> list[str]:
    """How SQLite goes about every SELECT that `ask()` sends."""
    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, _m: bool) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    ask()
    event.remove(database.engine, "before_cursor_execute", note)
    lines = []
    with database.reading() as connection:
        for statement, parameters in sent:
            if statement.startswith("SELECT"):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                lines += [row.detail for row in rows]
    return lines


def test_a_commit_survives_a_power_cut(database: Database):
    assert pragma(database, "journal_mode") == "wal"
    assert pragma(database, "synchronous") == 2  # FULL
    assert pragma(database, "foreign_keys") == 1


def test_the_database_and_its_side_files_are_their_owners_only(database: Database, path: Path):
    put(Index(database))

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_a_writer_waits_for_the_writer_before_it(database: Database):
    begun, done = Signal(), Signal()

    def write() -> None:
        begun.set()
        put(Index(database), "2.25.2")
        done.set()

    with database.writing() as connection:
        connection.execute(text("SELECT count(*) FROM instances"))
        other = Thread(target=write)
        other.start()
        assert begun.wait(WAIT_MAX_SECONDS)
        connection.execute(
            text("INSERT INTO events (at, study_instance_uid, text) VALUES ('2026-03-01', '2.25.1', 'came')")
        )
        assert not done.is_set()
    other.join(WAIT_MAX_SECONDS)

    assert done.is_set()


def test_a_reader_sees_the_store_as_it_was_while_somebody_writes(database: Database):
    index = Index(database)
    put(index, "2.25.1")

    with database.writing() as connection:
        connection.execute(text("DELETE FROM instances"))

        assert len(index.instances("2.25.100")) == 1


def test_looking_for_unread_studies_costs_what_is_unread_and_not_what_is_stored(database: Database):
    index = Index(database)
    put(index)

    scans = [line for line in plans(database, index.unread) if line.startswith("SCAN")]

    assert set(scans) == {"SCAN studies USING INDEX ix_studies_unread"}


def test_no_question_of_the_line_reads_a_whole_table(database: Database):
    index, jobs, deliveries = Index(database), Jobs(database), Deliveries(database)
    job = an_open_job(index, jobs)

    def ask() -> None:
        jobs.claim(["gather"], "worker", NOW, LEASE_SECONDS)
        deliveries.claim("sender", NOW, LEASE_SECONDS, ["PACS"])
        jobs.previous_results(job.study_instance_uid, 2)
        jobs.events_of_study(job.study_instance_uid)
        deliveries.of_job(job.number)
        jobs.results_of_job(job.number)
        index.history(a_study().identifiers)
        index.recent_studies(10)
        index.instances(job.study_instance_uid, 1)
        put(index, "2.25.9")

    scans = [line for line in plans(database, ask) if line.startswith("SCAN")]

    # The newest studies are the first ones of their index; the limit ends that walk. Of destinations there are few.
    assert set(scans) == {
        "SCAN studies USING INDEX ix_studies_newest_number",
        "SCAN troubled_destinations",
    }


def test_a_claim_reads_the_one_job_whose_turn_it_is_and_sorts_none(database: Database):
    jobs = Jobs(database)
    an_open_job(Index(database), jobs)

    looked = plans(database, lambda: jobs.claim(["read", "gather"], "worker", NOW, LEASE_SECONDS))

    assert any("ix_jobs_stage_turn_at" in line for line in looked)
    assert not any("ORDER BY" in line for line in looked)


def test_a_monitor_s_questions_read_no_table_but_through_an_index(database: Database):
    index, jobs, census = Index(database), Jobs(database), Census(database)
    an_open_job(index, jobs)

    def ask() -> None:
        census.since(Marks(0, 0, 0))
        census.standing()
        jobs.deliveries.open_count("PACS")
        Listing(database).studies(10)

    scans = {line for line in plans(database, ask) if line.startswith("SCAN")}

    # Jobs are counted over their index; open deliveries and unread studies have an index of their own, which holds
    # no others; the newest studies are the first ones of theirs; messages that wait in quarantine are few.
    assert scans == {
        "SCAN jobs USING COVERING INDEX ix_jobs_stage_turn_at",
        "SCAN deliveries USING INDEX ix_deliveries_open",
        "SCAN studies USING INDEX ix_studies_unread",
        "SCAN studies USING INDEX ix_studies_newest_number",
        "SCAN quarantined_messages",
    }


def test_the_status_finds_what_failed_or_waits_without_reading_what_is_done(database: Database):
    index, jobs = Index(database), Jobs(database)
    an_open_job(index, jobs)

    def ask() -> None:
        jobs.failed_since(NOW, 20)
        jobs.waiting(20)
        jobs.deliveries.undelivered(NOW, 20)

    lines = {line for line in plans(database, ask) if line.startswith(("SCAN", "SEARCH"))}

    assert lines == {
        "SEARCH jobs USING INDEX ix_jobs_failed (stage=? AND changed_at>?)",
        "SEARCH jobs_1 USING INDEX sqlite_autoindex_jobs_1 (study_instance_uid=? AND revision>?)",
        "SEARCH jobs USING INDEX ix_jobs_stage_turn_at (stage=?)",
        "SCAN deliveries USING INDEX ix_deliveries_open",
        "SEARCH deliveries USING INDEX ix_deliveries_given_up (failed_at>?)",
    }


def test_a_start_with_nothing_to_migrate_does_without_alembic(database: Database, path: Path):
    program = f"import sys; from storage.database import connect; connect('sqlite:///{path}').close()"

    loaded = subprocess.run(
        [sys.executable, "-c", f"{program}; print('alembic' in sys.modules)"], capture_output=True, text=True
    )

    assert loaded.stdout == "False\n"


def test_the_head_of_the_program_is_the_newest_migration():
    versions = Path(sys.modules["storage.database"].__file__ or "").parent / "migrations" / "versions"

    assert max(file.name[:4] for file in versions.glob("[0-9]*.py")) == HEAD


KILLED_AFTER_PUT = """
import os, signal, sys
from storage.database import connect
from storage.index import Index
from tests.storage.builders import put
put(Index(connect(sys.argv[1])))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_between_the_row_and_the_answer_the_sender_gets_a_duplicate(path: Path):
    url = f"sqlite:///{path}"
    killed = subprocess.run([sys.executable, "-c", KILLED_AFTER_PUT, url])

    database = connect(url)
    again = put(Index(database))

    assert killed.returncode == -9
    assert again.verdict == "duplicate"
    assert Index(database).instances(an_instance().study_instance_uid) == (again.instance,)
    database.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://host/name", '"sqlite" or "postgresql", not "mysql"'),
        ("sqlite://", "a database in memory forgets"),
        ("sqlite:///:memory:", "a database in memory forgets"),
        ("nonsense", "cannot be read"),
        ("sqlite:////proc/none/preread.sqlite", "cannot be made"),
        ("postgresql://me:secret@/x?host=/nowhere", r"postgresql://me:\*\*\*@/x.* cannot be used"),
    ],
)
def test_an_address_that_does_not_work_is_told_in_a_sentence(url: str, says: str):
    with pytest.raises(SchemaError, match=says) as refused:
        connect(url)

    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_told_and_left_alone(path: Path):
    path.parent.mkdir()
    path.write_bytes(b"holiday photographs" * 1000)

    with pytest.raises(SchemaError, match="file is not a database"):
        connect(f"sqlite:///{path}")

    assert path.read_bytes().startswith(b"holiday")
