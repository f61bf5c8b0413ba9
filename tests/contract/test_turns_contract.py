"""In which order jobs are read: the urgent ones first, and nobody waits for ever."""

from datetime import datetime

import pytest

from storage.index import Index
from storage.jobs import Jobs, LeaseLost
from storage.records import Job, Priority, Stage
from tests.storage.builders import LEASE_SECONDS, NOW, an_open_job, claimed, later, texts

YIELDS = {Priority.STAT: 0.0, Priority.URGENT: 300.0, Priority.ROUTINE: 600.0}


def ready(index: Index, jobs: Jobs, study: str, priority: Priority, at: datetime = NOW) -> str:
    """A study that waits to be read since then; its UID."""
    an_open_job(index, jobs, study)
    job = claimed(jobs, now=at)
    job = jobs.decide(job, "a rule", priority, YIELDS[priority], at, event="decided")
    jobs.advance(job, Stage.READ, at, manifest_json="{}", event="gathered")
    return study


def read_in_order(jobs: Jobs, at: datetime) -> list[str]:
    claims = iter(lambda: jobs.claim([Stage.READ], "reader", at, LEASE_SECONDS), None)
    return [job.study_instance_uid for job in claims]


def test_stat_goes_before_urgent_and_urgent_before_routine(index: Index, jobs: Jobs):
    routine = ready(index, jobs, "2.25.101", Priority.ROUTINE)
    urgent = ready(index, jobs, "2.25.102", Priority.URGENT, later(1))
    stat = ready(index, jobs, "2.25.103", Priority.STAT, later(2))

    assert read_in_order(jobs, later(3)) == [stat, urgent, routine]


def test_of_one_priority_the_first_goes_first(index: Index, jobs: Jobs):
    first = ready(index, jobs, "2.25.102", Priority.ROUTINE)
    second = ready(index, jobs, "2.25.101", Priority.ROUTINE, later(1))

    assert read_in_order(jobs, later(2)) == [first, second]


def test_a_routine_study_is_not_overtaken_by_what_comes_after_its_time(index: Index, jobs: Jobs):
    routine = ready(index, jobs, "2.25.101", Priority.ROUTINE)
    in_time = ready(index, jobs, "2.25.102", Priority.STAT, later(599))
    too_late = ready(index, jobs, "2.25.103", Priority.STAT, later(601))

    assert read_in_order(jobs, later(700)) == [in_time, routine, too_late]


def test_a_stream_of_stat_studies_lets_a_routine_one_through(index: Index, jobs: Jobs):
    """One STAT study comes each minute, and one study can be read in that time."""
    routine = ready(index, jobs, "2.25.100", Priority.ROUTINE)
    read: list[str] = []
    for minute in range(1, 21):
        ready(index, jobs, f"2.25.{200 + minute}", Priority.STAT, later(60 * minute))
        job = jobs.claim([Stage.READ], "reader", later(60 * minute), LEASE_SECONDS)
        assert job is not None
        jobs.advance(job, Stage.COMPOSE, later(60 * minute), reading_json="{}", event="read")
        read.append(job.study_instance_uid)

    assert read.index(routine) == 9


def test_a_job_that_had_to_wait_yields_from_the_time_it_is_due_again(index: Index, jobs: Jobs):
    routine = ready(index, jobs, "2.25.101", Priority.ROUTINE)
    jobs.later(claimed(jobs, Stage.READ), "no memory", later(100), NOW)
    stat = ready(index, jobs, "2.25.102", Priority.STAT, later(650))

    assert read_in_order(jobs, later(699)) == [stat, routine]


def test_what_was_decided_is_kept_on_the_job_and_told(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    job = claimed(jobs)

    decided = jobs.decide(job, "bedside", Priority.STAT, 0.0, NOW, event='rule "bedside"')

    assert (decided.rule, decided.priority, decided.lease_owner) == ("bedside", Priority.STAT, "worker 1")
    assert jobs.job(job.number) == decided
    assert texts(jobs)[-1] == 'rule "bedside"'


def test_who_has_lost_the_lease_decides_nothing(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    lost = claimed(jobs)
    claimed(jobs, now=later(LEASE_SECONDS + 1), owner="worker 2")

    with pytest.raises(LeaseLost):
        jobs.decide(lost, "bedside", Priority.STAT, 0.0, NOW, event="decided")


def test_the_newest_job_of_each_study_of_some_time_is_listed(index: Index, jobs: Jobs):
    an_open_job(index, jobs, "2.25.101")
    for study in ("2.25.102", "2.25.103"):
        an_open_job(index, jobs, study)
        ended(jobs, claimed_of(jobs, study))
        jobs.again(study, later(60))

    found = jobs.opened_since(later(60), limit=100)

    assert [(job.study_instance_uid, job.revision) for job in found] == [("2.25.102", 2), ("2.25.103", 2)]
    assert len(jobs.opened_since(NOW, limit=100)) == 3
    assert [job.study_instance_uid for job in jobs.opened_since(NOW, limit=1)] == ["2.25.103"]


def claimed_of(jobs: Jobs, study: str) -> Job:
    claims = iter(lambda: jobs.claim([Stage.GATHER], "worker", NOW, LEASE_SECONDS), None)
    return next(job for job in claims if job.study_instance_uid == study)


def ended(jobs: Jobs, job: Job) -> None:
    jobs.end(job, Stage.SKIPPED, "a rule says no", NOW)


def test_what_was_read_is_composed_before_the_next_is_read_also_if_that_is_urgent(index: Index, jobs: Jobs):
    begun = ready(index, jobs, "2.25.101", Priority.ROUTINE)
    job = claimed(jobs, Stage.READ)
    waiting = [
        ready(index, jobs, study, priority, later(1))
        for study, priority in (("2.25.102", Priority.STAT), ("2.25.103", Priority.ROUTINE))
    ]
    jobs.advance(job, Stage.COMPOSE, later(5), reading_json="{}", event="read")

    claims = iter(lambda: jobs.claim([Stage.COMPOSE, Stage.READ], "reader", later(6), LEASE_SECONDS), None)
    taken = [(job.study_instance_uid, job.stage) for job in claims]

    assert taken == [(begun, Stage.COMPOSE), *((study, Stage.READ) for study in waiting)]
