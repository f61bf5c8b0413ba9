"""The whole line with nothing replaced: C-STORE in, the demo model, DICOM objects back."""

from pathlib import Path

import pytest
from pydicom import Dataset

from agent.demo.pacs import MiniPacs
from storage.records import Stage
from tests.builders import a_radiograph, a_report_sr
from tests.end_to_end.conftest import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"


def send(pacs: MiniPacs, preread: Running, *objects: Dataset) -> str:
    pacs.send(objects, "127.0.0.1", preread.port, "PREREAD")
    return str(objects[0].StudyInstanceUID)


def texts(dataset: Dataset) -> str:
    """Every text value of an SR, top to bottom."""
    own = str(dataset.get("TextValue", ""))
    return "\n".join([own, *(texts(item) for item in dataset.get("ContentSequence", []))])


def test_a_study_with_a_prior_and_its_report_comes_back_as_a_draft_that_compares(
    preread: Running, pacs: MiniPacs
):
    send(
        pacs,
        preread,
        a_radiograph(patient_id="P1", days_ago=30, rows=300, columns=280),
        a_report_sr(
            patient_id="P1", days_ago=30, findings="There is a small left pleural effusion. No pneumothorax."
        ),
    )
    study = send(pacs, preread, a_radiograph(patient_id="P1", rows=300, columns=280))

    (job,) = preread.wait_for_jobs(study)

    assert job.stage is Stage.DONE
    report = next(o for o in pacs.datasets(study) if o.SOPClassUID == BASIC_TEXT_SR)
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    text = texts(report)
    assert "AI DRAFT - NOT VERIFIED" in text
    assert "SYNTHETIC DEMO MODEL" in text.upper()
    assert "Comparison: chest radiograph " in text
    assert "small left pleural effusion" in text, "the prior report stands in the questions that are kept"


def test_a_first_visit_is_read_without_a_prior_in_any_question(preread: Running, pacs: MiniPacs):
    study = send(pacs, preread, a_radiograph(patient_id="P2", rows=300, columns=280))

    (job,) = preread.wait_for_jobs(study)

    assert job.stage is Stage.DONE
    assert job.reading_json is not None
    assert "prior radiology" not in job.reading_json


def test_each_object_comes_back_once_and_our_own_objects_open_nothing(preread: Running, pacs: MiniPacs):
    study = send(pacs, preread, a_radiograph(patient_id="P3", rows=300, columns=280))
    preread.wait_for_jobs(study)
    received = pacs.received(study)

    assert received
    assert all(item.first for item in received)
    send(pacs, preread, *pacs.datasets(study))
    marker = send(pacs, preread, a_radiograph(patient_id="P3M", rows=300, columns=280))
    preread.wait_for_jobs(marker)  # by now the echo of our own objects has long settled
    assert len(preread.jobs(study)) == 1


def test_a_late_image_opens_revision_2_whose_report_names_the_first(preread: Running, pacs: MiniPacs):
    study = send(pacs, preread, a_radiograph(patient_id="P4", rows=300, columns=280))
    preread.wait_for_jobs(study)

    send(pacs, preread, a_radiograph(patient_id="P4", view="LL", number=2, rows=300, columns=280))
    jobs = preread.wait_for_jobs(study, 2)

    assert sorted(job.revision for job in jobs) == [1, 2]
    first, second = (o for o in pacs.datasets(study) if o.SOPClassUID == BASIC_TEXT_SR)
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID


def test_a_study_without_a_frontal_image_is_skipped_and_says_so(preread: Running, pacs: MiniPacs):
    study = send(pacs, preread, a_radiograph(patient_id="P5", view="LL"))

    (job,) = preread.wait_for_jobs(study)

    assert job.stage is Stage.SKIPPED
    assert job.problem is not None
    assert "no frontal chest radiograph" in job.problem


def test_two_patients_in_one_study_are_read_by_nobody(preread: Running, pacs: MiniPacs):
    one = a_radiograph(patient_id="P6")
    other = a_radiograph(
        patient_id="Q6", birth_date="19990909", study_uid=str(one.StudyInstanceUID), number=2
    )

    study = send(pacs, preread, one, other)
    (job,) = preread.wait_for_jobs(study)

    assert job.stage is Stage.FAILED
    assert job.problem is not None
    assert "two patients" in job.problem
    assert str(other.SOPInstanceUID) in job.problem


def test_no_log_line_holds_a_name_an_id_or_report_text(preread: Running, pacs: MiniPacs):
    send(
        pacs,
        preread,
        a_radiograph(patient_id="ZXID77", name="Zzyzx^Quilla", days_ago=9, rows=300, columns=280),
        a_report_sr(
            patient_id="ZXID77",
            name="Zzyzx^Quilla",
            days_ago=9,
            findings="Marmalade opacity at the left base.",
        ),
    )
    study = send(pacs, preread, a_radiograph(patient_id="ZXID77", name="Zzyzx^Quilla", rows=300, columns=280))
    preread.wait_for_jobs(study)

    log = preread.log.read_text()

    assert study in log
    for marker in ("ZXID77", "Zzyzx", "Quilla", "Marmalade"):
        assert marker not in log


def test_the_process_that_listens_stays_below_120_mb(preread: Running, pacs: MiniPacs):
    send(pacs, preread, a_radiograph(patient_id="P8", rows=2500, columns=2048))
    preread.page("/metrics")
    assert preread.process is not None

    status = Path(f"/proc/{preread.process.pid}/status").read_text()

    peak_kilobytes = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kilobytes < 120_000


def test_the_reader_s_work_is_counted_by_the_process_that_listens(preread: Running, pacs: MiniPacs):
    study = send(pacs, preread, a_radiograph(patient_id="P9", rows=300, columns=280))
    preread.wait_for_jobs(study)

    page, ready = preread.page("/metrics"), preread.page("/readyz")

    assert 'preread_readings_total{engine="m4cxr"}' in page
    assert 'preread_deliveries_total{destination="pacs",outcome="done"}' in page
    assert "preread_reader_alive 1.0" in page
    assert study not in page
    assert "ok reader: preread synthetic demo model" in ready
