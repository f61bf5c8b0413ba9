"""What the worklist promises about deliveries, on SQLite and on PostgreSQL alike."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from storage.index import Index
from storage.jobs import Jobs, LeaseLost
from storage.records import Delivery, Stage
from tests.storage.builders import LEASE_SECONDS, NOW, claimed_deliveries, composed, later, texts


def test_deliveries_of_one_job_to_one_destination_are_claimed_together(index: Index, jobs: Jobs):
    composed(index, jobs, "PACS", "ARCHIVE")

    first, second = claimed_deliveries(jobs), claimed_deliveries(jobs)

    assert [delivery.destination for delivery in first] == ["PACS", "PACS"]
    assert [delivery.destination for delivery in second] == ["ARCHIVE", "ARCHIVE"]
    assert (first[0].lease_owner, first[0].lease_until) == ("sender 1", later(LEASE_SECONDS))
    assert claimed_deliveries(jobs) == ()


def test_deliveries_of_two_jobs_are_not_mixed(index: Index, jobs: Jobs):
    one = composed(index, jobs, "PACS", study="2.25.10")
    other = composed(index, jobs, "PACS", study="2.25.20")

    claims = [{delivery.job_number for delivery in claimed_deliveries(jobs)} for _ in range(2)]

    assert claims == [{one.number}, {other.number}]


def test_a_busy_destination_is_left_alone(index: Index, jobs: Jobs):
    composed(index, jobs, "PACS", "ARCHIVE")

    claim = jobs.claim_deliveries("sender", NOW, LEASE_SECONDS, busy_destinations={"PACS"})

    assert {delivery.destination for delivery in claim} == {"ARCHIVE"}


def test_the_last_delivery_taken_makes_the_job_done(index: Index, jobs: Jobs):
    job = composed(index, jobs, "PACS")
    first, last = claimed_deliveries(jobs)

    taken = jobs.delivered(first, 0x0000, later(1))
    assert jobs.job(job.number).stage == Stage.DELIVER
    jobs.delivered(last, 0xB000, later(2), note="elements were coerced")

    assert (taken.done_at, taken.last_status, taken.lease_owner) == (later(1), 0x0000, None)
    done = jobs.job(job.number)
    assert (done.stage, done.problem, done.changed_at) == (Stage.DONE, None, later(2))
    assert texts(jobs)[-2:] == [
        f"{last.sop_instance_uid} taken by PACS, status 0xB000: elements were coerced",
        "everything is delivered: done",
    ]


def test_one_delivery_given_up_makes_the_job_failed_with_its_reason(index: Index, jobs: Jobs):
    job = composed(index, jobs, "PACS", "ARCHIVE")
    first, second = claimed_deliveries(jobs)
    third, fourth = claimed_deliveries(jobs)

    jobs.delivery_failed(first, "SOP class refused, status 0x0122", later(1), status=0x0122)
    for delivery in (second, third, fourth):
        jobs.delivered(delivery, 0x0000, later(2))

    failed = jobs.job(job.number)
    assert (failed.stage, failed.problem) == (Stage.FAILED, "PACS: SOP class refused, status 0x0122")
    assert jobs.deliveries_of_job(job.number)[0].failed_at == later(1)


def test_the_same_reason_is_told_once(index: Index, jobs: Jobs):
    job = composed(index, jobs, "PACS")

    for delivery in claimed_deliveries(jobs):
        jobs.delivery_failed(delivery, "unknown AE title", later(1))

    assert jobs.job(job.number).problem == "PACS: unknown AE title"


def test_a_delivery_that_waits_keeps_its_beginning_and_its_attempts(index: Index, jobs: Jobs):
    composed(index, jobs, "PACS")

    for seconds in (0, 30):
        for delivery in claimed_deliveries(jobs, later(seconds)):
            jobs.delivery_later(delivery, "PACS is down", later(seconds + 30), later(seconds))

    assert claimed_deliveries(jobs, later(59)) == ()
    waiting = claimed_deliveries(jobs, later(60))[0]
    assert (waiting.waiting_since, waiting.attempts, waiting.problem) == (NOW, 0, "PACS is down")
    assert len([text for text in texts(jobs) if "PACS is down" in text]) == 2  # one for each object


def test_a_delivery_that_ended_badly_counts_an_attempt(index: Index, jobs: Jobs):
    composed(index, jobs, "PACS")

    for delivery in claimed_deliveries(jobs):
        jobs.delivery_retry(delivery, "internal error", later(5), NOW, status=0xC000)

    again = claimed_deliveries(jobs, later(5))[0]
    assert (again.attempts, again.last_status, again.problem) == (1, 0xC000, "internal error")


def test_a_sender_that_died_costs_its_deliveries_one_attempt(index: Index, jobs: Jobs):
    composed(index, jobs, "PACS")
    claimed_deliveries(jobs, owner="sender 1")

    taken_over = claimed_deliveries(jobs, later(LEASE_SECONDS), owner="sender 2")

    assert [(delivery.attempts, delivery.lease_owner) for delivery in taken_over] == [(1, "sender 2")] * 2
    assert texts(jobs)[-1] == "sender 1 did not finish sending to PACS; sender 2 has it now"


def test_a_sender_that_is_stopped_gives_its_deliveries_back(index: Index, jobs: Jobs):
    composed(index, jobs, "PACS")

    for delivery in claimed_deliveries(jobs, owner="sender 1"):
        jobs.give_back_delivery(delivery, later(1))

    back = claimed_deliveries(jobs, later(1), owner="sender 2")
    assert [(delivery.attempts, delivery.lease_owner) for delivery in back] == [(0, "sender 2")] * 2


CHANGES = {
    "delivered": lambda jobs, delivery: jobs.delivered(delivery, 0, NOW),
    "failed": lambda jobs, delivery: jobs.delivery_failed(delivery, "no", NOW),
    "later": lambda jobs, delivery: jobs.delivery_later(delivery, "not yet", NOW, NOW),
    "retry": lambda jobs, delivery: jobs.delivery_retry(delivery, "a bug", NOW, NOW),
    "give_back": lambda jobs, delivery: jobs.give_back_delivery(delivery, NOW),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_sender_that_lost_its_lease_changes_nothing(index: Index, jobs: Jobs, change: str):
    job = composed(index, jobs, "PACS")
    old = claimed_deliveries(jobs, owner="sender")[0]
    new = claimed_deliveries(jobs, later(LEASE_SECONDS), owner="sender")
    told, before = texts(jobs), jobs.job(job.number)

    with pytest.raises(LeaseLost):
        CHANGES[change](jobs, old)

    assert jobs.deliveries_of_job(job.number) == new
    assert (texts(jobs), jobs.job(job.number)) == (told, before)


def test_last_deliveries_that_end_at_once_still_end_their_job(index: Index, jobs: Jobs):
    names = [f"PACS{number}" for number in range(4)]
    job = composed(index, jobs, *names)
    claims = [claimed_deliveries(jobs) for _ in names]
    together = Barrier(len(names))

    def send(deliveries: tuple[Delivery, ...]) -> None:
        for delivery in deliveries:
            together.wait(timeout=20)
            jobs.delivered(delivery, 0x0000, later(1))

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(send, claims))

    assert jobs.job(job.number).stage == Stage.DONE
    assert texts(jobs).count("everything is delivered: done") == 1
