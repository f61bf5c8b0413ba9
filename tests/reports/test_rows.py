"""A row of a table becomes a report version, or is refused with a reason that names no patient."""

from collections.abc import Callable

import pytest

from agent.reports.rows import RowError, report_of_row
from storage.outside_records import Report, ReportSource, ReportStatus
from storage.records import PatientIdentifier
from tests.hl7.builders import NOW


def the_report(**columns: object) -> Report:
    row = {"text": "FINDINGS: Clear.", "patient_id": "A1", "accession_number": "ACC1"} | columns
    return report_of_row(row, "reports.csv line 2", NOW)


def test_every_column_is_read(machine_zone: Callable[[str], None]):
    machine_zone("CET-1")

    report = the_report(
        issuer="HOSP",
        birth_date="1950-01-01",
        report_id="R7",
        study_instance_uid="2.25.7",
        status="C",
        observed_at="2026-03-01 08:30",
        reported_at="2026-03-01T09:00:00Z",
        procedure="XR CHEST",
    )

    assert report.patients == (PatientIdentifier("A1", "HOSP"),)
    assert (report.report_key, report.accession_number, report.study_instance_uid) == ("R7", "ACC1", "2.25.7")
    assert (report.status, report.source) == (ReportStatus.CORRECTED, ReportSource.FILE)
    assert (report.birth_date, report.observed_at, report.reported_at) == (
        *("19500101", "202603010830"),
        "20260301100000",
    )


def test_sections_in_columns_of_their_own_are_one_text():
    report = the_report(text="", impression="Normal.", findings="Clear.", comparison=None)

    assert report.text == "FINDINGS: Clear.\nIMPRESSION: Normal."


def test_a_report_without_a_status_is_final_and_one_with_an_unknown_one_preliminary():
    assert the_report().status is ReportStatus.FINAL
    assert the_report(status="?").status is ReportStatus.PRELIMINARY


def test_numbers_are_taken_for_the_identifiers_that_a_spreadsheet_made_them_of():
    assert the_report(patient_id=4711, accession_number=12).patients[0].patient_id == "4711"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": " "}, "it has no text"),
        ({"text": "AI DRAFT - NOT VERIFIED. Clear."}, "a draft of our own"),
        ({"patient_id": ""}, "neither a patient nor a study UID"),
        ({"accession_number": ""}, "no report ID, accession number or study UID"),
        ({"accession_number": "1" * 257, "report_id": "R1"}, "its accession number has 257 characters"),
        ({"patient_id": "Doe" * 86}, "its patient ID has 258 characters"),
        ({"text": ["Doe^Jane"], "procedure": 1.5}, "these columns hold no text: procedure, text"),
    ],
)
def test_a_row_that_is_no_report_is_refused(columns: dict[str, object], reason: str):
    with pytest.raises(RowError, match=reason) as refused:
        the_report(**columns)

    assert "Doe" not in str(refused.value)
