"""What becomes of a study on the straight line."""

import errno
import threading
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from agent import manifest as manifests
from agent.casework import results_of
from agent.demo.pacs import MiniPacs
from agent.outputs import OUTPUTS
from config.settings import (
    CalibrationSettings,
    DeviceSettings,
    OutputKind,
    ReadingSettings,
    StudySettings,
)
from inference.case import Case
from inference.engine import OutOfMemory
from inference.reading import Finding, Reading, Score, Status
from storage.records import ResultObject, Stage
from tests.agent.line import PATIENCE, Line
from tests.builders import a_radiograph, a_report_sr
from tests.scripted_engine import IDENTITY, ScriptedEngine, an_effusion


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


def test_every_kind_of_output_reaches_a_pacs_that_asks_for_it_and_comes_back_without_a_word(
    tmp_path: Path, line: Line
):
    line = Line(tmp_path, line.pacs, outputs=get_args(OutputKind))
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(61)
    line.run()

    received = line.pacs.datasets(study)
    line.arrive(*received)
    line.wait(600)
    line.run()

    assert len({dataset.SeriesInstanceUID for dataset in received}) == len(received) == len(OUTPUTS)
    assert {str(d.Modality) for d in received} == {"SR", "PR", "OT", "KO", "SEG", "DOC"}
    assert len(line.tools.jobs.jobs_of_study(study)) == 1


def a_calibration(weights_digest: str) -> CalibrationSettings:
    return CalibrationSettings(
        finding="edema", slope=1.0, intercept=0.0, fitted_on="9 cases", weights_digest=weights_digest
    )


@pytest.mark.parametrize(
    ("digest", "calibrated"), [(IDENTITY.weights_digest, 0.8), ("sha256:" + "9" * 64, None)]
)
def test_scores_are_calibrated_for_the_weights_that_gave_them_and_no_others(
    tmp_path: Path, line: Line, digest: str, calibrated: float | None
):
    scores = (Score("edema", 0.8),)
    engine = ScriptedEngine(lambda case: replace(an_effusion(case), scores=scores))
    line = Line(tmp_path, line.pacs, engine=engine, calibrations=(a_calibration(digest),))
    study = line.arrive(a_radiograph())
    line.wait(61)

    line.run()

    read = manifests.load_reading(line.job(study).reading_json or "")
    assert read.scores[0].calibrated == (pytest.approx(calibrated) if calibrated else None)
    assert any("it was not used" in problem for problem in read.problems) is (calibrated is None)


def test_manifest_and_reading_name_the_configuration_that_they_were_made_with(line: Line):
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.gather()
    gathered_with = line.tools.settings.digest
    settings = line.tools.settings.model_copy(
        update={"reading": ReadingSettings(study=StudySettings(images_max=3))}
    )
    line.worker.take(replace(line.tools, settings=settings), PATIENCE)

    line.run()

    job = line.job(study)
    assert manifests.load_manifest(job.manifest_json or "").configuration == gathered_with
    assert manifests.load_reading(job.reading_json or "").configuration == settings.digest != gathered_with


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


def test_what_has_gone_is_not_told_as_named(line: Line):
    def gone(case: Case) -> Reading:
        reading = an_effusion(case)
        return replace(reading, findings=(*reading.findings, Finding("edema", Status.ABSENT)))

    line.engine.script = gone
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()

    (told,) = [one.text for one in line.tools.jobs.events_of_study(study) if " named " in one.text]
    assert told.startswith("a scripted engine for tests named pleural effusion, in")


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


def test_studies_that_wait_are_read_at_once_and_one_alone_waits_for_no_other(line: Line):
    studies = [line.arrive(a_radiograph(patient_id=f"P{number}")) for number in range(5)]
    line.wait(60)

    line.run()

    assert line.engine.batches == [4]
    assert len(line.engine.cases) == 5
    assert [line.job(study).stage for study in studies] == [Stage.DONE] * 5


def test_a_case_that_fails_beside_others_fails_alone(line: Line):
    def broken_for_large_films(case: Case) -> Reading:
        if case.current.images[0].rows == 200:
            raise ZeroDivisionError
        return an_effusion(case)

    line.engine.script = broken_for_large_films
    large = line.arrive(a_radiograph(patient_id="P0", rows=200, columns=180))
    others = [line.arrive(a_radiograph(patient_id=f"P{number}")) for number in range(1, 4)]
    line.wait(60)

    line.run()

    assert [line.job(study).stage for study in others] == [Stage.DONE] * 3
    assert (line.job(large).stage, line.job(large).attempts) == (Stage.READ, 1)
    assert {line.job(study).attempts for study in others} == {0}


