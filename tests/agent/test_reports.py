"""The words of a radiologist are found in a structured report of any make, and no machine's for them."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from agent.dicom.reports import StructuredReport, is_draft_of_ours, load_report, report_of
from tests.builders import a_code, a_radiograph, a_report_sr, as_bytes, mutilated, write
from tests.real_data import real_data


def a_text(words: str, code: tuple[str, str, str] = ("1", "99X", "Text")) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = Sequence([a_code(*code)])
    item.TextValue = words
    return item


def a_report_of(*content: Dataset) -> Dataset:
    report = a_report_sr()
    report.ContentSequence = Sequence(content)
    return report


@pytest.mark.parametrize("headings", ["loinc", "dcm", "free"])
def test_the_sections_are_told_apart_by_code_or_by_word(headings: str):
    report = report_of(
        a_report_sr(findings="Clear lungs.", impression="Normal.", indication="Cough.", headings=headings)
    )

    assert report is not None
    assert (report.text.findings, report.text.impression, report.text.indication) == (
        "Clear lungs.",
        "Normal.",
        "Cough.",
    )
    assert report.is_verified


@pytest.mark.parametrize(
    ("text", "findings", "impression"),
    [
        ("FINDINGS: Clear. IMPRESSION: Normal.", "Clear.", "Normal."),
        ("Findings\nClear.\nHeart normal.\n\nImpression\nNormal.", "Clear.\nHeart normal.", "Normal."),
        (
            "EXAM: CHEST 2 VIEWS\nCOMPARISON: None.\nFINDINGS: Clear.\nCONCLUSION: Normal.",
            "Clear.",
            "Normal.",
        ),
        ("Befund: Frei.\nBeurteilung: Normal.", "Frei.", "Normal."),
        (
            "FINDINGS: The previous findings: gone. IMPRESSION: Normal.",
            "The previous findings: gone.",
            "Normal.",
        ),
        ("The lungs are clear.", None, None),
    ],
)
def test_one_long_text_is_cut_at_its_headings(text: str, findings: str | None, impression: str | None):
    report = report_of(a_report_of(a_text(text)))

    assert report is not None
    assert (report.text.findings, report.text.impression) == (findings, impression)


def test_the_whole_report_keeps_every_section_under_its_heading():
    report = report_of(a_report_sr(findings="Clear.", impression="Normal.", indication="Cough."))

    assert report is not None
    assert report.text.whole == "Request:\nCough.\nFindings:\nClear.\nImpressions:\nNormal."


@pytest.mark.parametrize(
    "content",
    [
        [a_text("Clear.", ("121071", "DCM", "Finding")), a_text("A mass.", ("55107-7", "LN", "Addendum"))],
        [a_text("Clear.", ("121071", "DCM", "Finding")), a_text("A mass.", ("1", "99X", "Addendum"))],
        [a_text("Clear.\nADDENDUM: A mass.", ("121071", "DCM", "Finding"))],
        [
            a_text("Clear.", ("121071", "DCM", "Finding")),
            a_text("Normal.\n\nADDENDUM: A mass.", ("121073", "DCM", "Impression")),
        ],
        [a_text("FINDINGS: Clear.\nIMPRESSION: Normal."), a_text("A mass.", ("55107-7", "LN", "Addendum"))],
    ],
)
def test_an_addendum_is_told_by_its_code_by_its_heading_or_within_a_section(content: list[Dataset]):
    report = report_of(a_report_of(*content))

    assert report is not None
    assert report.text.findings == "Clear."
    assert report.text.addenda == ("Addendum: A mass.",)


def test_paragraphs_stay_and_line_ends_become_line_feeds():
    report = report_of(a_report_sr(findings="Clear.\r\nHeart normal.\r\n\r\n\r\n\r\nBones intact. "))

    assert report is not None
    assert report.text.findings == "Clear.\nHeart normal.\n\nBones intact."


def test_coded_and_measured_findings_are_put_into_words():
    code, number, measured = Dataset(), Dataset(), Dataset()
    code.RelationshipType, code.ValueType = "CONTAINS", "CODE"
    code.ConceptNameCodeSequence = Sequence([a_code("121071", "DCM", "Finding")])
    code.ConceptCodeSequence = Sequence([a_code("36118008", "SCT", "Pneumothorax")])
    number.RelationshipType, number.ValueType = "CONTAINS", "NUM"
    number.ConceptNameCodeSequence = Sequence([a_code("81827009", "SCT", "Diameter")])
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = (
        "12",
        Sequence([a_code("mm", "UCUM", "mm")]),
    )
    number.MeasuredValueSequence = Sequence([measured])

    report = report_of(a_report_of(code, number))

    assert report is not None
    assert report.text.findings == "Pneumothorax"
    assert report.text.whole == "Pneumothorax\nDiameter: 12 mm"


def test_a_korean_report_is_read_in_its_character_set(tmp_path: Path):
    path = write(
        a_report_sr(findings="폐는 깨끗하다.", charset="\\ISO 2022 IR 149", name="Hong^Gildong"),
        tmp_path / "r.dcm",
    )

    report = load_report(path)

    assert report is not None
    assert report.text.findings == "폐는 깨끗하다."


@pytest.mark.parametrize(
    ("draft", "is_ours"),
    [
        (a_report_sr(manufacturer="preread", verified=False), True),
        (a_report_sr(manufacturer="preread 0.1.0", verified=False, observer=""), True),
        (a_report_sr(manufacturer="preread", verified=True), False),
        (a_report_sr(manufacturer="Spreadreader", verified=False), False),
        (a_report_sr(verified=False), False),
    ],
)
def test_our_own_draft_is_known_until_a_radiologist_verifies_it(draft: Dataset, is_ours: bool):
    assert is_draft_of_ours(draft) is is_ours
    assert (report_of(draft) is None) is is_ours


def test_our_draft_is_known_by_its_observer_when_a_pacs_put_its_own_name_on_it():
    draft = a_report_sr(manufacturer="preread", verified=False, observer="")
    draft.Manufacturer = "RADARCHIVE"

    assert is_draft_of_ours(draft)


def test_our_draft_stays_a_draft_while_it_is_marked_preliminary():
    draft = a_report_sr(manufacturer="preread", verified=True)
    draft.PreliminaryFlag = "PRELIMINARY"

    assert is_draft_of_ours(draft)


def test_what_a_machine_wrote_and_nobody_verified_is_no_report():
    assert report_of(a_report_sr(manufacturer="OtherAI", observer="", verified=False)) is None
    assert report_of(a_report_sr(manufacturer="OtherAI", observer="", verified=True)) is not None


def test_a_persons_unverified_report_is_a_report():
    report = report_of(a_report_sr(verified=False))

    assert report is not None
    assert not report.is_verified


def test_a_measurement_report_is_no_report():
    measurements = a_report_sr()
    measurements.ConceptNameCodeSequence = Sequence([a_code("126000", "DCM", "Imaging Measurement Report")])

    assert report_of(measurements) is None


def test_an_image_and_an_empty_report_are_no_reports():
    assert report_of(a_radiograph()) is None
    assert report_of(a_report_sr(findings="", impression="", indication="")) is None


def test_a_report_of_too_many_or_too_deep_items_is_left_alone():
    wide = a_report_of(*(a_text(f"line {number}") for number in range(5_001)))
    deep = a_text("bottom")
    for _ in range(40):
        parent = a_text("level")
        parent.ContentSequence = Sequence([deep])
        deep = parent

    assert report_of(wide) is None
    assert report_of(a_report_of(deep)) is None


def test_a_file_that_is_no_dicom_is_no_report(tmp_path: Path):
    path = tmp_path / "note.txt"
    path.write_text("FINDINGS: none")

    assert load_report(path) is None


REPORT = as_bytes(a_report_sr(findings="폐는 깨끗하다.", charset="\\ISO 2022 IR 149"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bites=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
    cut=st.floats(0, 0.5),
)
def test_a_mutilated_report_gives_its_words_or_none(
    bites: list[tuple[float, int]], cut: float, tmp_path: Path
):
    path = tmp_path / "report.dcm"
    path.write_bytes(mutilated(REPORT, bites, cut))

    report = load_report(path)

    assert report is None or report.text.whole


REAL_REPORTS = {"dp-report_dfl.dcm", "dtf-reportsi.dcm", "dtf-test-SR.dcm"}


@pytest.mark.data
def test_every_real_file_gives_a_report_or_none_in_time():
    found = {}
    for path in sorted(path for path in real_data("dicom").glob("*/*") if path.is_file()):
        started = time.process_time()
        found[path.name] = load_report(path)
        assert time.process_time() - started < 3, path

    assert {name for name, report in found.items() if report is not None} == REAL_REPORTS
    consultation = found["dp-report_dfl.dcm"]
    assert consultation is not None
    assert "squamous cell carcinoma" in consultation.text.whole


def as_free_text(study: dict[str, str]) -> str:
    return (
        f"INDICATION: {study['indication']}\nFINDINGS: {study['findings']}\nIMPRESSION: {study['impression']}"
    )


@pytest.mark.data
def test_the_sections_of_real_reports_come_out_as_they_went_in():
    lines = real_data("reports", "iu_chest_reports.jsonl").read_text(encoding="utf-8").splitlines()
    studies = [study for study in map(json.loads, lines[:400]) if study["findings"] and study["impression"]]

    kept = 0
    for study in studies:
        report = report_of(a_report_of(a_text(as_free_text(study))))
        assert isinstance(report, StructuredReport)
        kept += (
            report.text.findings == study["findings"].strip()
            and report.text.impression == study["impression"].strip()
        )
    assert len(studies) > 200
    assert kept > 0.99 * len(studies)
