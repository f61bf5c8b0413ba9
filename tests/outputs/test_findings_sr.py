"""The coded findings, TID 1500."""

from pathlib import Path

import pytest
from pydicom import Dataset

from agent.outputs import Predecessor
from inference.reading import Change, Finding, Score, Status
from tests.outputs.drafts import (
    DEMO,
    a_box,
    a_full_reading,
    a_reading,
    a_source,
    an_effusion,
    built,
    groups,
    named,
    sources_of,
    texts,
    the_one,
)
from tests.outputs.validators import dciodvfy_errors, dcmtk, written


def code_of(group: Dataset, concept: str) -> str:
    """Meaning of the coded value under one concept name of a group."""
    (item,) = named(group, concept)
    return item.ConceptCodeSequence[0].CodeMeaning


def evaluations(document: Dataset) -> list[Dataset]:
    """Every Qualitative Evaluations container."""
    return named(document, "C0034375")


def test_without_a_box_there_is_no_findings_document():
    reading = a_reading(Finding("cardiomegaly", Status.PRESENT))

    assert built("findings_sr", sources_of(a_source()), reading) == ()


def test_each_box_is_a_group_with_finding_site_and_side():
    header = a_source()
    document = the_one("findings_sr", header)

    (group,) = groups(document)

    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    assert code_of(group, "121071") == "Pleural effusion"
    (site,) = named(group, "363698007")
    assert site.ConceptCodeSequence[0].CodeMeaning == "Pleura"
    assert site.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning == "Right"


def test_the_region_is_a_closed_outline_on_the_current_image():
    header = a_source()
    document = the_one("findings_sr", header)

    (region,) = named(groups(document)[0], "111030")

    assert region.GraphicType == "POLYLINE"
    assert list(region.GraphicData) == [40, 120, 140, 120, 140, 220, 40, 220, 40, 120]
    selected = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert selected.ReferencedSOPInstanceUID == header.SOPInstanceUID


def test_a_score_stands_in_a_partner_with_the_same_tracking_uid():
    header = a_source()
    reading = a_reading(an_effusion(a_box(header), score=0.923))

    region, partner = groups(the_one("findings_sr", header, reading))

    assert not any(item.ValueType == "NUM" for item in region.ContentSequence)
    assert named(region, "112040")[0].UID == named(partner, "112040")[0].UID
    measured = named(partner, "111012")[0].MeasuredValueSequence[0]
    assert (measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue) == (92.3, "%")
    assert "model score 92 % (uncalibrated)" in named(region, "121106")[0].TextValue


def test_a_calibrated_score_is_the_number_and_the_comment_says_both():
    header = a_source()
    scores = (Score("pleural effusion", 0.923, 0.61, "400 studies"),)
    reading = a_reading(an_effusion(a_box(header), score=0.923), scores=scores)

    region, partner = groups(the_one("findings_sr", header, reading))

    (number,) = named(partner, "111012")
    assert number.MeasuredValueSequence[0].NumericValue == 61
    comment = named(region, "121106")[0].TextValue
    assert "model score 92 %, calibrated 61 % (fitted on 400 studies)" in comment


def test_no_score_makes_no_number():
    document = the_one("findings_sr", a_source())

    assert not any(item.ValueType == "NUM" for group in groups(document) for item in group.ContentSequence)


@pytest.mark.parametrize(
    ("change", "meaning"),
    [
        (Change.NEW, "New since prior exam"),
        (Change.LARGER, "Increase in size"),
        (Change.SMALLER, "Decrease in size"),
        (Change.UNCHANGED, "No change"),
        (Change.RESOLVED, "Problem resolved"),
    ],
)
def test_a_change_is_a_qualitative_difference(change: Change, meaning: str):
    header = a_source()

    (group,) = groups(the_one("findings_sr", header, a_reading(an_effusion(a_box(header), change=change))))

    assert code_of(group, "111049") == meaning


def test_a_private_code_names_its_scheme():
    header = a_source()
    new, larger = (
        the_one("findings_sr", header, a_reading(an_effusion(a_box(header), change=change)))
        for change in (Change.NEW, Change.LARGER)
    )

    assert [s.CodingSchemeDesignator for s in new.CodingSchemeIdentificationSequence] == ["99PREREAD"]
    assert "CodingSchemeIdentificationSequence" not in larger


def test_an_uncertain_finding_with_a_box_is_undetermined():
    header = a_source()

    (group,) = groups(
        the_one("findings_sr", header, a_reading(an_effusion(a_box(header), status=Status.UNCERTAIN)))
    )

    assert code_of(group, "60046008") == "Undetermined"


def test_findings_without_a_box_are_told_once_in_the_one_container():
    header = a_source()
    document = the_one("findings_sr", header, a_full_reading(header))

    (container,) = evaluations(document)

    assert code_of(container, "8186001") == "Undetermined"
    assert code_of(container, "36118008") == "Absent"
    assert named(container, "60046008") == []


