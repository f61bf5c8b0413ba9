"""What the doctor says of what was seen; nothing is looked at here."""

import errno
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.doctor.certificates import Validity, judge_validity
from agent.doctor.databases import judge_database
from agent.doctor.disks import DiskFacts, judge_disk
from agent.doctor.lines import Line, Verdict, as_text
from agent.doctor.machine import (
    Card,
    PortFacts,
    cards_of,
    judge_cards,
    judge_clock,
    judge_port,
    judge_processes,
)
from agent.doctor.network import judge_offer
from agent.doctor.ownership import judge_config, judge_secret
from agent.peers import Offered
from agent.presence import Presence, presence_of
from storage.inspection import DatabaseFacts
from storage.records import RunningProcess
from tests.storage.builders import NOW

GB = 10**9
DISK = DiskFacts(Path("/data"), "ext4", 100 * GB, 0.003)
SERVE = RunningProcess("serve", "box", 7, NOW, NOW, "sha256:ab")
READ = replace(SERVE, role="read", pid=8, engine="M4CXR (sha256:12)")
CARD = Card(0, "NVIDIA L4", 23034, 22000, "570.10")
POSTGRESQL = DatabaseFacts(
    "postgresql://db/preread",
    "PostgreSQL 16.2",
    "0002",
    {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"},
)
SQLITE = DatabaseFacts("sqlite:///a", "SQLite 3.46", "0002", {"journal_mode": "wal", "quick_check": "ok"})


def not_ok(lines: Any) -> list[tuple[str, str]]:
    """(verdict, text) of the lines that are not ok."""
    return [(str(line.verdict), line.text) for line in lines if line.verdict is not Verdict.OK]


def seen(*processes: RunningProcess) -> Presence:
    """These run, on another machine."""
    return presence_of(processes, None, "", NOW)


def disk_lines(
    facts: DiskFacts = DISK, *, by_day: float | None = GB, sqlite: bool = True
) -> list[tuple[str, str]]:
    return not_ok(judge_disk(facts, GB, by_day, holds_database=sqlite))


def test_a_disk_of_this_machine_with_room_for_weeks_is_fine():
    assert disk_lines() == []


@pytest.mark.parametrize(
    ("facts", "verdict", "says"),
    [
        (replace(DISK, file_system="nfs4"), "problem", "SQLite loses data on a network share"),
        (replace(DISK, file_system="tmpfs"), "problem", "which is memory"),
        (replace(DISK, file_system="overlay"), "warning", "a container's own layer"),
        (
            replace(DISK, free_bytes=GB // 2),
            "problem",
            "0.5 GB free, below listener.free_bytes_min of 1.0 GB",
        ),
        (replace(DISK, free_bytes=6 * GB), "warning", "enough for 5 days; make room"),
        (replace(DISK, fsync_seconds=0.2), "warning", "synced in 200.00 ms: each image waits"),
        (replace(DISK, fsync_seconds=5e-6), "warning", "no disk is so quick"),
        (
            replace(DISK, fsync_seconds=None, problem="Read-only file system"),
            "problem",
            "Read-only file system",
        ),
    ],
)
def test_a_disk_that_is_not_fine_is_told_with_what_to_do(facts: DiskFacts, verdict: str, says: str):
    ((told, text),) = disk_lines(facts)

    assert told == verdict
    assert says in text


def test_a_network_share_without_the_database_is_only_a_warning():
    ((told, _),) = disk_lines(replace(DISK, file_system="nfs"), sqlite=False)

    assert told == "warning"


@pytest.mark.parametrize("facts", [POSTGRESQL, SQLITE, DatabaseFacts("sqlite:///not/there/yet")])
def test_a_database_that_keeps_what_it_is_given_is_fine(facts: DatabaseFacts):
    assert not_ok(judge_database(facts, ("0001", "0002"))) == []


@pytest.mark.parametrize(
    ("facts", "verdict", "says"),
    [
        (
            replace(POSTGRESQL, problem="connection refused"),
            "problem",
            "connection refused; correct [storage]",
        ),
        (
            replace(POSTGRESQL, revision="0001"),
            "warning",
            "the next start makes it 0002: make a backup before",
        ),
        (replace(POSTGRESQL, revision="9999"), "problem", "start the newer program"),
        (replace(POSTGRESQL, settings={"fsync": "off"}), "problem", "set fsync = on"),
        (replace(POSTGRESQL, ahead_seconds=-7.5), "problem", "its clock is 7.5 s behind ours"),
        (replace(POSTGRESQL, ahead_seconds=0.9), "warning", "its clock is 0.9 s ahead of ours"),
        (replace(POSTGRESQL, answer_seconds=0.3), "warning", "answers in 300.0 ms"),
        (
            replace(SQLITE, settings={"journal_mode": "delete"}),
            "warning",
            "its journal mode is delete, not wal",
        ),
        (replace(SQLITE, settings={"quick_check": "row 7 missing"}), "problem", "damaged (row 7 missing)"),
    ],
)
def test_a_database_that_may_lose_something_is_told_with_what_to_do(
    facts: DatabaseFacts, verdict: str, says: str
):
    ((told, text),) = not_ok(judge_database(facts, ("0001", "0002")))

    assert told == verdict
    assert says in text


@pytest.mark.parametrize(
    ("days", "verdict", "says"),
    [
        (90, "ok", "90 days left"),
        (29, "warning", "29 days left; have it renewed"),
        (-3, "problem", "3 days ago"),
    ],
)
def test_a_certificate_is_judged_by_its_days(days: int, verdict: str, says: str):
    validity = Validity(NOW - timedelta(days=300), NOW + timedelta(days=days))

    line = judge_validity("listener", validity, NOW)

    assert line.verdict == verdict
    assert says in line.text


def test_a_certificate_of_tomorrow_asks_for_the_clock():
    line = judge_validity("listener", Validity(NOW + timedelta(days=1), NOW + timedelta(days=9)), NOW)

    assert (line.verdict, line.text.rpartition("; ")[2]) == ("problem", "is the clock of this machine right?")


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o600, "ok"), (0o640, "ok"), (0o660, "warning"), (0o604, "problem")]
)
def test_a_secret_is_for_its_owner_and_at_most_read_by_its_group(mode: int, verdict: str):
    assert judge_secret("listener.tls.key_file", Path("/etc/key"), mode).verdict == verdict


