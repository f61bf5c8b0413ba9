"""A database that is away is said once, whoever notices it, and costs no study its draft."""

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from agent.outage import QUIET_SECONDS, Outage
from agent.pulse import Pulse
from agent.service import Serving
from agent.worker import Worker
from config.settings import AgentSettings, Settings, StorageSettings
from inference.case import Case
from inference.reading import Reading
from storage.database import connect, trouble_of
from storage.processes import Processes
from storage.records import Stage
from tests.agent.archives import Archive, a_free_port
from tests.agent.line import PATIENCE, Away, Line
from tests.builders import a_radiograph
from tests.scripted_engine import an_effusion
from tests.storage.builders import NOW

AWAY = OperationalError(
    "SELECT x", {"name": "Doe^Jane"}, psycopg.OperationalError("it refused\nIs it running?")
)
FULL = OperationalError("INSERT x", {}, sqlite3.OperationalError("database or disk is full"))
OURS = IntegrityError("INSERT x", {}, sqlite3.IntegrityError("UNIQUE constraint failed"))
TOO_LONG = OperationalError(
    "INSERT x", {}, psycopg.errors.ProgramLimitExceeded("index row size 6008 exceeds")
)
AWAY_SAID = "the database cannot be used; everything waits for it"


def events_of(entries: list[dict[str, object]]) -> list[object]:
    return [entry["event"] for entry in entries]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AWAY, "it refused"),
        (FULL, "database or disk is full"),
        (InterfaceError("SELECT x", {}, sqlite3.InterfaceError("closed")), "closed"),
        (NoConnectionFree("x"), "no connection to it came free within 10 s; those there are wait for it"),
        (OURS, None),
        (TOO_LONG, None),
        (ValueError("x"), None),
    ],
)
def test_what_the_world_does_to_a_database_is_told_from_what_we_do(error: Exception, words: str | None):
    assert trouble_of(error) == words


def test_a_file_that_is_no_database_any_more_is_the_worlds_trouble(tmp_path: Path):
    database = connect(f"sqlite:///{tmp_path}/x.sqlite")
    database.close()
    (tmp_path / "x.sqlite").unlink()
    (tmp_path / "x.sqlite").mkdir()

    with pytest.raises(OperationalError) as raised, database.reading():
        pass

    assert trouble_of(raised.value) == "unable to open database file"


