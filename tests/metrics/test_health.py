"""When a process is alive, and when a study that is sent now is taken and read soon."""

from datetime import timedelta
from typing import Any

import pytest

from agent.metrics.health import as_text, is_alive, is_ready
from storage.records import RunningProcess
from tests.storage.builders import NOW

READER = RunningProcess("read", "box", 17, NOW, NOW - timedelta(seconds=3), "sha256:ab", "m4cxr")


def not_ready(**facts: Any) -> list[str]:
    """The names of what is wrong, where the facts are those of a healthy process but for these."""
    healthy = {
        "database_problem": None,
        "is_listening": True,
        "free_bytes": 10**11,
        "free_bytes_min": 10**9,
        "reader": READER,
        "now": NOW,
        "reader_silent_seconds": 60.0,
    }
    return [one.name for one in is_ready(**{**healthy, **facts}) if not one.ok]


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ({}, []),
        ({"database_problem": "the database does not answer"}, ["database"]),
        ({"is_listening": False}, ["listener"]),
        ({"free_bytes": 10**9 - 1}, ["disk"]),
        ({"reader": None}, ["reader"]),
    ],
)
def test_a_study_is_taken_and_read_only_where_all_four_hold(facts: dict[str, Any], wrong: list[str]):
    assert not_ready(**facts) == wrong


def test_of_a_database_that_does_not_answer_nobody_is_sent_to_the_reader():
    conditions = is_ready(
        database_problem="the database does not answer",
        is_listening=True,
        free_bytes=10**11,
        free_bytes_min=10**9,
        reader=None,
        now=NOW,
        reader_silent_seconds=60.0,
    )

    assert (
        as_text(conditions).splitlines()[-1] == "PROBLEM reader: not known while the database does not answer"
    )


def test_a_thread_that_ended_and_a_clock_that_stands_need_a_new_start():
    well = is_alive([], 0.5)
    dead = is_alive(["gather"], 0.5)
    stopped = is_alive([], 121.0)

    assert all(one.ok for one in well)
    assert as_text(dead).startswith("PROBLEM threads: ended: gather; start preread anew\nok clock")
    assert [one.name for one in stopped if not one.ok] == ["clock"]
