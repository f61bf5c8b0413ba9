"""The list of studies, on SQLite and on PostgreSQL alike."""

import pytest

from storage.database import Database
from storage.index import Index
from storage.jobs import Comparable, Jobs
from storage.listing import Listing
from storage.records import InstanceRole, Stage
from tests.storage.builders import NOW, a_study, an_instance, an_open_job, claimed, done, later, put


@pytest.fixture
def listing(database: Database) -> Listing:
    return Listing(database)


def test_a_study_is_listed_with_its_newest_job_and_its_last_arrival(
    listing: Listing, index: Index, jobs: Jobs
):
    an_open_job(index, jobs)
    jobs.end(claimed(jobs), Stage.FAILED, "no frontal image", later(3))
    put(index, "2.25.8", received_at=later(60), calling_ae_title="XRAY2")
    put(index, "2.25.9", received_at=later(70), calling_ae_title="PACS", role=InstanceRole.REPORT)
    second = jobs.again("2.25.100", later(80))

    (study,) = listing.studies(10)

    assert (study.received_at, study.received_from, study.images) == (later(70), "PACS", 2)
    assert (study.job_number, study.revision, study.stage) == (second.number, 2, Stage.GATHER)
    assert (study.has_patient, study.problem) == (True, None)


def test_how_far_the_second_reading_of_the_newest_job_is_is_listed(
    listing: Listing, index: Index, jobs: Jobs
):
    done(index, jobs)
    seconds, wanted, said = jobs.second_readings, Comparable(NOW), [listing.studies(1)[0].second]

    for ended in (None, "keep", "fail"):
        claim = seconds.claim("second 1", NOW, 60, wanted)
        assert claim is not None
        if ended == "keep":
            seconds.keep(*claim, "{}", NOW)
        elif ended == "fail":
            seconds.fail(claim[0], "no memory", NOW)
        said.append(listing.studies(1)[0].second)
        if ended is None:
            seconds.give_back(claim[0])
        else:
            done(index, jobs, f"2.25.20{len(said)}")

    assert said == [None, "open", "read", "failed"]


def test_the_newest_arrival_comes_first_and_the_limit_ends_the_list(listing: Listing, index: Index):
    for number in range(3):
        put(index, f"2.25.{number + 1}", study=f"2.25.{number + 100}")

    assert [study.study_instance_uid for study in listing.studies(2)] == ["2.25.102", "2.25.101"]


def test_a_stage_a_time_and_a_missing_patient_each_choose(listing: Listing, index: Index, jobs: Jobs):
    an_open_job(index, jobs, "2.25.1")
    put(index, "2.25.21", study="2.25.2", received_at=later(60))
    index.put(an_instance("2.25.31", study="2.25.3"), a_study("2.25.3", patient_id=""))

    chosen = [
        listing.studies(10, stage=Stage.GATHER),
        listing.studies(10, since=later(1)),
        listing.studies(10, only_without_patient=True),
        listing.studies(10, stage=Stage.DONE, since=NOW),
    ]

    assert [[study.study_instance_uid for study in found] for found in chosen] == [
        ["2.25.1"],
        ["2.25.2"],
        ["2.25.3"],
        [],
    ]