class Watch:
    """Seconds that the test lets pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_many_threads_say_it_once_and_that_it_is_over_once():
    watch = Watch()
    outage = Outage(watch)

    def over() -> None:
        watch.seconds = QUIET_SECONDS
        outage.over()

    with structlog.testing.capture_logs() as entries:
        for turn in (lambda: outage.notice(AWAY), over):
            threads = [threading.Thread(target=turn) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert events_of(entries) == [AWAY_SAID, "the database can be used again"]
    assert entries[0]["reason"] == "it refused"


def test_writes_that_succeed_between_those_that_fail_do_not_end_an_outage():
    watch = Watch()
    outage = Outage(watch)

    with structlog.testing.capture_logs() as entries:
        for _ in range(100):
            outage.notice(FULL)
            outage.over()
            watch.seconds += 1

    assert events_of(entries) == [AWAY_SAID]


def test_a_beat_that_was_written_ends_an_outage_where_nothing_else_is_to_be_done(tmp_path: Path):
    watch, database = Watch(), connect(f"sqlite:///{tmp_path}/x.sqlite")
    outage = Outage(watch)
    pulse = Pulse(Processes(database), lambda: NOW, "serve", "sha256:ab", tuple, outage=outage)

    with structlog.testing.capture_logs() as entries:
        outage.notice(FULL)
        watch.seconds = QUIET_SECONDS
        pulse.beat()
    database.close()

    assert events_of(entries) == [AWAY_SAID, "the database can be used again"]


def test_a_beat_that_cannot_be_written_is_said_once_until_one_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    database = connect(f"sqlite:///{tmp_path}/x.sqlite")
    processes = Processes(database)
    pulse = Pulse(processes, lambda: NOW, "serve", "sha256:ab", tuple)

    with structlog.testing.capture_logs() as entries:
        for is_written in (False, False, True, False):
            monkeypatch.setattr(processes, "beat", lambda _, is_written=is_written: is_written)
            pulse.beat()
    database.close()

    assert events_of(entries) == ["the database could not be told that this process runs"] * 2


def test_an_error_of_ours_is_left_to_the_caller():
    with structlog.testing.capture_logs() as entries:
        assert not Outage().notice(OURS)

    assert entries == []


def a_line(folder: Path) -> Line:
    nobody = Archive()
    nobody.port = a_free_port()
    return Line(folder, nobody)


class NoJobs:
    """Jobs of a database that is away, or of one that has none."""

    def __init__(self) -> None:
        self.error: Exception | None = AWAY

    def claim(self, *_: object, **__: object) -> None:
        if self.error is not None:
            raise self.error

    give_back = claim


def test_a_worker_says_once_that_it_waits_and_with_a_traceback_what_is_our_fault(tmp_path: Path):
    jobs = NoJobs()
    tools = replace(a_line(tmp_path).tools, jobs=jobs)  # type: ignore[arg-type]
    worker = Worker("w", tools, replace(PATIENCE, retry_seconds_min=0), stages=(Stage.READ,))

    with structlog.testing.capture_logs() as entries:
        turns = [worker._turn() for _ in range(3)]
        jobs.error = None
        turns.append(worker._turn())
        jobs.error = KeyError("x")
        turns.append(worker._turn())

    assert turns == [False] * 5
    # A turn without work has only asked: that tells nothing of a database that is full.
    assert events_of(entries) == [AWAY_SAID, "the store could not be asked for work; trying again"]
    assert [bool(entry.get("exc_info")) for entry in entries] == [False, True]


def test_a_database_that_fails_in_the_middle_of_a_step_costs_the_job_no_attempt(tmp_path: Path):
    line = a_line(tmp_path)
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.gather()
    line.engine.script = _away  # type: ignore[assignment]

    with structlog.testing.capture_logs() as entries:
        assert line.worker.work_once()

    (job,) = line.tools.jobs.jobs_of_study(study)
    assert (job.stage, job.attempts, job.problem) == (Stage.READ, 0, "the database could not be used")
    assert AWAY_SAID in events_of(entries)
    assert "internal error" not in events_of(entries)


def _away(_: object) -> None:
    raise AWAY


def test_outages_that_outlast_the_lease_at_the_end_of_a_step_cost_the_job_no_attempt(tmp_path: Path):
    line = a_line(tmp_path)
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.gather()
    jobs = Away(line.tools.jobs, "advance", "later", "end", "retry", "extend")
    worker = a_worker(line, jobs, stages=(Stage.READ,))

    for is_away in (True, False) * (PATIENCE.attempts_max + 1):
        jobs.is_away = is_away
        worker._turn()
        line.wait(2 * 3600)

    assert line.job(study).attempts == 0
    assert line.job(study).problem == "the database could not be used"
    assert worker.work_once()
    assert line.job(study).stage is Stage.COMPOSE


def a_worker(line: Line, jobs: Any, **work: Any) -> Worker:
    tools = replace(line.tools, jobs=jobs)
    return Worker("w", tools, replace(PATIENCE, retry_seconds_min=0.01), poll_seconds=0.01, **work)


def test_an_outage_that_outlasts_the_lease_costs_a_delivery_no_attempt(tmp_path: Path):
    line = a_line(tmp_path)
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.gather()
    for _ in (Stage.READ, Stage.COMPOSE):
        assert line.worker.work_once()
    jobs = Away(line.tools.jobs)
    jobs.deliveries = Away(line.tools.jobs.deliveries, "later", "retry", "done", "extend")
    worker = a_worker(line, jobs, leaves_alone=())

    for jobs.deliveries.is_away in (True, False):
        worker._turn()
        line.wait(3600)

    sent = line.tools.jobs.deliveries.claim("other", line.now, 60, ())
    assert {(one.attempts, one.problem) for one in sent} == {(0, "the database could not be used")}
    assert line.job(study).stage is Stage.DELIVER


def test_a_stop_writes_what_is_owed_once_more(tmp_path: Path):
    line = a_line(tmp_path)
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.gather()
    jobs = Away(line.tools.jobs, "advance", "later", "extend")
    worker = a_worker(line, jobs, stages=(Stage.READ,))
    worker._turn()

    jobs.is_away = False
    worker.stop()
    worker.run()

    assert (line.job(study).attempts, line.job(study).lease_owner) == (0, None)


def test_a_lease_that_could_not_be_extended_once_is_extended_the_next_time(tmp_path: Path):
    worker = Worker("w", a_line(tmp_path).tools, replace(PATIENCE, lease_seconds=0.03))
    errors, is_extended = iter([AWAY, KeyError("x")]), threading.Event()

    def extend() -> None:
        error = next(errors, None)
        if error is not None:
            raise error
        is_extended.set()

    with structlog.testing.capture_logs() as entries, worker._holding(extend):
        assert is_extended.wait(10)

    assert events_of(entries)[:2] == [AWAY_SAID, "the lease could not be extended"]


def test_the_clock_says_what_it_stumbled_over(tmp_path: Path):
    serving = Serving(Settings(agent=AgentSettings(storage=StorageSettings(folder=tmp_path))))

    def stumble(error: Exception) -> None:
        serving._note_stumble(JobExecutionEvent(EVENT_JOB_ERROR, "tick", "default", None, exception=error))

    with structlog.testing.capture_logs() as entries:
        stumble(AWAY)
        stumble(AWAY)
        stumble(KeyError("x"))

    assert events_of(entries) == [AWAY_SAID, "the clock stumbled; it goes on"]
    assert isinstance(entries[1]["exc_info"], KeyError)


def test_a_service_stops_in_order_while_its_database_is_away(tmp_path: Path):
    serving = Serving(Settings(agent=AgentSettings(storage=StorageSettings(folder=tmp_path))))
    trail = serving._trail

    class Away:
        def note(self, event: object) -> None:
            raise AWAY

        def write_out(self) -> None:
            trail.write_out()

    serving._trail = Away()  # type: ignore[assignment]
    with structlog.testing.capture_logs() as entries:
        serving.stop()

    assert events_of(entries)[-2:] == [AWAY_SAID, "stopped"]


def test_a_worker_whose_step_takes_too_long_stops_while_the_database_is_away(tmp_path: Path):
    line = a_line(tmp_path)
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.gather()
    begun, ended = threading.Event(), threading.Event()

    def script(case: Case) -> Reading:
        begun.set()
        assert ended.wait(30)
        return an_effusion(case)

    line.engine.script = script
    line.worker.start()
    assert begun.wait(30)
    line.worker.stop()
    jobs = line.tools.jobs
    line.worker._tools = replace(line.tools, jobs=NoJobs())  # type: ignore[arg-type]

    with structlog.testing.capture_logs() as entries:
        line.worker.finish(0.1)
        line.worker._tools = line.tools
        ended.set()
        line.worker.join(30)

    assert AWAY_SAID in events_of(entries)
    assert jobs.jobs_of_study(study)[0].stage in (Stage.READ, Stage.COMPOSE)
