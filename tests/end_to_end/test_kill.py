"""The plug is pulled while studies are on their way; afterwards everything acknowledged is there and sent once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.demo.pacs import MiniPacs
from storage.records import Stage
from tests.builders import a_radiograph
from tests.end_to_end.conftest import Running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILL_AT = (Stage.GATHER, Stage.READ, Stage.COMPOSE, Stage.DELIVER)


@pytest.fixture
def preread(tmp_path: Path, pacs: MiniPacs) -> Iterator[Running]:
    running = Running(tmp_path, pacs.port, settle_seconds=0.3)
    yield running
    running.stop()


def stage_of(running: Running, study: str) -> Stage | None:
    jobs = running.jobs(study)
    return jobs[-1].stage if jobs else None


def test_a_kill_at_each_stage_loses_nothing_and_doubles_nothing(preread: Running, pacs: MiniPacs):
    studies = []
    preread.start()
    for number, stage in enumerate(KILL_AT):
        image = a_radiograph(patient_id=f"K{number}", rows=300, columns=280)
        pacs.send([image], "127.0.0.1", preread.port, "PREREAD")
        study = str(image.StudyInstanceUID)
        studies.append(study)
        later = {*KILL_AT[KILL_AT.index(stage) :], Stage.DONE}
        wait_for(f"stage {stage}", lambda study=study, later=later: stage_of(preread, study) in later)
        preread.kill()
        preread.start()

    jobs = [preread.wait_for_jobs(study) for study in studies]

    assert [[job.stage for job in of_study] for of_study in jobs] == [[Stage.DONE]] * len(studies)
    for study, (job,) in zip(studies, jobs, strict=True):
        store = preread.store()
        made = {result.sop_instance_uid for result in store.jobs.results_of_job(job.number)}
        assert [i.sop_instance_uid for i in store.index.instances(study)], "the acknowledged image is there"
        store.database.close()
        assert {received.sop_instance_uid for received in pacs.received(study)} == made
