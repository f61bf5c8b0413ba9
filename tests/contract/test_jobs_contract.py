"""What the worklist promises about jobs, leases and stages, on SQLite and on PostgreSQL alike."""

import pytest

from storage.database import Database
from storage.index import Index
from storage.jobs import Deliveries, Jobs, LeaseLost
from storage.records import Event, Stage
from tests.storage.builders import (
    LEASE_SECONDS,
    NOW,
    STUDY,
    a_result,
    an_open_job,
    at_compose,
    claimed,
    composed,
    later,
    put,
    texts,
)

# Opening


def test_the_first_job_of_a_study_is_revision_one_at_gather(index: Index, jobs: Jobs):
    put(index)

    job = jobs.open(STUDY, 1, "both views are here", NOW)

    assert job is not None
    assert (job.revision, job.watermark, job.stage, job.attempts) == (1, 1, Stage.GATHER, 0)
    assert (job.complete_because, job.due_at, job.opened_at) == ("both views are here", NOW, NOW)
    assert jobs.job(job.number) == job
    assert texts(jobs)[-1] == "revision 1 opened up to instance 1: both views are here"


def test_no_second_job_is_opened_over_the_same_images(index: Index, jobs: Jobs):
    put(index, "2.25.1")
    put(index, "2.25.2")
    jobs.open(STUDY, 2, "quiet", NOW)

    assert jobs.open(STUDY, 2, "quiet", NOW) is None
    assert jobs.open(STUDY, 1, "quiet", NOW) is None


def test_a_higher_watermark_opens_the_next_revision(index: Index, jobs: Jobs):
    put(index, "2.25.1")
    jobs.open(STUDY, 1, "quiet", NOW)
    put(index, "2.25.2")

    job = jobs.open(STUDY, 2, "quiet", NOW)

    assert job is not None
    assert job.revision == 2
    assert [one.revision for one in jobs.jobs_of_study(STUDY)] == [1, 2]


def test_a_job_for_a_study_nobody_sent_is_refused(jobs: Jobs):
    with pytest.raises(LookupError, match=r"study 2\.25\.9 is unknown"):
        jobs.open("2.25.9", 1, "quiet", NOW)


