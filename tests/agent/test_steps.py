"""The straight line on a real store with a real receiver; only the clock is turned and the model scripted."""

import errno
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset

from agent import manifest as manifests
from agent.admission import role_of
from agent.casework import results_of
from agent.demo.pacs import MiniPacs
from agent.dicom.headers import read_headers
from agent.patience import Patience
from agent.peers import Peers
from agent.steps import Tools, settle
from agent.worker import Worker
from config.settings import (
    AgentSettings,
    DestinationSettings,
    PeersSettings,
    ReadingSettings,
    Settings,
    StudySettings,
)
from inference.case import Case
from inference.engine import OutOfMemory
from inference.reading import Reading
from storage.database import connect
from storage.files import Files
from storage.index import Index
from storage.jobs import Jobs
from storage.records import Instance, Job, Stage
from tests.builders import a_radiograph, a_report_sr, write
from tests.scripted_engine import ScriptedEngine, an_effusion

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PATIENCE = Patience(
    attempts_max=3,
    retry_seconds_min=5,
    retry_seconds_max=60,
    lease_seconds=60,
    wait_seconds=dict.fromkeys(Stage, 3600.0),
)


@dataclass
class Line:
    """A hospital in one thread: what arrives is put by hand, time passes when told to."""

    folder: Path
    pacs: MiniPacs
    now: datetime = NOON
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)

    def __post_init__(self) -> None:
        database = connect(f"sqlite:///{self.folder / 'preread.sqlite'}")
        destination = DestinationSettings(
            name="pacs", ae_title="TESTPACS", host="127.0.0.1", port=self.pacs.port, connect_seconds=2.0
        )
        study = StudySettings(settle_seconds=60, complete_when_views=())
        self.tools = Tools(
            clock=lambda: self.now,
            files=Files(self.folder / "files"),
            index=Index(database),
            jobs=Jobs(database),
            peers=Peers("PREREAD"),
            engine=self.engine,
            settings=Settings(
                agent=AgentSettings(),
                peers=PeersSettings(destinations=(destination,)),
                reading=ReadingSettings(study=study),
            ),
        )
        stages = (Stage.GATHER, Stage.READ, Stage.COMPOSE)
        self.worker = Worker("worker", self.tools, PATIENCE, stages=stages, leaves_alone=())

    def arrive(self, *objects: Dataset) -> str:
        """Puts objects into the store as the listener does; gives the Study Instance UID."""
        for dataset in objects:
            path = f"studies/{dataset.StudyInstanceUID}/{dataset.SOPInstanceUID}.dcm"
            whole = write(dataset, self.folder / "arriving.dcm")
            self.tools.files.put(path, whole.read_bytes())
            headers = read_headers(whole)
            instance = Instance(
                number=0,
                sop_instance_uid=headers.sop_instance_uid,
                series_instance_uid=headers.series_instance_uid,
                study_instance_uid=headers.study_instance_uid,
                sop_class_uid=headers.sop_class_uid,
                transfer_syntax_uid=headers.transfer_syntax_uid,
                modality=headers.modality,
                view_group=headers.view_group,
                calling_ae_title="XRAY",
                called_ae_title="PREREAD",
                path=path,
                sha256=hashlib.sha256(whole.read_bytes()).hexdigest(),
                size_bytes=whole.stat().st_size,
                received_at=self.now,
                role=role_of(headers.sop_class_uid),
            )
            self.tools.index.put(instance, headers.study())
        return str(objects[0].StudyInstanceUID)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def run(self) -> None:
        """Settles, then works until nothing is due."""
        settle(self.tools)
        while self.worker.work_once():
            pass

    def job(self, study_instance_uid: str) -> Job:
        return self.tools.jobs.jobs_of_study(study_instance_uid)[-1]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path, MiniPacs("TESTPACS", tmp_path / "pacs"))
    yield line
    line.pacs.close()


def test_a_study_is_left_alone_until_it_has_been_silent(line: Line):
    study = line.arrive(a_radiograph())

    line.wait(59)
    line.run()
    assert line.tools.jobs.jobs_of_study(study) == ()

    line.wait(1)
    line.run()
    assert line.job(study).stage is Stage.DONE


def test_a_study_walks_the_line_and_its_objects_reach_the_pacs_once(line: Line):
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)

    line.run()

    made = {result.sop_instance_uid for result in line.tools.jobs.results_of_job(line.job(study).number)}
    received = line.pacs.received(study)
    assert {item.sop_instance_uid for item in received} == made
    assert all(item.first for item in received)
    assert {str(dataset.Modality) for dataset in line.pacs.datasets(study)} == {"SR", "PR"}


def test_the_model_sees_the_earlier_exam_with_its_report(line: Line):
    line.arrive(a_radiograph(days_ago=20), a_report_sr(days_ago=20, findings="Small left effusion."))
    line.wait(60)
    line.run()
    line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    case = line.engine.cases[-1]
    assert [exam.report for exam in case.priors] == ["Small left effusion."]
    assert case.priors[0].days_before == 20


def test_a_stranger_with_the_same_id_is_passed_over_and_the_manifest_says_why(line: Line):
    line.arrive(a_radiograph(days_ago=20, birth_date="19840615"))
    study = line.arrive(a_radiograph())
    line.wait(60)

    line.run()

    manifest = manifests.load_manifest(line.job(study).manifest_json or "")
    assert manifest.priors == ()
    assert manifest.passed_over[0].reason == "birth date differs: 19840615, current study 19500101"


