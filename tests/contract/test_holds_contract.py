"""What holding a study promises, on SQLite and on PostgreSQL alike."""

import pytest

from storage.audits import Audits
from storage.holds import Holds
from storage.index import Index
from storage.jobs import Jobs
from storage.records import Hold, Stage
from tests.storage.builders import (
    LEASE_SECONDS,
    NOW,
    STUDY,
    an_open_job,
    claimed,
    claimed_deliveries,
    composed,
    later,
    put,
    texts,
)


def claim(jobs: Jobs):
    return jobs.claim([Stage.GATHER], "worker 1", NOW, LEASE_SECONDS)


def test_no_step_of_a_held_study_is_claimed_until_it_is_released(index: Index, jobs: Jobs, holds: Holds):
    an_open_job(index, jobs)
    holds.hold(STUDY, "operator ann", "wrong patient?", NOW)
    assert claim(jobs) is None

    holds.release(STUDY, "operator bob", later(60))

    assert claim(jobs) is not None
    assert texts(jobs)[-2:] == ["held by operator ann: wrong patient?", "released by operator bob"]


def test_nothing_of_a_held_study_is_delivered(index: Index, jobs: Jobs, holds: Holds):
    composed(index, jobs, "PACS")
    other = composed(index, jobs, "PACS", study="2.25.200")

    holds.hold(STUDY, "operator", "", NOW)

    assert {delivery.job_number for delivery in claimed_deliveries(jobs)} == {other.number}
    assert claimed_deliveries(jobs) == ()


def test_a_step_that_is_under_way_still_ends(index: Index, jobs: Jobs, holds: Holds):
    an_open_job(index, jobs)
    job = claimed(jobs)

    holds.hold(STUDY, "operator", "", NOW)

    assert jobs.advance(job, Stage.READ, NOW, manifest_json="{}", event="gathered").stage is Stage.READ
    assert jobs.claim([Stage.READ], "reader", NOW, LEASE_SECONDS) is None


def test_the_time_under_hold_is_not_counted_as_waiting(index: Index, jobs: Jobs, holds: Holds):
    an_open_job(index, jobs)
    jobs.later(claimed(jobs), "the archive is down", NOW, NOW)
    holds.hold(STUDY, "operator", "", NOW)

    holds.release(STUDY, "operator", later(86_400))

    assert claimed(jobs, now=later(86_400)).waiting_since is None


def test_a_hold_is_there_for_everybody_to_see(index: Index, holds: Holds):
    put(index)
    made = holds.hold(STUDY, "operator ann", "ask the ward", NOW)

    assert made == Hold(STUDY, NOW, "operator ann", "ask the ward")
    assert holds.of_study(STUDY) == made
    assert holds.held(10) == (made,)


def test_what_cannot_be_held_or_released_says_why(index: Index, holds: Holds):
    put(index)
    with pytest.raises(LookupError, match=r"study 2\.25\.9 is unknown"):
        holds.hold("2.25.9", "operator", "", NOW)
    with pytest.raises(LookupError, match=r"2\.25\.100 is not held"):
        holds.release(STUDY, "operator", NOW)
    holds.hold(STUDY, "operator ann", "", NOW)
    with pytest.raises(LookupError, match="held by operator ann since 2026-03-01"):
        holds.hold(STUDY, "operator bob", "", NOW)


def test_hold_and_release_are_audited_with_the_patient(index: Index, holds: Holds, audits: Audits):
    put(index)
    holds.hold(STUDY, "operator ann", "ask the ward", NOW)
    holds.release(STUDY, "operator bob", later(1))

    records = audits.waiting("filed_at", 10)[-2:]

    assert [(one.event, one.actor, one.patient_id) for one in records] == [
        ("held", "operator ann", "A1"),
        ("released", "operator bob", "A1"),
    ]