@pytest.mark.parametrize(("mode", "verdict"), [(0o644, "ok"), (0o666, "problem")])
def test_a_configuration_may_be_read_and_not_written_by_everybody(mode: int, verdict: str):
    assert judge_config(Path("/etc/preread/agent.toml"), mode).verdict == verdict


@pytest.mark.parametrize(
    ("facts", "pids", "verdict"),
    [
        (PortFacts("listener.port", "::", 104, 0), set(), "ok"),
        (PortFacts("listener.port", "::", 104, errno.EADDRINUSE, 7), {7}, "ok"),
        (PortFacts("listener.port", "::", 104, errno.EADDRINUSE, None), {7}, "ok"),
        (PortFacts("listener.port", "::", 104, errno.EADDRINUSE, 99), {7}, "problem"),
        (PortFacts("listener.port", "::", 104, errno.EADDRINUSE, None), set(), "problem"),
        (PortFacts("listener.port", "::", 104, errno.EACCES), set(), "problem"),
        (PortFacts("listener.port", "10.9.9.9", 104, errno.EADDRNOTAVAIL), set(), "problem"),
    ],
)
def test_a_port_is_free_or_ours_or_a_problem(facts: PortFacts, pids: set[int], verdict: str):
    assert judge_port(facts, pids).verdict == verdict


@pytest.mark.parametrize(
    ("processes", "wrong"),
    [
        ([SERVE, READ], []),
        ([SERVE], ["nobody reads"]),
        ([], ["preread serve does not run; start it"]),
        (
            [replace(SERVE, config_digest="sha256:cd"), READ],
            ["runs with another configuration than this one", "cannot open the model that is configured now"],
        ),
    ],
)
def test_preread_is_whole_where_both_run_with_this_configuration(
    processes: list[RunningProcess], wrong: list[str]
):
    told = not_ok(judge_processes(seen(*processes), "sha256:ab", NOW))

    assert len(told) == len(wrong)
    assert all(says in text for says, (_, text) in zip(wrong, told, strict=True))


def test_a_second_engine_that_does_not_read_is_a_warning_and_no_problem():
    second = replace(READ, role="read --second", pid=9)

    ((verdict, text),) = not_ok(judge_processes(seen(SERVE, READ), "sha256:ab", NOW, wants_second=True))

    assert verdict == str(Verdict.WARNING)
    assert "the second engine does not read" in text
    assert not_ok(judge_processes(seen(SERVE, READ, second), "sha256:ab", NOW, wants_second=True)) == []


def test_a_service_that_does_not_run_is_a_warning_and_a_problem_once_work_waits():
    verdicts = [
        line.verdict
        for is_work_open in (False, True)
        for line in judge_processes(seen(), "sha256:ab", NOW, is_work_open=is_work_open)
    ]

    assert verdicts == [Verdict.WARNING, Verdict.PROBLEM]


def test_cards_are_read_as_the_driver_writes_them():
    assert cards_of("0, NVIDIA L4, 23034, 22000, 570.10\n") == (CARD,)


@pytest.mark.parametrize(
    ("cards", "device", "verdicts"),
    [
        ((CARD,), "auto", ["ok"]),
        ((CARD,), "cuda", ["ok"]),
        ((CARD,), "cuda:1", ["ok", "problem"]),
        ("nvidia-smi is not installed", "cuda", ["problem"]),
        ("nvidia-smi is not installed", "auto", ["ok"]),
    ],
)
def test_the_device_of_the_settings_must_be_there(cards: Any, device: str, verdicts: list[str]):
    assert [line.verdict for line in judge_cards(cards, device)] == verdicts


@pytest.mark.parametrize(("answer", "verdict"), [(True, "ok"), (False, "warning"), (None, "warning")])
def test_a_clock_that_nobody_vouches_for_is_a_warning(answer: bool | None, verdict: str):
    assert judge_clock(answer).verdict == verdict


def test_a_peer_that_refuses_a_class_is_a_problem_with_its_name():
    line = judge_offer('destination "pacs"', Offered(("Basic Text SR Storage",), ("Segmentation Storage",)))

    assert line.verdict is Verdict.PROBLEM
    assert 'destination "pacs" does not accept Segmentation Storage' in line.text


def test_the_text_ends_with_how_many_things_are_not_ok():
    lines = [Line(Verdict.OK, "disk", "fine"), Line(Verdict.PROBLEM, "port", "taken; end that")]

    assert as_text(lines) == (
        "ok      disk: fine\nPROBLEM port: taken; end that\n1 problems, 0 warnings, 2 things looked at"
    )
