"""Second readings on both databases: after the first, one for each job, and gone with the study."""

from datetime import timedelta

import pytest

from storage.audits import Audits
from storage.census import Census
from storage.database import Database
from storage.deletions import Deletions
from storage.holds import Holds
from storage.index import Index
from storage.jobs import Comparable, Jobs, LeaseLost, SecondReadings
from storage.records import Beside, Job, Priority, SecondReading, Stage, StepOutcome
from tests.storage.builders import LEASE_SECONDS, NOW, STUDY, an_open_job, at_compose, claimed, done, later

EVERY = Comparable(NOW - timedelta(days=7))


@pytest.fixture
def seconds(jobs: Jobs) -> SecondReadings:
    return jobs.second_readings


@pytest.fixture
def census(database: Database) -> Census:
    return Census(database)


def claim(
    seconds: SecondReadings, now_seconds: float = 0.0, wanted: Comparable = EVERY
) -> SecondReading | None:
    found = seconds.claim("second 1", later(now_seconds), LEASE_SECONDS, wanted)
    return None if found is None else found[0]


def a_claim(seconds: SecondReadings, now_seconds: float = 0.0) -> tuple[SecondReading, Job]:
    found = seconds.claim("second 1", later(now_seconds), LEASE_SECONDS, EVERY)
    assert found is not None
    return found


@pytest.mark.parametrize("stage", [Stage.GATHER, Stage.READ])
def test_nothing_is_taken_that_the_first_engine_has_not_read(
    index: Index, jobs: Jobs, seconds: SecondReadings, stage: Stage
):
    an_open_job(index, jobs)
    if stage is Stage.READ:
        jobs.advance(claimed(jobs), Stage.READ, NOW, manifest_json="{}", event="gathered")

    assert claim(seconds) is None


@pytest.mark.parametrize("waits_at", [Stage.READ, Stage.COMPOSE])
def test_while_a_draft_waits_for_the_first_reader_nothing_is_taken(
    index: Index, jobs: Jobs, seconds: SecondReadings, waits_at: Stage
):
    done(index, jobs)
    an_open_job(index, jobs, "2.25.200")
    jobs.advance(claimed(jobs), Stage.READ, NOW, manifest_json="{}", event="gathered")
    if waits_at is Stage.COMPOSE:
        jobs.advance(claimed(jobs, Stage.READ), Stage.COMPOSE, NOW, reading_json="{}", event="read")

    assert claim(seconds) is None
    jobs.end(claimed(jobs, waits_at), Stage.FAILED, "no", NOW)
    assert claim(seconds) is not None


def test_a_held_study_neither_waits_for_the_first_reader_nor_is_taken(
    index: Index, jobs: Jobs, seconds: SecondReadings, holds: Holds
):
    done(index, jobs)
    at_compose(index, jobs, "2.25.200")
    holds.hold("2.25.200", "somebody", "", NOW)

    first, job = a_claim(seconds)
    seconds.give_back(first)
    holds.hold(STUDY, "somebody", "", NOW)

    assert job.study_instance_uid == STUDY
    assert claim(seconds) is None


def test_the_newest_is_taken_first_and_each_once(index: Index, jobs: Jobs, seconds: SecondReadings):
    done(index, jobs)
    done(index, jobs, "2.25.200")

    taken = [a_claim(seconds)[1].study_instance_uid for _ in range(2)]

    assert taken == ["2.25.200", STUDY]
    assert claim(seconds) is None


@pytest.mark.parametrize(
    "wanted", [Comparable(later(1)), Comparable(NOW, frozenset({"films"}))], ids=["too old", "rule"]
)
def test_what_is_too_old_or_left_out_by_its_rule_is_not_taken(
    index: Index, jobs: Jobs, seconds: SecondReadings, wanted: Comparable
):
    an_open_job(index, jobs)
    decided = jobs.decide(claimed(jobs), "films", Priority.ROUTINE, 0.0, NOW, event="decided")
    jobs.advance(decided, Stage.READ, NOW, manifest_json="{}", event="gathered")
    read = jobs.advance(claimed(jobs, Stage.READ), Stage.COMPOSE, NOW, reading_json="{}", event="read")
    jobs.advance(claimed(jobs, read.stage), Stage.DONE, NOW, event="composed")

    assert claim(seconds, wanted=wanted) is None
    assert seconds.counts(wanted)["waiting"] == 0
    assert claim(seconds) is not None


