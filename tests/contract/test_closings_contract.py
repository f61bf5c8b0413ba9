"""What the worklist promises about the end of drafts, on SQLite and on PostgreSQL alike."""

from dataclasses import replace
from typing import Any

import pytest

from storage.index import Index
from storage.jobs import Deliveries, Jobs, LeaseLost
from storage.outside_records import ReportStatus
from storage.records import Closing, ClosingKind, Job, Stage
from storage.reports import Reports
from tests.storage.builders import (
    NOW,
    STUDY,
    a_report,
    a_result,
    a_study,
    an_instance,
    an_open_job,
    at_compose,
    claimed,
    claimed_deliveries,
    composed,
    later,
    put,
    texts,
)

WITHDRAWN = Closing(STUDY, ClosingKind.WITHDRAWN, "wrong patient", None, later(10))


def reported(number: int | None = None) -> Closing:
    return Closing(STUDY, ClosingKind.REPORTED, "report RIS 1 is there", number, later(10))


def a_withdrawal(job: Job) -> tuple[int, tuple, dict[str, list[str]]]:
    """Revision, results and destinations of a withdrawal that two receivers get."""
    notice = replace(a_result(job, "hl7_oru"), sop_instance_uid="2.25.999", job_number=0)
    return job.revision + 1, (notice,), {"RIS": ["2.25.999"], "PACS": ["2.25.999"]}


def test_a_closed_study_has_nothing_on_its_way_any_more(index: Index, jobs: Jobs, deliveries: Deliveries):
    job = composed(index, jobs, "PACS", "RIS")

    assert jobs.closings.close(reported())

    assert claimed_deliveries(deliveries, later(20)) == ()
    assert {one.is_stopped for one in deliveries.of_job(job.number)} == {True}
    ended = jobs.job(job.number)
    assert (ended.stage, ended.problem) == (Stage.SKIPPED, "report RIS 1 is there")
    assert texts(jobs)[-3:] == [
        "reported: report RIS 1 is there",
        "4 deliveries stopped: report RIS 1 is there",
        "nothing was sent: report RIS 1 is there",
    ]


def test_what_was_taken_before_stays_taken(index: Index, jobs: Jobs, deliveries: Deliveries):
    job = composed(index, jobs, "PACS")
    first, _ = claimed_deliveries(deliveries)
    deliveries.delivered(first, 0x0000, NOW)

    jobs.closings.close(reported())

    taken, stopped = deliveries.of_job(job.number)
    assert (taken.done_at, taken.is_stopped, stopped.is_stopped) == (NOW, False, True)
    assert jobs.job(job.number).stage == Stage.DONE


