"""What the worklist promises about deliveries, on SQLite and on PostgreSQL alike."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from storage.index import Index
from storage.jobs import Deliveries, Jobs, LeaseLost
from storage.records import Delivery, Stage, Undelivered
from tests.storage.builders import (
    LEASE_SECONDS,
    NOW,
    a_result,
    at_compose,
    claimed,
    claimed_deliveries,
    composed,
    later,
    texts,
)


def test_deliveries_of_one_job_to_one_destination_are_claimed_together(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS", "ARCHIVE")

    first, second = claimed_deliveries(deliveries), claimed_deliveries(deliveries)

    assert [delivery.destination for delivery in first] == ["PACS", "PACS"]
    assert [delivery.destination for delivery in second] == ["ARCHIVE", "ARCHIVE"]
    assert (first[0].lease_owner, first[0].lease_until) == ("sender 1", later(LEASE_SECONDS))
    assert claimed_deliveries(deliveries) == ()


def test_a_delivery_given_up_after_an_error_counts_the_attempt(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    refused, stumbled = claimed_deliveries(deliveries)

    ended = (
        deliveries.failed(refused, "refused", NOW, 0xC000),
        deliveries.failed(stumbled, "internal error", NOW, is_error=True),
    )

    assert [one.attempts for one in ended] == [0, 1]


def test_deliveries_of_two_jobs_are_not_mixed(index: Index, jobs: Jobs, deliveries: Deliveries):
    one = composed(index, jobs, "PACS", study="2.25.10")
    other = composed(index, jobs, "PACS", study="2.25.20")

    claims = [{delivery.job_number for delivery in claimed_deliveries(deliveries)} for _ in range(2)]

    assert claims == [{one.number}, {other.number}]


def test_a_busy_destination_is_left_alone(index: Index, jobs: Jobs, deliveries: Deliveries):
    composed(index, jobs, "PACS", "ARCHIVE")

    claim = deliveries.claim("sender", NOW, LEASE_SECONDS, busy_destinations={"PACS"})

    assert {delivery.destination for delivery in claim} == {"ARCHIVE"}


def test_the_last_delivery_taken_makes_the_job_done(index: Index, jobs: Jobs, deliveries: Deliveries):
    job = composed(index, jobs, "PACS")
    first, last = claimed_deliveries(deliveries)

    taken = deliveries.delivered(first, 0x0000, later(1))
    assert jobs.job(job.number).stage == Stage.DELIVER
    deliveries.delivered(last, 0xB000, later(2), note="elements were coerced")

    assert (taken.done_at, taken.last_status, taken.lease_owner) == (later(1), 0x0000, None)
    done = jobs.job(job.number)
    assert (done.stage, done.problem, done.changed_at) == (Stage.DONE, None, later(2))
    assert texts(jobs)[-2:] == [
        f"{last.sop_instance_uid} taken by PACS, status 0xB000: elements were coerced",
        "everything is delivered: done",
    ]


def test_one_delivery_given_up_makes_the_job_failed_with_its_reason(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = composed(index, jobs, "PACS", "ARCHIVE")
    first, second = claimed_deliveries(deliveries)
    third, fourth = claimed_deliveries(deliveries)

    deliveries.failed(first, "SOP class refused, status 0x0122", later(1), status=0x0122)
    for delivery in (second, third, fourth):
        deliveries.delivered(delivery, 0x0000, later(2))

    failed = jobs.job(job.number)
    assert (failed.stage, failed.problem) == (Stage.FAILED, "PACS: SOP class refused, status 0x0122")
    assert deliveries.of_job(job.number)[0].failed_at == later(1)


def test_the_same_reason_is_told_once(index: Index, jobs: Jobs, deliveries: Deliveries):
    job = composed(index, jobs, "PACS")

    for delivery in claimed_deliveries(deliveries):
        deliveries.failed(delivery, "unknown AE title", later(1))

    assert jobs.job(job.number).problem == "PACS: unknown AE title"


def test_a_delivery_that_waits_keeps_its_beginning_and_its_attempts(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")

    for seconds in (0, 30):
        for delivery in claimed_deliveries(deliveries, later(seconds)):
            deliveries.later(delivery, "PACS is down", later(seconds + 30), later(seconds))

    assert claimed_deliveries(deliveries, later(59)) == ()
    waiting = claimed_deliveries(deliveries, later(60))[0]
    assert (waiting.waiting_since, waiting.attempts, waiting.problem) == (NOW, 0, "PACS is down")
    assert len([text for text in texts(jobs) if "PACS is down" in text]) == 2  # one for each object


def test_a_delivery_that_ended_badly_counts_an_attempt(index: Index, jobs: Jobs, deliveries: Deliveries):
    composed(index, jobs, "PACS")

    for delivery in claimed_deliveries(deliveries):
        deliveries.retry(delivery, "internal error", later(5), NOW, status=0xC000)

    again = claimed_deliveries(deliveries, later(5))[0]
    assert (again.attempts, again.last_status, again.problem) == (1, 0xC000, "internal error")


def test_a_sender_that_died_costs_its_deliveries_one_attempt(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    claimed_deliveries(deliveries, owner="sender 1")

    taken_over = claimed_deliveries(deliveries, later(LEASE_SECONDS), owner="sender 2")

    assert [(delivery.attempts, delivery.lease_owner) for delivery in taken_over] == [(1, "sender 2")] * 2
    assert texts(jobs)[-1] == "sender 1 did not finish sending to PACS; sender 2 has it now"


def test_a_sender_that_is_stopped_gives_its_deliveries_back(index: Index, jobs: Jobs, deliveries: Deliveries):
    composed(index, jobs, "PACS")

    for delivery in claimed_deliveries(deliveries, owner="sender 1"):
        deliveries.give_back(delivery, later(1))

    back = claimed_deliveries(deliveries, later(1), owner="sender 2")
    assert [(delivery.attempts, delivery.lease_owner) for delivery in back] == [(0, "sender 2")] * 2


CHANGES = {
    "delivered": lambda deliveries, delivery: deliveries.delivered(delivery, 0, NOW),
    "failed": lambda deliveries, delivery: deliveries.failed(delivery, "no", NOW),
    "later": lambda deliveries, delivery: deliveries.later(delivery, "not yet", NOW, NOW),
    "retry": lambda deliveries, delivery: deliveries.retry(delivery, "a bug", NOW, NOW),
    "give_back": lambda deliveries, delivery: deliveries.give_back(delivery, NOW),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_sender_that_lost_its_lease_changes_nothing(
    index: Index, jobs: Jobs, deliveries: Deliveries, change: str
):
    job = composed(index, jobs, "PACS")
    old = claimed_deliveries(deliveries, owner="sender")[0]
    new = claimed_deliveries(deliveries, later(LEASE_SECONDS), owner="sender")
    told, before = texts(jobs), jobs.job(job.number)

    with pytest.raises(LeaseLost):
        CHANGES[change](deliveries, old)

    assert deliveries.of_job(job.number) == new
    assert (texts(jobs), jobs.job(job.number)) == (told, before)


def test_last_deliveries_that_end_at_once_still_end_their_job(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    names = [f"PACS{number}" for number in range(4)]
    job = composed(index, jobs, *names)
    claims = [claimed_deliveries(deliveries) for _ in names]
    together = Barrier(len(names))

    def send(claim: tuple[Delivery, ...]) -> None:
        for delivery in claim:
            together.wait(timeout=20)
            deliveries.delivered(delivery, 0x0000, later(1))

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(send, claims))

    assert jobs.job(job.number).stage == Stage.DONE
    assert texts(jobs).count("everything is delivered: done") == 1


# Forms that are refused


def test_a_refused_form_is_followed_by_one_that_was_made_for_others(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = at_compose(index, jobs)
    report, picture = a_result(job), a_result(job, "secondary_capture")
    wanted = {"PACS": [report.sop_instance_uid], "ARCHIVE": [picture.sop_instance_uid]}
    jobs.advance(job, Stage.DELIVER, NOW, results=[report, picture], destinations=wanted, event="composed")

    deliveries.replaced(claimed_deliveries(deliveries)[0], "secondary_capture", "no SR here", NOW)

    ways = [(one.destination, one.sop_instance_uid) for one in deliveries.of_job(job.number)]
    assert ways[-1] == ("PACS", picture.sop_instance_uid)
    assert jobs.job(job.number).stage is Stage.DELIVER
    assert texts(jobs)[-1].endswith("refused by PACS, secondary_capture goes instead: no SR here")


def test_a_refused_form_adds_nothing_where_the_next_one_goes_anyway(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = composed(index, jobs, "PACS")
    report, picture = claimed_deliveries(deliveries)
    deliveries.delivered(picture, 0x0000, NOW)

    deliveries.replaced(report, "secondary_capture", "no SR here", NOW)

    assert len(deliveries.of_job(job.number)) == 2
    assert jobs.job(job.number).stage is Stage.DONE


def test_a_form_that_is_not_there_sends_the_job_back_to_be_composed(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = composed(index, jobs, "PACS")

    deliveries.replaced(claimed_deliveries(deliveries)[0], "encapsulated_pdf", "no SR here", later(1))

    again = claimed(jobs, Stage.COMPOSE, later(1))
    assert (again.number, again.attempts) == (job.number, 0)


def test_a_second_missing_form_takes_the_job_from_who_is_just_making_the_first(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    first, second = claimed_deliveries(deliveries)
    deliveries.replaced(first, "encapsulated_pdf", "no SR here", NOW)
    making = claimed(jobs, Stage.COMPOSE)

    deliveries.replaced(second, "segmentation", "no pictures here", NOW)

    with pytest.raises(LeaseLost):
        jobs.advance(making, Stage.DELIVER, NOW, event="composed")
    assert claimed(jobs, Stage.COMPOSE).number == making.number


# Destinations in trouble


def test_a_destination_that_rests_is_left_alone_and_others_are_not(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS", "ARCHIVE")
    deliveries.stumbled("PACS", "it is down", None, NOW)
    noted = deliveries.stumbled("PACS", "it is still down", later(60), later(1))

    claims = [claimed_deliveries(deliveries, later(59)) for _ in range(2)]

    assert (noted.failures, noted.since, noted.problem) == (2, NOW, "it is still down")
    assert [{one.destination for one in claim} for claim in claims] == [{"ARCHIVE"}, set()]


def test_after_its_rest_a_destination_is_tried_by_one_claim_alone(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    for number in range(3):
        composed(index, jobs, "PACS", study=f"2.25.{number}00")
    deliveries.stumbled("PACS", "it is down", later(60), NOW)

    claims = [claimed_deliveries(deliveries, later(60)) for _ in range(2)]
    after_its_lease = claimed_deliveries(deliveries, later(60 + LEASE_SECONDS))

    assert [len(claim) for claim in claims] == [2, 0]
    assert len(after_its_lease) == 2


def test_a_destination_that_answers_again_gets_at_once_what_waited(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    for delivery in claimed_deliveries(deliveries):
        deliveries.later(delivery, "it is down", later(600), NOW)
    deliveries.stumbled("PACS", "it is down", later(60), NOW)

    answers = [deliveries.recovered("PACS", later(61)) for _ in range(2)]

    assert (answers, deliveries.troubles()) == ([True, False], ())
    assert len(claimed_deliveries(deliveries, later(61))) == 2


def test_what_waits_for_a_destination_is_counted_for_it_alone_until_it_has_gone(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS", "ARCHIVE")
    before = deliveries.open_count("PACS")
    first, second = deliveries.claim("sender", NOW, LEASE_SECONDS, ["ARCHIVE"])
    deliveries.delivered(first, 0x0000, later(1))
    deliveries.failed(second, "refused", later(1))

    left = [deliveries.open_count(name) for name in ("PACS", "ARCHIVE", "NOBODY")]

    assert before == 2
    assert left == [0, 2, 0]


def test_a_lease_that_is_extended_is_not_taken_over(index: Index, jobs: Jobs, deliveries: Deliveries):
    composed(index, jobs, "PACS")
    claim = claimed_deliveries(deliveries)

    deliveries.extend(claim, later(50), LEASE_SECONDS)

    assert claimed_deliveries(deliveries, later(LEASE_SECONDS)) == ()
    assert len(claimed_deliveries(deliveries, later(50 + LEASE_SECONDS))) == 2


# Those given up


def given_up(index: Index, jobs: Jobs, deliveries: Deliveries) -> tuple[Delivery, Delivery]:
    """A delivery that was given up and one that was taken, of one job."""
    composed(index, jobs, "PACS")
    lost, taken = claimed_deliveries(deliveries)
    return deliveries.failed(lost, "refused", NOW), deliveries.delivered(taken, 0x0000, NOW)


def test_what_was_given_up_is_listed_and_replayed_and_what_was_taken_is_not_sent_again(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    lost, _ = given_up(index, jobs, deliveries)
    assert deliveries.given_up("PACS") == deliveries.given_up() == (lost,)

    deliveries.replay(lost.number, later(5), "operator ann")
    assert texts(jobs)[-1] == f"{lost.sop_instance_uid} goes to PACS once more: replayed by operator ann"
    (again,) = claimed_deliveries(deliveries, later(5))
    deliveries.delivered(again, 0x0000, later(6))

    assert (again.number, again.attempts, again.problem) == (lost.number, 0, None)
    assert jobs.job(lost.job_number).stage is Stage.DONE
    assert deliveries.given_up() == ()


def test_what_was_taken_cannot_be_replayed(index: Index, jobs: Jobs, deliveries: Deliveries):
    _, taken = given_up(index, jobs, deliveries)

    with pytest.raises(LookupError, match=f"delivery {taken.number} was not given up"):
        deliveries.replay(taken.number, NOW)


def test_a_draft_that_a_later_one_has_replaced_is_not_replayed(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    lost, _ = given_up(index, jobs, deliveries)
    job = jobs.again("2.25.100", NOW)
    for stage, after in (
        (Stage.GATHER, Stage.READ),
        (Stage.READ, Stage.COMPOSE),
        (Stage.COMPOSE, Stage.DELIVER),
    ):
        made = [a_result(job)] if after is Stage.DELIVER else []
        jobs.advance(claimed(jobs, stage), after, NOW, results=made, event="done")

    with pytest.raises(LookupError, match="which revision 2 has replaced; nothing is sent"):
        deliveries.replay(lost.number, NOW)


# What somebody has to see to


def test_what_is_not_delivered_is_told_by_destination_and_problem(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    for study in ("2.25.201", "2.25.202"):
        composed(index, jobs, "PACS", study=study)
    first, second, third, _ = (*claimed_deliveries(deliveries), *claimed_deliveries(deliveries))
    deliveries.later(first, "it is down", later(60), later(20))
    deliveries.later(second, "it is down", later(60), later(10))
    deliveries.failed(third, "it is full", later(30))

    found, left_out = deliveries.undelivered(NOW, 9)

    assert found == (
        Undelivered("PACS", False, 2, later(10), "it is down"),
        Undelivered("PACS", True, 1, later(30), "it is full"),
    )
    assert left_out == 0


def test_what_is_left_out_for_the_limit_is_counted(index: Index, jobs: Jobs, deliveries: Deliveries):
    composed(index, jobs, "PACS")
    first, second = claimed_deliveries(deliveries)
    deliveries.later(first, "it is down", later(60), NOW)
    deliveries.later(second, "it is slow", later(60), NOW)

    found, left_out = deliveries.undelivered(NOW, 1)

    assert (len(found), left_out) == (1, 1)


def test_what_was_delivered_or_given_up_before_is_not_undelivered(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    first, second = claimed_deliveries(deliveries)
    deliveries.delivered(first, 0xB000, NOW, "coerced")
    deliveries.failed(second, "it is full", NOW)

    assert deliveries.undelivered(later(1), 9) == ((), 0)