def test_only_what_the_model_called_absent_is_absent():
    header = a_source()
    document = the_one("findings_sr", header, a_reading(an_effusion(a_box(header))))

    assert not any(str(e.value) == "Absent" for e in document.iterall() if e.keyword == "CodeMeaning")


def test_the_narrative_begins_with_the_banner():
    header = a_source()
    document = the_one("findings_sr", header, a_reading(an_effusion(a_box(header)), engine=DEMO))

    narrative = named(evaluations(document)[0], "121071")[0].TextValue

    assert narrative.startswith("AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL.\r\nThere is a right")
    assert all("SYNTHETIC DEMO MODEL" in text for text in texts(document) if text.startswith("AI DRAFT"))


def test_the_algorithm_is_named_in_each_group():
    header = a_source()
    document = the_one("findings_sr", header, a_reading(an_effusion(a_box(header), score=0.5)))

    for group in groups(document):
        assert named(group, "111001")[0].TextValue == "m4cxr"
        assert any("weights=sha256:5a" in item.TextValue for item in named(group, "111002"))


def test_every_image_that_the_content_names_is_evidence():
    header, prior = a_source(), a_source(days_ago=300)

    (document,) = built("findings_sr", sources_of(header, priors=(prior,)), a_full_reading(header))

    evidence = {
        reference.ReferencedSOPInstanceUID
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in document[keyword].value
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    content = Dataset()
    content.ContentSequence = document.ContentSequence
    used = {e.value for e in content.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    assert used == evidence == {header.SOPInstanceUID, prior.SOPInstanceUID}


@pytest.mark.parametrize("missing", ["PatientOrientation", "ImagerPixelSpacing"])
def test_an_image_that_cannot_be_described_is_no_entry_of_the_library(missing: str):
    described, bare = a_source(modality="CR"), a_source(modality="CR", missing=(missing,))

    assert len(named(the_one("findings_sr", described), "111028")) == 1
    assert named(the_one("findings_sr", bare), "111028") == []


def test_the_procedure_is_the_orders_or_else_any_imaging():
    header = a_source()
    assert code_of(the_one("findings_sr", header), "121058") == "Imaging procedure"

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "XRCH", "99HOSP", "XR chest"
    ordered = a_source(change={"ProcedureCodeSequence": [code]})

    assert code_of(the_one("findings_sr", ordered), "121058") == "XR chest"


@pytest.mark.parametrize("kind", ["report_sr", "findings_sr"])
def test_a_revision_names_its_predecessor_of_the_same_kind(kind: str):
    header = a_source()
    before = {each: the_one(each, header) for each in ("report_sr", "findings_sr")}
    predecessors = tuple(
        Predecessor(each, d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPClassUID, d.SOPInstanceUID)
        for each, d in before.items()
    )

    reading = a_reading(an_effusion(a_box(header)))
    (document,) = built(kind, sources_of(header, predecessors=predecessors), reading, revision=2)

    (study,) = document.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == document.SeriesInstanceUID
    assert [r.ReferencedSOPInstanceUID for r in series.ReferencedSOPSequence] == [before[kind].SOPInstanceUID]


AIR = "findings_sr_air"


def test_for_ai_results_a_score_stands_beside_its_region():
    header = a_source()
    reading = a_reading(an_effusion(a_box(header), score=0.923))

    document = the_one(AIR, header, reading)

    assert document.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    (group,) = groups(document)
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    assert named(group, "111012")[0].MeasuredValueSequence[0].NumericValue == 92.3
    assert len(named(group, "111030")) == 1


def test_for_ai_results_a_reading_without_a_box_has_its_document(tmp_path: Path):
    document = the_one(AIR, a_source(), a_reading(Finding("cardiomegaly", Status.PRESENT)))

    assert groups(document) == []
    assert code_of(evaluations(document)[0], "8186001") == "Present"
    assert dciodvfy_errors(written(document, tmp_path)) == []


def test_the_tracking_uids_are_the_same_for_ai_results():
    header = a_source()
    reading = a_full_reading(header)

    uids = [
        {named(group, "112040")[0].UID for group in groups(the_one(kind, header, reading))}
        for kind in ("findings_sr", AIR)
    ]

    assert uids[0] == uids[1]
    assert len(uids[0]) == 2


@pytest.mark.peers
def test_dcmtk_prints_the_tree(tmp_path: Path):
    header = a_source()
    document = the_one("findings_sr", header, a_full_reading(header))

    printed = dcmtk("dsrdump", "+Pc", "+Pl", written(document, tmp_path))

    assert '(111030,DCM,"Image Region")=(POLYLINE,40/120,140/120,140/220,40/220,40/120)' in printed
    assert printed.count('"Measurement Group"') == 3
    assert printed.count('"Qualitative Evaluations"') == 1