def test_who_has_a_delivery_or_a_job_in_hand_finds_the_lease_lost(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    composed(index, jobs, "PACS")
    in_hand, _ = claimed_deliveries(deliveries)
    job = at_compose(index, jobs, "2.25.300")

    jobs.closings.close(reported())
    jobs.closings.close(replace(reported(), study_instance_uid="2.25.300"))

    with pytest.raises(LeaseLost):
        deliveries.delivered(in_hand, 0x0000, later(11))
    with pytest.raises(LeaseLost):
        jobs.advance(job, Stage.DELIVER, later(11), event="composed")
    assert jobs.job(job.number).stage == Stage.SKIPPED


def test_a_closed_study_opens_no_job_by_itself_and_one_when_the_operator_asks(index: Index, jobs: Jobs):
    an_open_job(index, jobs)
    jobs.closings.close(reported())
    newest = put(index, "2.25.8").instance.number

    assert jobs.open(STUDY, newest, "quiet", later(20)) is None
    jobs.closings.pass_over(STUDY, newest, "report RIS 1 is there", later(20))
    assert index.unread() == ()

    assert jobs.again(STUDY, later(30), "operator ann").revision == 2
    assert "reopened: asked for by operator ann" in texts(jobs)
    (closing,) = jobs.closings.of_study(STUDY)
    assert closing.reopened_at == later(30)


def test_a_report_closes_a_study_once_and_a_later_report_once_more(
    index: Index, jobs: Jobs, reports: Reports
):
    reports.add([a_report(), a_report("FINDINGS: Effusion.")])
    job = an_open_job(index, jobs)
    assert jobs.closings.close(reported(1))
    assert not jobs.closings.close(reported(2))
    jobs.again(STUDY, later(20))

    assert not jobs.closings.close(reported(1))
    assert jobs.closings.close(reported(2))

    assert jobs.job(job.number).stage == Stage.SKIPPED
    assert [one.report_number for one in jobs.closings.of_study(STUDY)] == [1, 2]


def test_a_withdrawal_is_a_revision_that_only_has_to_be_delivered(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = composed(index, jobs, "PACS", "RIS")

    withdrawal = jobs.closings.withdraw(WITHDRAWN, *a_withdrawal(job))

    assert withdrawal is not None
    assert (withdrawal.revision, withdrawal.stage) == (2, Stage.DELIVER)
    assert withdrawal.complete_because == "withdrawn: wrong patient"
    first, second = claimed_deliveries(deliveries, later(20)), claimed_deliveries(deliveries, later(20))
    assert [one.destination for one in (*first, *second)] == ["RIS", "PACS"]
    for delivery in (*first, *second):
        deliveries.delivered(delivery, None, later(21))
    assert jobs.job(withdrawal.number).stage == Stage.DONE


def test_a_withdrawal_that_was_given_up_can_be_replayed_and_a_draft_of_that_study_cannot(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = composed(index, jobs, "RIS")
    draft, _ = (deliveries.failed(one, "refused", NOW) for one in claimed_deliveries(deliveries))
    revision, results, _ = a_withdrawal(job)
    withdrawal = jobs.closings.withdraw(WITHDRAWN, revision, results, {"RIS": ["2.25.999"]})
    assert withdrawal is not None
    (told,) = claimed_deliveries(deliveries, later(20))
    deliveries.failed(told, "status 422", later(21))

    deliveries.replay(told.number, later(30))

    (again,) = claimed_deliveries(deliveries, later(30))
    deliveries.delivered(again, None, later(31))
    assert jobs.job(withdrawal.number).stage is Stage.DONE
    with pytest.raises(LookupError, match="are closed; nothing is sent"):
        deliveries.replay(draft.number, later(30))


def test_a_report_that_comes_after_a_withdrawal_does_not_stop_it(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    job = composed(index, jobs, "RIS")
    jobs.closings.withdraw(WITHDRAWN, *a_withdrawal(job))

    assert not jobs.closings.close(reported())

    assert len(claimed_deliveries(deliveries, later(20))) == 1


def test_a_study_that_a_report_has_closed_can_still_be_withdrawn(index: Index, jobs: Jobs):
    job = composed(index, jobs, "RIS")
    jobs.closings.close(reported())

    assert jobs.closings.withdraw(WITHDRAWN, *a_withdrawal(job)) is not None


def test_a_study_is_withdrawn_once_and_a_withdrawal_of_another_revision_changes_nothing(
    index: Index, jobs: Jobs
):
    job = composed(index, jobs, "RIS")
    revision, results, destinations = a_withdrawal(job)
    with pytest.raises(LookupError, match="was just read again"):
        jobs.closings.withdraw(WITHDRAWN, revision + 1, results, destinations)
    assert jobs.closings.of_study(STUDY) == ()

    jobs.closings.withdraw(WITHDRAWN, revision, results, destinations)

    with pytest.raises(LookupError, match="is withdrawn already"):
        jobs.closings.withdraw(WITHDRAWN, revision + 1, results, destinations)


def test_a_withdrawal_that_nobody_has_to_be_told_is_no_revision(index: Index, jobs: Jobs):
    an_open_job(index, jobs)

    assert jobs.closings.withdraw(WITHDRAWN, 2, (), {}) is None

    assert [job.stage for job in jobs.jobs_of_study(STUDY)] == [Stage.SKIPPED]


def test_a_new_revision_stops_what_the_one_before_has_on_its_way_where_it_replaces_it(
    index: Index, jobs: Jobs, deliveries: Deliveries
):
    first = composed(index, jobs, "PACS", "RIS")
    put(index, "2.25.8")
    jobs.open(STUDY, 2, "late", later(5))
    for stage, to in ((Stage.GATHER, Stage.READ), (Stage.READ, Stage.COMPOSE)):
        jobs.advance(claimed(jobs, stage, later(5)), to, later(5), event="on")

    second = claimed(jobs, Stage.COMPOSE, later(5))
    jobs.advance(second, Stage.DELIVER, later(6), replacing=("RIS",), event="composed")

    stopped = {one.destination: one.is_stopped for one in deliveries.of_job(first.number)}
    assert stopped == {"PACS": False, "RIS": True}


@pytest.mark.parametrize(
    ("about", "is_named"),
    [
        ({"study_instance_uid": STUDY, "accession_number": ""}, True),
        ({"accession_number": "4711"}, True),
        ({"accession_number": "", "report_key": "4711"}, True),
        ({"accession_number": "4712"}, False),
        ({"accession_number": "4711", "status": ReportStatus.PRELIMINARY}, False),
        ({"accession_number": "4711", "received_at": later(-100)}, False),
    ],
    ids=["study UID", "accession number", "filler number", "another's", "preliminary", "old"],
)
def test_a_final_report_that_came_lately_names_the_studies_with_a_job(
    index: Index, jobs: Jobs, reports: Reports, about: dict[str, Any], is_named: bool
):
    instance = an_instance("2.25.7")
    index.put(instance, a_study(accession_number="4711"))
    jobs.open(STUDY, 1, "quiet", NOW)
    reports.add([a_report(**about)])

    assert jobs.closings.reported_since(0, NOW) == (1, (STUDY,) if is_named else ())
    assert jobs.closings.reported_since(1, NOW) == (1, ())
