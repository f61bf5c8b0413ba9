"""What is counted, and who runs: on SQLite and on PostgreSQL alike."""

from dataclasses import replace

import pytest

from storage.census import Census
from storage.database import Database
from storage.index import Index
from storage.jobs import Deliveries, Jobs
from storage.processes import Processes
from storage.records import InstanceRole, Refusal, RunningProcess, Stage, StepOutcome, StepTime
from storage.reports import Reports
from tests.storage.builders import (
    NOW,
    a_quarantined_message,
    an_open_job,
    claimed,
    claimed_deliveries,
    composed,
    later,
    put,
)

READER = RunningProcess("read", "box", 17, NOW, NOW, "sha256:ab", "m4cxr")


@pytest.fixture
def census(database: Database) -> Census:
    return Census(database)


@pytest.fixture
def processes(database: Database) -> Processes:
    return Processes(database)


def test_what_came_is_counted_once_and_a_study_with_its_first_instance(census: Census, index: Index):
    put(index, "2.25.1", content=b"four")
    marks = census.marks()
    put(index, "2.25.2", content=b"four")
    put(index, "2.25.8", study="2.25.200", content=b"three")
    put(index, "2.25.9", study="2.25.200", content=b"two", role=InstanceRole.REPORT)

    happened = census.since(marks)

    assert happened.studies == 1
    assert happened.instances == {InstanceRole.IMAGE: (2, 9), InstanceRole.REPORT: (1, 3)}
    again = census.since(happened.marks)
    assert (again.studies, again.instances) == (0, {})


def test_refusals_are_counted_by_the_status_that_was_answered(census: Census, index: Index):
    marks = census.marks()
    for status in (0xA700, None, 0xA700):
        index.refuse(Refusal(NOW, "XRAY1", "10.1.2.3", "", status, "disk low"))

    assert census.since(marks).refusals == {0xA700: 2, None: 1}


def test_a_step_leaves_the_seconds_from_its_claim_to_its_commit(census: Census, index: Index, jobs: Jobs):
    marks = census.marks()
    an_open_job(index, jobs)
    jobs.advance(claimed(jobs), Stage.READ, later(2), manifest_json="{}", event="gathered")
    at_read = claimed(jobs, Stage.READ, later(10))
    jobs.advance(at_read, Stage.COMPOSE, later(18), reading_json="{}", event="read", done_by="m4cxr")

    assert census.since(marks).step_times == (
        StepTime(later(2), Stage.GATHER, StepOutcome.DONE, "", 2.0),
        StepTime(later(18), Stage.READ, StepOutcome.DONE, "m4cxr", 8.0),
    )


def test_a_step_that_waits_leaves_none_and_one_that_errs_or_ends_says_so(
    census: Census, index: Index, jobs: Jobs
):
    marks = census.marks()
    an_open_job(index, jobs)
    jobs.later(claimed(jobs), "the archive sends", NOW, NOW)
    jobs.retry(claimed(jobs), "internal error", NOW, later(1))
    jobs.end(claimed(jobs), Stage.SKIPPED, "no frontal image", later(3))

    outcomes = [(time.outcome, time.seconds) for time in census.since(marks).step_times]

    assert outcomes == [(StepOutcome.ERROR, 1.0), (StepOutcome.SKIPPED, 3.0)]


def test_each_try_of_a_delivery_is_told_with_its_destination(
    census: Census, index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    marks = census.marks()
    first, second = claimed_deliveries(deliveries)
    deliveries.delivered(first, 0x0000, later(1))
    deliveries.later(second, "PACS is down", later(5), later(4))

    times = census.since(marks).step_times

    assert [(time.done_by, time.outcome, time.seconds) for time in times] == [
        ("PACS", StepOutcome.DONE, 1.0),
        ("PACS", StepOutcome.LATER, 4.0),
    ]


def test_only_the_newest_step_times_are_kept(
    census: Census, index: Index, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("storage.jobs.rows.STEP_TIMES_MAX", 1)
    marks = census.marks()

    composed(index, jobs)

    assert [time.stage for time in census.since(marks).step_times] == [Stage.COMPOSE]


def test_how_things_stand_is_told_by_stage_and_destination(
    census: Census, index: Index, jobs: Jobs, reports: Reports, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    first, _ = claimed_deliveries(deliveries)
    deliveries.later(first, "PACS is down", later(5), later(4))
    an_open_job(index, jobs, "2.25.300")
    put(index, "2.25.400", study="2.25.500")
    reports.quarantine(a_quarantined_message())

    standing = census.standing()

    assert {stage: number for stage, number in standing.jobs.items() if number} == {
        Stage.GATHER: 1,
        Stage.DELIVER: 1,
    }
    assert standing.oldest_opened_at == {Stage.GATHER: NOW, Stage.DELIVER: NOW}
    assert standing.deliveries == {"PACS": (2, later(4))}
    assert (standing.unread_studies, standing.quarantined) == (1, 1)


def test_bytes_are_summed_from_a_time_on(census: Census, index: Index):
    put(index, "2.25.1", content=b"four")
    put(index, "2.25.2", content=b"seven", received_at=later(60))

    assert (census.bytes_since(NOW), census.bytes_since(later(1))) == (9, 5)


def test_a_process_is_seen_as_of_its_last_beat(processes: Processes):
    assert processes.beat(READER)
    assert processes.beat(replace(READER, seen_at=later(5)))

    assert processes.seen_since(later(5)) == (replace(READER, seen_at=later(5)),)
    assert processes.seen_since(later(6)) == ()


def test_a_process_that_ended_is_not_seen_and_one_that_died_is_forgotten_after_a_day(processes: Processes):
    processes.beat(READER)
    processes.beat(replace(READER, pid=18))
    processes.end(READER)
    assert [process.pid for process in processes.seen_since(NOW)] == [18]

    processes.beat(replace(READER, pid=19, seen_at=later(86_401)))

    assert [process.pid for process in processes.seen_since(NOW)] == [19]