def test_the_operator_gets_a_new_revision_over_everything_that_is_here(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    jobs.end(claimed(jobs), Stage.FAILED, "no frontal image", NOW)

    job = jobs.again(STUDY, later(60))

    assert (job.revision, job.watermark, job.stage) == (2, 1, Stage.GATHER)
    assert job.complete_because == "asked for by the operator"


def test_again_is_refused_while_a_job_is_on_its_way(index: Index, jobs: Jobs):
    job = an_open_job(index, jobs)

    with pytest.raises(LookupError, match=f"job {job.number} of study .* on its way .stage gather"):
        jobs.again(STUDY, NOW)


def test_again_for_a_study_nobody_sent_is_refused(jobs: Jobs):
    with pytest.raises(LookupError, match=r"study 2\.25\.9 is unknown"):
        jobs.again("2.25.9", NOW)


# Claiming


def test_a_claimed_job_is_its_owners_and_nobody_elses(index: Index, jobs: Jobs):
    an_open_job(index, jobs)

    job = claimed(jobs, owner="worker 1")

    assert (job.lease_owner, job.lease_until) == ("worker 1", later(LEASE_SECONDS))
    assert jobs.claim([Stage.GATHER], "worker 2", NOW, LEASE_SECONDS) is None


def test_only_the_asked_stages_are_claimed(index: Index, jobs: Jobs):
    job = an_open_job(index, jobs)

    assert jobs.claim([Stage.READ, Stage.COMPOSE], "worker", NOW, LEASE_SECONDS) is None
    claim = jobs.claim([Stage.READ, Stage.GATHER], "worker", NOW, LEASE_SECONDS)
    assert claim is not None
    assert claim.number == job.number


@pytest.mark.parametrize("stage", [Stage.DELIVER, Stage.DONE, Stage.SKIPPED, Stage.FAILED])
def test_a_stage_without_a_step_is_not_claimed(jobs: Jobs, stage: Stage):
    with pytest.raises(ValueError, match=f"gather, read, compose, not at {stage}"):
        jobs.claim([stage], "worker", NOW, LEASE_SECONDS)


def test_a_job_is_not_claimed_before_it_is_due(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    jobs.later(claimed(jobs), "PACS is down", later(30), NOW)

    assert jobs.claim([Stage.GATHER], "worker", later(29), LEASE_SECONDS) is None
    assert jobs.claim([Stage.GATHER], "worker", later(30), LEASE_SECONDS) is not None


def test_the_job_that_is_due_longest_comes_first(index: Index, jobs: Jobs):
    first, second = an_open_job(index, jobs, "2.25.10"), an_open_job(index, jobs, "2.25.20")
    jobs.later(claimed(jobs), "not yet", later(30), NOW)

    order = [claimed(jobs, now=later(30)).number for _ in range(2)]

    assert order == [second.number, first.number]


def test_a_lease_that_ran_out_is_claimable_and_counts_one_attempt(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    claimed(jobs, owner="worker 1")

    job = claimed(jobs, now=later(LEASE_SECONDS), owner="worker 2")

    assert (job.lease_owner, job.attempts) == ("worker 2", 1)
    assert texts(jobs)[-1] == "worker 1 did not finish gather; worker 2 has it now"


def test_a_lease_is_extended_while_the_work_goes_on(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    job = claimed(jobs)

    jobs.extend(job, later(50), LEASE_SECONDS)

    assert jobs.claim([Stage.GATHER], "worker 2", later(109), LEASE_SECONDS) is None
    assert jobs.claim([Stage.GATHER], "worker 2", later(110), LEASE_SECONDS) is not None


CHANGES = {
    "advance": lambda jobs, job: jobs.advance(job, Stage.READ, NOW, event="gathered"),
    "extend": lambda jobs, job: jobs.extend(job, NOW, LEASE_SECONDS),
    "later": lambda jobs, job: jobs.later(job, "not yet", NOW, NOW),
    "retry": lambda jobs, job: jobs.retry(job, "a bug", NOW, NOW),
    "end": lambda jobs, job: jobs.end(job, Stage.FAILED, "no", NOW),
    "give_back": lambda jobs, job: jobs.give_back(job, NOW),
}


@pytest.mark.parametrize("change", CHANGES)
def test_who_lost_the_lease_changes_nothing(index: Index, jobs: Jobs, change: str):
    an_open_job(index, jobs)
    old = claimed(jobs, owner="worker")
    new = claimed(jobs, now=later(LEASE_SECONDS), owner="worker")
    told = texts(jobs)

    with pytest.raises(LeaseLost):
        CHANGES[change](jobs, old)

    assert jobs.job(old.number) == new
    assert texts(jobs) == told


@pytest.mark.parametrize("change", CHANGES)
def test_who_never_claimed_changes_nothing(index: Index, jobs: Jobs, change: str):
    job = an_open_job(index, jobs)

    with pytest.raises(LeaseLost):
        CHANGES[change](jobs, job)

    assert jobs.job(job.number) == job


def test_a_late_worker_may_still_finish_if_nobody_took_over(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    job = claimed(jobs)

    moved = jobs.advance(job, Stage.READ, later(10 * LEASE_SECONDS), event="gathered")

    assert (moved.stage, moved.attempts) == (Stage.READ, 0)


# Moving


def test_a_step_commits_its_work_with_the_next_stage(index: Index, jobs: Jobs):
    an_open_job(index, jobs)

    jobs.advance(claimed(jobs), Stage.READ, later(1), manifest_json='{"é": 1}', event="two images, one prior")
    moved = jobs.advance(claimed(jobs, Stage.READ, later(1)), Stage.COMPOSE, later(2), event="read")

    assert moved.manifest_json == '{"é": 1}'
    assert (moved.stage, moved.lease_owner, moved.lease_until) == (Stage.COMPOSE, None, None)
    assert (moved.changed_at, moved.due_at) == (later(2), later(2))
    assert texts(jobs)[-2:] == ["two images, one prior", "read"]


def test_a_new_stage_begins_with_no_attempts_and_no_waiting(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    jobs.retry(claimed(jobs), "a bug", NOW, NOW)
    jobs.later(claimed(jobs), "not yet", NOW, NOW)

    moved = jobs.advance(claimed(jobs), Stage.READ, NOW, event="gathered", problem="no priors came")

    assert (moved.attempts, moved.waiting_since, moved.problem) == (0, None, "no priors came")


def test_a_job_does_not_jump(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    job = claimed(jobs)

    with pytest.raises(ValueError, match="a job at gather does not go to compose"):
        jobs.advance(job, Stage.COMPOSE, NOW, event="jumped")

    assert jobs.job(job.number) == job


def test_waiting_costs_no_attempt_and_keeps_its_beginning(index: Index, jobs: Jobs):
    an_open_job(index, jobs)

    jobs.later(claimed(jobs), "PACS is down", later(30), NOW)
    waiting = jobs.later(claimed(jobs, now=later(30)), "PACS is down", later(60), later(30))

    assert (waiting.attempts, waiting.waiting_since, waiting.due_at) == (0, NOW, later(60))
    assert waiting.problem == "PACS is down"


def test_waiting_for_the_same_thing_is_told_once(index: Index, jobs: Jobs):
    an_open_job(index, jobs)

    for seconds, reason in [(0, "PACS is down"), (30, "PACS is down"), (60, "disk is full")]:
        jobs.later(claimed(jobs, now=later(seconds)), reason, later(seconds + 30), later(seconds))

    assert texts(jobs)[-2:] == ["gather waits: PACS is down", "gather waits: disk is full"]


def test_a_try_that_ended_badly_counts(index: Index, jobs: Jobs):
    an_open_job(index, jobs)

    jobs.retry(claimed(jobs), "internal error", later(5), NOW)
    job = jobs.retry(claimed(jobs, now=later(5)), "internal error", later(9), later(5))

    assert (job.attempts, job.due_at, job.lease_owner) == (2, later(9), None)


def test_stopping_a_worker_frees_its_job_and_costs_no_attempt(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    jobs.retry(claimed(jobs), "internal error", NOW, NOW)

    jobs.give_back(claimed(jobs, owner="worker 1"), later(1))

    assert claimed(jobs, now=later(1), owner="worker 2").attempts == 1


@pytest.mark.parametrize("stage", [Stage.SKIPPED, Stage.FAILED])
def test_an_ended_job_is_never_claimed_again(index: Index, jobs: Jobs, stage: Stage):
    an_open_job(index, jobs)

    ended = jobs.end(claimed(jobs), stage, "no frontal image", later(1))

    assert (ended.stage, ended.problem) == (stage, "no frontal image")
    everywhere = [Stage.GATHER, Stage.READ, Stage.COMPOSE]
    assert jobs.claim(everywhere, "worker", later(9999), LEASE_SECONDS) is None
    assert texts(jobs)[-1] == f"{stage} in gather: no frontal image"


def test_a_job_is_not_ended_as_done_by_hand(index: Index, jobs: Jobs):
    an_open_job(index, jobs)

    with pytest.raises(ValueError, match="skipped or failed"):
        jobs.end(claimed(jobs), Stage.DONE, "", NOW)


# Results


def test_composing_leaves_results_and_one_delivery_for_each_object_and_destination(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = composed(index, jobs, "PACS", "ARCHIVE")

    results = jobs.results_of_job(job.number)
    listed = deliveries.of_job(job.number)

    assert [result.kind for result in results] == ["report_sr", "secondary_capture"]
    assert [delivery.destination for delivery in listed] == ["PACS", "PACS", "ARCHIVE", "ARCHIVE"]
    assert {delivery.sop_instance_uid for delivery in listed} == {one.sop_instance_uid for one in results}
    assert job.stage == Stage.DELIVER


def test_a_job_that_nobody_wants_anything_of_is_done_at_once(index: Index, jobs: Jobs):
    job = at_compose(index, jobs)

    moved = jobs.advance(
        job, Stage.DELIVER, NOW, results=[a_result(job)], destinations={"PACS": []}, event="composed"
    )

    assert moved.stage == Stage.DONE
    assert texts(jobs)[-1] == "no destination wants anything of it: done"


def test_the_same_result_twice_is_one_result_and_one_delivery(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = at_compose(index, jobs)
    result = a_result(job)
    twice = {"PACS": [result.sop_instance_uid] * 2}

    jobs.advance(job, Stage.DELIVER, NOW, results=[result, result], destinations=twice, event="composed")

    assert jobs.results_of_job(job.number) == (result,)
    assert len(deliveries.of_job(job.number)) == 1


def test_a_result_with_other_content_under_the_same_uid_is_refused_and_nothing_moves(
    index: Index, jobs: Jobs
):
    job = at_compose(index, jobs)

    with pytest.raises(ValueError, match="recorded with other content"):
        jobs.advance(
            job,
            Stage.DELIVER,
            NOW,
            results=[a_result(job), a_result(job, content=b"other")],
            event="composed",
        )

    assert jobs.job(job.number) == job
    assert jobs.results_of_job(job.number) == ()


def test_the_previous_results_are_those_of_the_latest_revision_that_has_any(index: Index, jobs: Jobs):
    first = at_compose(index, jobs)
    jobs.advance(first, Stage.DELIVER, NOW, results=[a_result(first)], event="composed")
    jobs.again(STUDY, NOW)
    jobs.end(claimed(jobs), Stage.FAILED, "no frontal image", NOW)

    assert jobs.previous_results(STUDY, 3) == (a_result(first),)
    assert jobs.previous_results(STUDY, 1) == ()


def test_the_previous_results_reach_back_to_where_a_kind_was_made_last(index: Index, jobs: Jobs):
    first = at_compose(index, jobs)
    old, picture = a_result(first), a_result(first, "secondary_capture")
    jobs.advance(first, Stage.DELIVER, NOW, results=[old, picture], event="composed")
    jobs.again(STUDY, NOW)
    jobs.advance(claimed(jobs), Stage.READ, NOW, manifest_json="{}", event="gathered")
    jobs.advance(claimed(jobs, Stage.READ), Stage.COMPOSE, NOW, reading_json="{}", event="read")
    second = claimed(jobs, Stage.COMPOSE)
    jobs.advance(second, Stage.DELIVER, NOW, results=[a_result(second)], event="composed")

    assert set(jobs.previous_results(STUDY, 3)) == {a_result(second), picture}


# Looking


def test_an_unknown_job_is_a_lookup_error(jobs: Jobs):
    with pytest.raises(LookupError, match="there is no job 9"):
        jobs.job(9)


def test_the_latest_jobs_are_told_newest_first(index: Index, jobs: Jobs):
    opened = [an_open_job(index, jobs, f"2.25.{number}0") for number in range(1, 4)]

    assert jobs.latest(2) == (opened[2], opened[1])


def test_every_stage_is_counted(index: Index, jobs: Jobs):
    composed(index, jobs, "PACS")
    an_open_job(index, jobs, "2.25.200")

    assert jobs.counts() == dict.fromkeys(Stage, 0) | {Stage.DELIVER: 1, Stage.GATHER: 1}


def test_the_life_of_a_study_is_told_in_order(index: Index, jobs: Jobs):
    job = an_open_job(index, jobs)
    note = Event(later(1), STUDY, job.number, "the operator looked at it")

    jobs.note(note)
    jobs.end(claimed(jobs, now=later(2)), Stage.SKIPPED, "older than 30 days", later(2))

    told = jobs.events_of_study(STUDY)
    assert [event.text.split()[0] for event in told] == ["instance", "revision", "the", "skipped"]
    assert told[2] == note


def test_a_rolled_back_change_leaves_no_trace(database: Database, index: Index, jobs: Jobs):
    job = an_open_job(index, jobs)

    def change_and_stumble() -> None:
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE jobs SET attempts = 9")
            raise LookupError("stumbled")

    with pytest.raises(LookupError, match="stumbled"):
        change_and_stumble()
    assert jobs.job(job.number) == job


# What somebody has to see to


def failed(index: Index, jobs: Jobs, study: str, seconds: float) -> None:
    an_open_job(index, jobs, study)
    jobs.end(claimed(jobs), Stage.FAILED, "no frontal image", later(seconds))


def test_what_failed_since_is_found_newest_first_however_many_came_after(index: Index, jobs: Jobs):
    for number, seconds in enumerate((10, 30, 20, 40)):
        failed(index, jobs, f"2.25.20{number}", seconds)
    an_open_job(index, jobs, "2.25.300")

    found, count = jobs.failed_since(later(20), 2)

    assert [job.study_instance_uid for job in found] == ["2.25.203", "2.25.201"]
    assert count == 3


def test_what_failed_and_was_read_again_needs_nobody(index: Index, jobs: Jobs):
    failed(index, jobs, STUDY, 10)
    jobs.again(STUDY, later(20))

    assert jobs.failed_since(NOW, 9) == ((), 0)


def test_what_was_skipped_or_done_has_not_failed(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    jobs.end(claimed(jobs), Stage.SKIPPED, "a rule said no", NOW)

    assert jobs.failed_since(NOW, 9) == ((), 0)


def test_what_waits_for_the_world_is_found_the_longest_first(index: Index, jobs: Jobs):
    for number, seconds in enumerate((20, 10, 30)):
        an_open_job(index, jobs, f"2.25.20{number}")
        jobs.later(claimed(jobs), "the archive is down", later(900), later(seconds))
    an_open_job(index, jobs, "2.25.300")

    found, count = jobs.waiting(2)

    assert [job.study_instance_uid for job in found] == ["2.25.201", "2.25.200"]
    assert count == 3
