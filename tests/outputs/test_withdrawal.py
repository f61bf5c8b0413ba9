"""What takes a draft back is held to the same judges as the draft, whatever the source."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset

from agent.outputs.stamp import Predecessor
from agent.outputs.withdrawal import build_rejection_note, build_withdrawal_picture, build_withdrawal_sr
from tests.outputs.drafts import DEMO, SOURCES, a_full_reading, a_stamp, built, sources_of, texts
from tests.outputs.validators import dciodvfy_errors, dcmtk, written

pytestmark = pytest.mark.slow

BECAUSE = "the wrong patient was on the table, 환자 오류"


def drafts_of(header: Dataset) -> list[Dataset]:
    kinds = ("report_sr", "findings_sr", "presentation_state")
    return [made for kind in kinds for made in built(kind, sources_of(header), a_full_reading(header))]


def a_withdrawal_sr(header: Dataset) -> Dataset:
    (draft,) = built("report_sr", sources_of(header), a_full_reading(header))
    before = Predecessor(
        kind="report_sr",
        study_instance_uid=draft.StudyInstanceUID,
        series_instance_uid=draft.SeriesInstanceUID,
        sop_class_uid=draft.SOPClassUID,
        sop_instance_uid=draft.SOPInstanceUID,
    )
    sources = replace(sources_of(header), predecessors=(before,))
    made = build_withdrawal_sr(sources, BECAUSE, DEMO, a_stamp(revision=2))
    (predecessor,) = made.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == draft.SOPInstanceUID
    return made


def a_rejection_note(header: Dataset) -> Dataset:
    rejected = drafts_of(header)
    made = build_rejection_note(sources_of(header), rejected, 0, BECAUSE, DEMO, a_stamp(revision=2))
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    named = {
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert named == {one.SOPInstanceUID for one in rejected}
    return made


def a_withdrawal_picture(header: Dataset) -> Dataset:
    return build_withdrawal_picture(sources_of(header), BECAUSE, DEMO, a_stamp(revision=2))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("make", [a_withdrawal_sr, a_withdrawal_picture, a_rejection_note])
def test_no_withdrawal_of_any_source_has_an_error_of_the_iod(make, source: str, tmp_path: Path):
    header = SOURCES[source]()

    made = make(header)

    assert dciodvfy_errors(written(made, tmp_path)) == []
    said = [*texts(made), str(made.get("ImageComments", ""))]
    assert any("withdrawn" in text and BECAUSE in text for text in said)
    assert str(made.PatientName) == str(header.get("PatientName") or "")
    assert "withdrawn" in made.SeriesDescription.lower()
    assert len(made.SeriesDescription) <= 64


def test_a_withdrawn_draft_awaits_nobody_and_is_still_not_verified():
    made = a_withdrawal_sr(SOURCES["DX, MONOCHROME2, Korean"]())

    assert made.CompletionFlagDescription == "AI draft; not verified, and withdrawn"
    assert (made.CompletionFlag, made.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert made.SeriesDescription == "AI DRAFT report (unverified, WITHDRAWN) SYNTHETIC DEMO MODEL"


def test_the_picture_of_a_withdrawal_follows_those_of_the_draft():
    header = SOURCES["DX, MONOCHROME2, Korean"]()
    (drawn, *_) = built("secondary_capture", sources_of(header), a_full_reading(header, engine=DEMO))

    made = a_withdrawal_picture(header)

    assert made.SeriesInstanceUID == drawn.SeriesInstanceUID
    assert made.SOPInstanceUID != drawn.SOPInstanceUID
    assert made.InstanceNumber > drawn.InstanceNumber
    assert (made.Rows, made.Columns, len(made.PixelData)) == (768, 1024, 768 * 1024 * 3)


@pytest.mark.peers
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("make", [a_withdrawal_sr, a_rejection_note])
def test_dsrdump_reads_every_withdrawal_and_its_name(make, source: str, tmp_path: Path):
    header = SOURCES[source]()

    printed = dcmtk("dsrdump", "+Pl", written(make(header), tmp_path))

    assert str(header.get("PatientName", "")) in printed
    assert "AI DRAFT - NOT VERIFIED" in printed
    assert BECAUSE in printed