def test_a_worker_that_died_loses_its_lease_and_that_counts_one_attempt(
    index: Index, jobs: Jobs, seconds: SecondReadings
):
    done(index, jobs)
    dead, job = a_claim(seconds)

    assert claim(seconds, LEASE_SECONDS - 1) is None
    taken_over = claim(seconds, LEASE_SECONDS)

    assert taken_over is not None
    assert (taken_over.number, taken_over.attempts) == (dead.number, 1)
    with pytest.raises(LeaseLost):
        seconds.keep(dead, job, "{}", NOW)


def test_what_is_kept_is_counted_audited_and_changes_nothing_of_the_job(
    index: Index, jobs: Jobs, seconds: SecondReadings, audits: Audits
):
    before = done(index, jobs)
    assert seconds.counts(EVERY) == {"waiting": 1, "read": 0, "failed": 0}

    second, job = a_claim(seconds)
    seconds.keep(second, job, '{"second": 1}', NOW)

    assert jobs.job(before.number) == before
    assert seconds.counts(EVERY) == {"waiting": 0, "read": 1, "failed": 0}
    ((found, kept),) = seconds.of_studies_since(NOW, 10)
    assert (found, kept.reading_json) == (before, '{"second": 1}')
    (record,) = [one for one in audits.waiting("filed_at", 100) if "second engine" in one.detail]
    assert (record.event, record.study_instance_uid) == ("read", STUDY)


def test_every_try_leaves_its_seconds_and_its_end_and_one_that_waits_leaves_none(
    index: Index, jobs: Jobs, seconds: SecondReadings, census: Census
):
    done(index, jobs)
    done(index, jobs, "2.25.200")
    marks = census.marks()
    seconds.later(a_claim(seconds)[0], "memory is short", later(1), NOW)
    seconds.retry(a_claim(seconds, 2)[0], "internal error", later(600), later(5))
    second, job = a_claim(seconds, 10)
    seconds.keep(second, job, "{}", later(17))
    seconds.fail(a_claim(seconds, 600)[0], "no memory", later(601))

    times = census.since(marks).step_times

    assert {time.stage for time in times} == {Beside.SECOND_READING}
    assert [(time.outcome, time.seconds) for time in times] == [
        (StepOutcome.ERROR, 3.0),
        (StepOutcome.DONE, 7.0),
        (StepOutcome.FAILED, 1.0),
    ]


def test_what_was_given_up_is_not_taken_again(index: Index, jobs: Jobs, seconds: SecondReadings):
    done(index, jobs)
    second, job = a_claim(seconds)

    seconds.fail(second, "no memory", NOW)

    assert claim(seconds, 10 * LEASE_SECONDS) is None
    assert seconds.counts(EVERY) == {"waiting": 0, "read": 0, "failed": 1}
    kept = seconds.of_job(job.number)
    assert kept is not None
    assert kept.problem == "no memory"


def test_what_waits_or_is_tried_again_is_due_when_it_was_said(
    index: Index, jobs: Jobs, seconds: SecondReadings
):
    done(index, jobs)
    seconds.later(a_claim(seconds)[0], "memory is short", later(30), NOW)
    assert claim(seconds, 29) is None

    waited, _ = a_claim(seconds, 30)
    assert (waited.attempts, waited.waiting_since) == (0, NOW)
    seconds.retry(waited, "internal error", later(60), later(35))

    tried, _ = a_claim(seconds, 60)
    assert tried.attempts == 1


def test_a_deleted_study_takes_its_second_reading_along_even_from_a_worker(
    index: Index, jobs: Jobs, seconds: SecondReadings, deletions: Deletions
):
    done(index, jobs)
    second, job = a_claim(seconds)

    deletions.delete_study(STUDY, "somebody", "wrong patient", NOW)

    assert seconds.of_job(job.number) is None
    with pytest.raises(LeaseLost):
        seconds.keep(second, job, "{}", NOW)


def test_a_study_whose_images_were_deleted_is_not_taken(
    index: Index, jobs: Jobs, seconds: SecondReadings, deletions: Deletions
):
    done(index, jobs)
    (age,) = deletions.ages(0, 10)
    assert deletions.forget_images(age, "old", NOW) is not None

    assert claim(seconds) is None
