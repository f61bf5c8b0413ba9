"""Clocks that jump, and a destination that is away for days: turned clocks, no waiting."""

from datetime import timedelta

import pytest
from pydicom import Dataset

from agent.overview import status
from storage.records import Stage
from tests.builders import a_radiograph
from tests.crash.hospital import Pacs
from tests.crash.observer import store_problems
from tests.faults.conftest import Clinic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def an_image(number: int = 1) -> Dataset:
    return a_radiograph(patient_id="T1", number=number, modality="CR", rows=32, columns=24)


STUDY = str(an_image().StudyInstanceUID)


@pytest.mark.parametrize("jump", [DAY, -HOUR])
@pytest.mark.parametrize("stage", [None, Stage.GATHER, Stage.READ, Stage.COMPOSE, Stage.DELIVER])
def test_a_clock_that_jumps_costs_no_study_its_draft(clinic: Clinic, stage: Stage | None, jump: timedelta):
    clinic.send(an_image())
    if stage is not None:
        clinic.until_stage(STUDY, stage)

    clinic.product.now += jump
    clinic.until_it_is_quiet()

    assert clinic.ended(STUDY) == [Stage.DONE]
    assert clinic.results("pacs").total() == 2


def test_the_job_of_a_worker_that_died_is_taken_over_though_the_clock_was_put_back(clinic: Clinic):
    clinic.send(an_image())
    clinic.until_stage(STUDY, Stage.GATHER)
    tools = clinic.product.tools
    assert tools.jobs.claim([Stage.GATHER], "dead", clinic.product.now, 120.0) is not None
    before = clinic.product.now

    clinic.product.now -= HOUR
    clinic.until_it_is_quiet()

    assert clinic.ended(STUDY) == [Stage.DONE]
    assert clinic.product.now - before < timedelta(minutes=10), "no later than the lease and the jump allow"


def test_a_destination_that_is_away_for_six_days_gets_everything_once_it_is_back(clinic: Clinic):
    port = clinic.destinations["pacs"].port
    clinic.destinations["pacs"].close()
    clinic.send(an_image())

    clinic.rounds(6 * 4, 6 * HOUR)
    waiting = status(clinic.settings, 10)["undelivered"]
    others = clinic.results("archive").total()
    clinic.destinations["pacs"] = Pacs("PACS", port)
    clinic.until_it_is_quiet()

    assert {one["destination"] for one in waiting} == {"pacs"}
    assert "cannot be connected" in waiting[0]["problem"]
    assert others == 1, "who is there does not wait for who is not"
    assert clinic.ended(STUDY) == [Stage.DONE]
    assert clinic.results("pacs").total() == 2


def test_a_destination_that_is_away_for_longer_than_patience_is_a_failure_with_its_reason(clinic: Clinic):
    clinic.destinations["pacs"].close()
    clinic.send(an_image())

    clinic.rounds(8 * 4, 6 * HOUR)

    (job,) = clinic.jobs(STUDY)
    assert job.stage is Stage.FAILED
    assert job.problem is not None
    assert "pacs: tried for" in job.problem
    assert clinic.results("archive").total() == 1
    assert list(store_problems(clinic.product.serving._store, clinic.acknowledged)) == []