def test_a_case_whose_image_cannot_be_shown_is_left_out_of_the_batch(line: Line):
    cut = a_radiograph(patient_id="P0")
    cut.PixelData = cut.PixelData[:10]
    unreadable = line.arrive(cut)
    others = [line.arrive(a_radiograph(patient_id=f"P{number}")) for number in range(1, 3)]
    line.wait(60)

    line.run()

    assert line.engine.batches == [2]
    assert [line.job(study).stage for study in others] == [Stage.DONE] * 2
    assert line.job(unreadable).stage is Stage.FAILED


def test_a_job_whose_worker_died_is_read_alone(line: Line):
    first = line.arrive(a_radiograph(patient_id="P0"))
    second = line.arrive(a_radiograph(patient_id="P1"))
    line.wait(60)
    line.gather()
    line.tools.jobs.claim((Stage.READ,), "a worker that dies", line.now, PATIENCE.lease_seconds)
    line.wait(PATIENCE.lease_seconds + 1)

    line.run()

    assert line.engine.batches == []
    assert [line.job(study).stage for study in (first, second)] == [Stage.DONE] * 2


def test_a_pacs_that_is_down_gets_the_objects_when_it_is_back(line: Line):
    line.pacs.close()
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.run()
    assert line.job(study).stage is Stage.DELIVER
    waiting = line.tools.jobs.deliveries.of_job(line.job(study).number)
    assert all("TESTPACS" in (delivery.problem or "") for delivery in waiting)

    line.pacs = MiniPacs("TESTPACS", line.folder / "pacs", port=line.pacs.port)
    line.wait(60)
    line.run()

    assert line.job(study).stage is Stage.DONE
    assert len(line.pacs.received(study)) == len(waiting)


def composed(line: Line, study: str) -> tuple[ResultObject, ...]:
    """What the step `compose` writes of a study's newest job before its commit."""
    job, tools = line.job(study), line.tools
    manifest = manifests.load_manifest(job.manifest_json or "")
    reading = manifests.load_reading(job.reading_json or "")
    kinds = tools.settings.outputs_wanted()
    made, _ = results_of(job, manifest, reading, tools.files, tools.jobs, tools.settings, kinds)
    return made


def test_composing_twice_makes_the_same_bytes(line: Line):
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.run()
    first = {
        result.sop_instance_uid: result.sha256
        for result in line.tools.jobs.results_of_job(line.job(study).number)
    }

    line.wait(500)
    again = composed(line, study)

    assert {result.sop_instance_uid: result.sha256 for result in again} == first


def test_a_draft_cut_off_before_its_commit_is_made_under_new_settings_with_the_same_uids(line: Line):
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.gather()
    line.worker.work_once()
    cut_off = composed(line, study)
    device = DeviceSettings(institution_name="North Clinic")
    agent = line.tools.settings.agent.model_copy(update={"device": device})
    settings = line.tools.settings.model_copy(update={"agent": agent})
    line.worker.take(replace(line.tools, settings=settings), PATIENCE, leaves_alone=())

    line.run()

    assert line.job(study).stage is Stage.DONE
    sent = line.pacs.datasets(study)
    assert {str(one.SOPInstanceUID) for one in sent} == {one.sop_instance_uid for one in cut_off}
    assert {str(one.InstitutionName) for one in sent} == {"North Clinic"}


def test_stopping_a_worker_in_the_middle_of_a_reading_gives_the_job_back_and_costs_no_attempt(line: Line):
    reading_began, may_go_on = threading.Event(), threading.Event()

    def slow(case: Case) -> Reading:
        reading_began.set()
        may_go_on.wait(30)
        return an_effusion(case)

    line.engine.script = slow
    study = line.arrive(a_radiograph())
    line.wait(60)
    line.gather()
    line.worker.start()
    assert reading_began.wait(30)

    line.worker.stop()
    line.worker.finish(0.1)
    given_back = line.job(study)
    may_go_on.set()
    line.worker.join(30)

    assert (given_back.stage, given_back.attempts, given_back.lease_owner) == (Stage.READ, 0, None)
    assert line.job(study).stage is Stage.READ, "what the stopped worker still did is dropped"
