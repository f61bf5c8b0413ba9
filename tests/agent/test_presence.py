"""Whether preread runs is known by its lock on this machine, and by what it last said on another one."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent import loaded
from agent.clock import system_clock
from agent.presence import Presence, lacks, look, presence_of
from agent.store import open_store
from config.loading import load
from storage.database import connect
from storage.processes import Processes
from storage.records import RunningProcess
from tests.agent.archives import a_free_port
from tests.agent.test_cli import a_config, run
from tests.storage.builders import NOW, an_open_job, later

SERVE = RunningProcess("serve", "box", 7, NOW, NOW, "sha256:ab")
READ = replace(SERVE, role="read", pid=8, engine="M4CXR")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    database = connect(f"sqlite:///{tmp_path}/x.sqlite")
    yield Processes(database)
    database.close()


def said(presence: Presence) -> list[str]:
    return [lack.text for lack in lacks(presence, wants_second=False)]


def test_a_service_that_was_killed_a_second_ago_does_not_run():
    presence = presence_of([SERVE, READ], is_served_here=False, here="box", now=later(1))

    assert (presence.running, presence.serves, presence.killed) == ((READ,), False, SERVE)
    assert said(presence) == ["preread serve does not run (last seen 2026-03-01T08:00:00+00:00); start it"]


@pytest.mark.parametrize(("seconds", "runs"), [(59, True), (61, False)])
def test_a_service_on_another_machine_runs_as_long_as_it_says_so(seconds: float, runs: bool):
    presence = presence_of([SERVE, READ], is_served_here=False, here="other", now=later(seconds))

    assert presence.serves is runs


def test_where_nobody_may_look_at_the_lock_a_service_runs_as_long_as_it_says_so():
    assert presence_of([SERVE], is_served_here=None, here="box", now=later(59)).serves
    assert not presence_of([SERVE], is_served_here=None, here="box", now=later(61)).serves


def test_a_service_whose_beat_is_missing_runs_and_its_log_is_asked_for():
    presence = presence_of([SERVE], is_served_here=True, here="box", now=later(300))

    assert presence.serves
    assert "cannot write to the database; its log says which" in said(presence)[0]


def test_a_service_without_a_reader_says_that_nobody_reads():
    presence = presence_of([SERVE], is_served_here=True, here="box", now=NOW)

    assert [text.partition(":")[0] for text in said(presence)] == ["nobody reads"]


@pytest.mark.parametrize(("host", "is_told"), [("box", True), ("elsewhere", False)])
def test_a_reader_beside_the_service_that_has_another_configuration_is_told(host: str, is_told: bool):
    reader = replace(READ, host=host, config_digest="sha256:cd")
    presence = presence_of([SERVE, reader], is_served_here=True, here="box", now=NOW)

    told = [text.partition(":")[0] for text in said(presence)]

    assert told == ["preread read has another configuration than preread serve"] * is_told


@pytest.mark.parametrize(
    ("known", "is_work_open", "is_grave"), [([], False, False), ([], True, True), ([SERVE], False, True)]
)
def test_a_service_that_does_not_run_is_grave_if_work_is_open_or_it_was_killed(
    known: list[RunningProcess], is_work_open: bool, is_grave: bool
):
    presence = presence_of(known, is_served_here=False, here="box", now=later(9))

    (lack,) = lacks(presence, wants_second=False, is_work_open=is_work_open)

    assert lack.is_grave is is_grave


def test_who_serves_is_known_while_the_database_is_away(tmp_path: Path):
    with loaded.claim(tmp_path):
        assert look(tmp_path, None, NOW).serves

    assert not look(tmp_path, None, NOW).serves


def test_of_a_service_whose_database_is_away_the_doctor_blames_neither_port_nor_reader(tmp_path: Path):
    folder = tmp_path / "data"
    with loaded.claim(folder), socket.create_server(("127.0.0.1", 0)) as port:
        loaded.tell(folder, loaded.Service(os.getpid(), 1, "sha256:ab"))
        away = f"postgresql+psycopg://preread@127.0.0.1:{a_free_port()}/preread"
        agent = f"""
            [storage]
            folder = "{folder}"
            database_url = "{away}"
            [listener]
            port = {port.getsockname()[1]}
            free_bytes_min = 0
        """

        told = run("doctor", "--no-model", "--json", "--config", a_config(tmp_path, agent=agent))[1]

    told_of = {one["area"]: one for one in json.loads(told)}
    assert told_of["database"]["verdict"] == "problem"
    assert told_of["port"]["text"].endswith("is preread's own, which runs")
    assert told_of["service"] == {
        "verdict": "ok",
        "area": "service",
        "text": "preread serve runs, as its lock says; who reads is not known while the database is not asked",
    }


def test_a_service_that_died_days_ago_is_still_told_with_its_time(tmp_path: Path, processes: Processes):
    assert processes.beat(SERVE)

    assert look(tmp_path, processes, later(5 * 86_400)).killed == SERVE


def test_a_service_that_was_killed_is_forgotten_once_another_has_taken_its_place(
    tmp_path: Path, processes: Processes
):
    following = replace(SERVE, pid=9, started_at=later(5), seen_at=later(5))
    elsewhere = replace(SERVE, host="other")
    for beat in (SERVE, elsewhere, following, replace(following, seen_at=later(66))):
        assert processes.beat(beat)
    processes.end(following)

    assert look(tmp_path, processes, later(67)).killed == elsewhere


def test_status_begins_with_what_does_not_run(tmp_path: Path):
    config = a_config(tmp_path, agent='[storage]\nfolder = "data"\n')
    open_store(load(config)).database.close()

    stopped = run("status", "--config", config)[1]
    with loaded.claim(tmp_path / "data"):
        running = run("status", "--config", config)[1]

    assert stopped.splitlines()[1] == "preread serve does not run; start it"
    assert "does not run" not in running
    assert "nobody reads" in running


def test_the_doctor_of_a_dead_service_with_open_work_exits_with_1(tmp_path: Path):
    port = f"[listener]\nport = {a_free_port()}\nfree_bytes_min = 0\n"
    config = a_config(tmp_path, agent='[storage]\nfolder = "data"\n' + port)
    store = open_store(load(config))
    an_open_job(store.index, store.jobs)
    now = system_clock()
    assert store.processes.beat(replace(SERVE, host=socket.gethostname(), seen_at=now))
    store.database.close()

    code, told = run("doctor", "--no-model", "--json", "--config", config)

    problems = [one["text"] for one in json.loads(told) if one["verdict"] == "problem"]
    assert code == 1
    assert [text.partition(" (last seen")[0] for text in problems] == ["preread serve does not run"]
