"""What the store promises about requests to archives and about fetched priors, on both databases alike."""

import pytest

from storage.index import Index
from storage.jobs import Jobs, LeaseLost
from storage.outside_records import ExplainedStudy
from storage.records import InstanceRole
from storage.requests import PriorRequests
from tests.storage.builders import (
    LEASE_SECONDS,
    NOW,
    PRIOR,
    STUDY,
    a_prior,
    an_asked_archive,
    an_open_job,
    being_fetched,
    later,
    put,
    texts,
)


def test_a_job_asks_each_archive_once_however_often_it_comes_by(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    job = an_open_job(index, jobs)

    for seconds in (0, 10):
        requests.ask(job.number, ["a", "b"], later(seconds), later(seconds + 60))

    asked = requests.of_job(job.number)
    assert [request.archive for request in asked] == ["a", "b"]
    assert {request.expires_at for request in asked} == {later(60)}


def test_a_request_is_claimed_by_one_and_again_after_its_lease(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    request = an_asked_archive(index, jobs, requests)

    assert requests.claim("asker 2", later(1), LEASE_SECONDS) is None
    again = requests.claim("asker 2", later(LEASE_SECONDS), LEASE_SECONDS)

    assert again is not None
    assert (again.number, again.attempts) == (request.number, 1)
    with pytest.raises(LeaseLost):
        requests.done(request, later(61))


def test_a_request_of_a_stopped_worker_is_free_at_once_and_costs_no_attempt(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    request = an_asked_archive(index, jobs, requests)

    requests.give_back(request)
    again = requests.claim("asker 2", later(1), LEASE_SECONDS)

    assert again is not None
    assert (again.number, again.attempts) == (request.number, 0)
    with pytest.raises(LeaseLost):
        requests.give_back(request)


def test_a_request_to_a_busy_archive_is_left_alone(index: Index, jobs: Jobs, requests: PriorRequests):
    requests.ask(an_open_job(index, jobs).number, ["a", "b"], NOW, later(60))

    claimed = requests.claim("asker", NOW, LEASE_SECONDS, busy_archives=["a"])

    assert claimed is not None
    assert claimed.archive == "b"


def test_a_prior_that_two_jobs_want_is_fetched_by_one_of_them(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    first = an_asked_archive(index, jobs, requests)
    second = an_asked_archive(index, jobs, requests, "2.25.200")

    first = requests.found(first, [a_prior()], NOW)
    second = requests.found(second, [a_prior(archive="other")], NOW)

    assert [study.study_instance_uid for study in requests.to_fetch(first)] == [PRIOR]
    assert requests.to_fetch(second) == ()
    assert second.study_instance_uids == (PRIOR,)


def test_a_prior_that_did_not_come_is_fetched_again_by_the_next(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    first = being_fetched(index, jobs, requests)
    requests.fetched(first, PRIOR, later(5), "1 of 2 objects came")
    second = an_asked_archive(index, jobs, requests, "2.25.200")

    second = requests.found(second, [a_prior()], later(6))

    (again,) = requests.to_fetch(second)
    assert (again.problem, again.fetching_since, again.asked_at) == (None, None, later(6))


def test_what_came_from_elsewhere_since_the_choice_is_not_fetched(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    request = an_asked_archive(index, jobs, requests)
    put(index, "2.25.1", study=PRIOR)

    request = requests.found(request, [a_prior()], NOW)

    assert requests.to_fetch(request) == ()
    assert len(index.unread()) == 1


def test_what_is_left_in_an_archive_is_kept_with_its_reason(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    left = (ExplainedStudy("2.25.51", "it is 400 days old"), ExplainedStudy("2.25.52", "“other” 성별"))
    request = an_asked_archive(index, jobs, requests)

    requests.found(request, [a_prior()], NOW, None, left)

    assert request.passed_over == ()
    assert requests.of_job(request.job_number or 0)[0].passed_over == left


def test_a_request_that_fails_ends_what_it_had_to_fetch(index: Index, jobs: Jobs, requests: PriorRequests):
    request = requests.found(an_asked_archive(index, jobs, requests), [a_prior()], NOW)

    requests.failed(request, "no route to host", later(60))

    (study,) = requests.studies([PRIOR])
    assert (study.ended_at, study.problem) == (later(60), "the archive could not be asked")
    assert requests.claim("asker", later(600), LEASE_SECONDS) is None


def test_an_archive_that_is_down_rests_for_all_but_none_beyond_its_end(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    first = an_asked_archive(index, jobs, requests)
    requests.ask(an_open_job(index, jobs, "2.25.200").number, ["arch", "b"], NOW, later(20))

    requests.later(first, "no route to host", later(30), NOW)

    other = requests.claim("asker", later(1), LEASE_SECONDS)
    assert other is not None
    assert other.archive == "b"
    second = requests.claim("asker", later(20), LEASE_SECONDS)
    assert second is not None
    assert (second.due_at, second.problem) == (later(20), "no route to host")


def test_archives_with_a_problem_are_told_by_archive_and_problem_for_a_time(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    for number, (archive, problem) in enumerate([("a", "off"), ("a", "off"), ("b", "says no")]):
        asked = an_asked_archive(index, jobs, requests, f"2.25.{900 + number}", archive)
        requests.failed(asked, problem, later(60))
    waiting = an_asked_archive(index, jobs, requests, "2.25.910", "c")
    requests.later(waiting, "off, too", later(70), later(60))
    answered = an_asked_archive(index, jobs, requests, "2.25.911", "d")
    requests.done(requests.found(answered, [], later(60)), later(60))

    first, *others = requests.unanswered(later(60), 9)

    assert (first.archive, first.count, first.since, first.problem) == ("a", 2, NOW, "off")
    assert [one.archive for one in others] == ["b", "c"]
    assert [one.archive for one in requests.unanswered(later(61), 9)] == ["c"]
    assert requests.unanswered(later(60), 1) == (first,)


def test_an_archive_that_has_answered_has_no_problem_while_it_sends(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    requests.later(an_asked_archive(index, jobs, requests), "no route to host", later(30), NOW)
    again = requests.claim("asker", later(30), LEASE_SECONDS)
    assert again is not None

    answered = requests.found(again, [a_prior()], later(31))

    assert answered.problem is None
    assert requests.unanswered(NOW, 9) == ()


def test_a_study_that_its_archive_is_sending_is_a_prior_and_not_read(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    being_fetched(index, jobs, requests)

    for uid in ("2.25.1", "2.25.2"):
        put(index, uid, study=PRIOR, calling_ae_title="ARCH")

    prior = index.study(PRIOR)
    assert prior is not None
    assert prior.fetched_from == "arch"
    assert index.unread() == ()


def test_a_study_that_is_routed_to_us_while_its_request_waits_is_read(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    requests.found(an_asked_archive(index, jobs, requests), [a_prior()], NOW)

    put(index, "2.25.1", study=PRIOR, calling_ae_title="ARCH")

    assert len(index.unread()) == 1


def test_a_study_that_a_modality_sends_while_it_is_fetched_is_read(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    being_fetched(index, jobs, requests)
    put(index, "2.25.1", study=PRIOR, calling_ae_title="ARCH")

    put(index, "2.25.2", study=PRIOR, calling_ae_title="XRAY1")

    assert [study.study_instance_uid for study in index.unread()] == [PRIOR]
    assert "was not asked for" in texts(jobs, PRIOR)[-1]


@pytest.mark.parametrize("uid", ["2.25.1", "2.25.2"])
def test_a_fetched_prior_of_which_images_are_sent_later_old_or_new_is_read(
    index: Index, jobs: Jobs, requests: PriorRequests, uid: str
):
    request = being_fetched(index, jobs, requests)
    put(index, "2.25.1", study=PRIOR, calling_ae_title="ARCH")
    requests.fetched(request, PRIOR, later(5), None)

    put(index, uid, study=PRIOR, calling_ae_title="ARCH")

    assert [study.study_instance_uid for study in index.unread()] == [PRIOR]


def test_a_report_that_is_sent_later_leaves_a_fetched_prior_unread(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    request = being_fetched(index, jobs, requests)
    put(index, "2.25.1", study=PRIOR, calling_ae_title="ARCH")
    requests.fetched(request, PRIOR, later(5), None)

    put(index, "2.25.2", study=PRIOR, calling_ae_title="RIS", role=InstanceRole.REPORT)

    assert index.unread() == ()


def test_an_archive_is_asked_for_a_study_only_while_it_sends_it(
    index: Index, jobs: Jobs, requests: PriorRequests
):
    request = requests.found(an_asked_archive(index, jobs, requests), [a_prior()], NOW)
    asked = [index.is_asked_for(PRIOR, "ARCH")]

    requests.fetching(request, PRIOR, NOW)
    asked += [index.is_asked_for(PRIOR, "ARCH"), index.is_asked_for(PRIOR, "OTHER")]
    asked += [index.is_asked_for(STUDY, "ARCH")]
    requests.fetched(request, PRIOR, NOW, None)
    asked += [index.is_asked_for(PRIOR, "ARCH")]

    assert asked == [False, True, False, False, False]