def test_a_late_image_opens_the_next_revision_and_a_late_report_does_not(line: Line):
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()

    line.arrive(a_report_sr(study_uid=study))
    line.wait(60)
    line.run()
    assert len(line.tools.jobs.jobs_of_study(study)) == 1

    line.arrive(a_radiograph(study_uid=study, view="LL", number=2))
    line.wait(60)
    line.run()
    assert [job.revision for job in line.tools.jobs.jobs_of_study(study)] == [1, 2]


def test_our_own_objects_coming_back_open_nothing(line: Line):
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()

    line.arrive(*line.pacs.datasets(study))
    line.wait(600)
    line.run()

    assert len(line.tools.jobs.jobs_of_study(study)) == 1


def test_a_study_with_only_a_lateral_is_skipped_with_a_sentence(line: Line):
    study = line.arrive(a_radiograph(view="LL"))
    line.wait(60)

    line.run()

    assert line.job(study).stage is Stage.SKIPPED
    assert line.job(study).problem == "no frontal chest radiograph in the study (views: LATERAL)"


def test_two_patients_in_one_study_are_read_by_nobody_and_the_sentence_names_no_patient(line: Line):
    one = a_radiograph(patient_id="P6")
    study = line.arrive(one, a_radiograph(patient_id="Q6", study_uid=str(one.StudyInstanceUID), number=2))
    line.wait(60)

    line.run()

    problem = line.job(study).problem or ""
    assert line.job(study).stage is Stage.FAILED
    assert "two patients" in problem
    assert "P6" not in problem
    assert line.engine.cases == []


def test_a_case_that_finds_no_memory_is_read_when_there_is_some_again(line: Line):
    def busy(case: Case) -> Reading:
        raise OutOfMemory("GPU 0 is out of memory")

    line.engine.script = busy
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()
    line.engine.script = an_effusion

    line.wait(29)
    line.run()
    assert line.job(study).stage is Stage.READ
    line.wait(1)
    line.run()
    assert line.job(study).stage is Stage.DONE


def test_a_model_without_memory_costs_no_attempt_until_patience_ends(line: Line):
    def busy(case: Case) -> Reading:
        raise OutOfMemory("GPU 0 is out of memory")

    line.engine.script = busy
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()
    assert (line.job(study).stage, line.job(study).attempts) == (Stage.READ, 0)

    line.wait(3601)
    line.run()

    assert line.job(study).stage is Stage.FAILED
    assert line.job(study).problem == "waited 3601 s in stage read: GPU 0 is out of memory"


def test_a_full_disk_is_waited_for_and_no_bug(line: Line):
    def full(case: Case) -> Reading:
        raise OSError(errno.ENOSPC, "No space left on device")

    line.engine.script = full
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()

    assert (line.job(study).stage, line.job(study).attempts) == (Stage.READ, 0)
    assert "the disk is full" in (line.job(study).problem or "")


def test_a_bug_in_the_model_is_tried_three_times_and_then_named(line: Line):
    def broken(case: Case) -> Reading:
        raise ZeroDivisionError

    line.engine.script = broken
    study = line.arrive(a_radiograph())
    for _ in range(5):
        line.wait(120)
        line.run()

    assert len(line.engine.cases) == 3
    assert line.job(study).stage is Stage.FAILED
    assert "internal error in stage read" in (line.job(study).problem or "")


def test_a_pacs_that_is_down_gets_the_objects_when_it_is_back(line: Line):
    line.pacs.close()
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()
    assert line.job(study).stage is Stage.DELIVER
    waiting = line.tools.jobs.deliveries_of_job(line.job(study).number)
    assert all("TESTPACS" in (delivery.problem or "") for delivery in waiting)

    line.pacs = MiniPacs("TESTPACS", line.folder / "pacs", port=line.pacs.port)
    line.wait(60)
    line.run()

    assert line.job(study).stage is Stage.DONE
    assert len(line.pacs.received(study)) == len(waiting)


def test_composing_twice_makes_the_same_bytes(line: Line):
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.run()
    job = line.job(study)
    first = {result.sop_instance_uid: result.sha256 for result in line.tools.jobs.results_of_job(job.number)}

    manifest = manifests.load_manifest(job.manifest_json or "")
    reading = manifests.load_reading(job.reading_json or "")
    line.wait(500)
    again = results_of(job, manifest, reading, line.tools.files, line.tools.jobs, line.tools.settings)

    assert {result.sop_instance_uid: result.sha256 for result in again} == first


def test_stopping_a_worker_in_the_middle_of_a_reading_gives_the_job_back_and_costs_no_attempt(line: Line):
    reading_began, may_go_on = threading.Event(), threading.Event()

    def slow(case: Case) -> Reading:
        reading_began.set()
        may_go_on.wait(30)
        return an_effusion(case)

    line.engine.script = slow
    study = line.arrive(a_radiograph())
    line.wait(60)
    settle(line.tools)
    line.worker.start()
    assert reading_began.wait(30)

    line.worker.stop()
    line.worker.finish(0.1)
    given_back = line.job(study)
    may_go_on.set()
    line.worker.join(30)

    assert (given_back.stage, given_back.attempts, given_back.lease_owner) == (Stage.READ, 0, None)
    assert line.job(study).stage is Stage.READ, "what the stopped worker still did is dropped"
