"""A report from outside goes to the study it was written about, or to none."""

import pytest

from agent.reports.matching import ReportChoice, choose_report
from storage.outside_records import Report, ReportStatus
from storage.records import PatientIdentifier, Study
from tests.storage.builders import a_report, a_study

STUDY = a_study(accession_number="ACC1")
PRELIMINARY, FINAL, CORRECTED, CANCELLED = ReportStatus


def chosen(*versions: Report, study: Study = STUDY, others: tuple[Study, ...] = ()) -> ReportChoice:
    return choose_report(study, versions, others, window_hours=24)


def test_a_report_with_the_studys_uid_belongs_to_it_whatever_else_it_says():
    report = a_report(study_instance_uid=STUDY.study_instance_uid, accession_number="X", patient_id="NEW-ID")

    attached = chosen(report).attached

    assert attached is not None
    assert (attached.report, attached.because) == (report, "study UID")


@pytest.mark.parametrize(
    "fields", [{"accession_number": "ACC1"}, {"report_key": "ACC1", "accession_number": "9"}]
)
def test_a_report_with_the_accession_number_and_the_patient_belongs_to_the_study(fields: dict[str, str]):
    attached = chosen(a_report(**fields)).attached

    assert attached is not None
    assert attached.because == "accession number"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"patient_id": "B2"}, "not its patient"),
        ({"patients": ()}, "no patient"),
        ({"birth_date": "19840615"}, "another birth date"),
    ],
)
def test_an_accession_number_alone_is_not_enough(fields: dict[str, str], reason: str):
    choice = chosen(a_report(**fields))

    assert choice.attached is None
    assert reason in choice.reasons[0]


def test_a_study_uid_with_another_birth_date_is_in_doubt():
    choice = chosen(a_report(study_instance_uid=STUDY.study_instance_uid, birth_date="19840615"))

    assert choice.attached is None
    assert "has the study UID of this study, but names another birth date" in choice.reasons[0]


def test_the_issuer_tells_two_patients_with_one_number_apart():
    study = a_study(accession_number="ACC1", issuer_of_patient_id="HERE")

    assert chosen(a_report(issuer="THERE"), study=study).attached is None
    assert chosen(a_report(issuer="HERE"), study=study).attached is not None
    assert chosen(a_report(issuer=""), study=study).attached is not None


def test_any_of_the_patients_identifiers_will_do():
    both = (PatientIdentifier("E2", "EPIC"), PatientIdentifier("A1", "ABC"))

    assert chosen(a_report(patients=both)).attached is not None


UNNUMBERED = {"report_key": "F9", "accession_number": ""}


def test_without_numbers_patient_time_and_part_of_the_body_decide():
    attached = chosen(a_report(**UNNUMBERED, procedure="71046\nChest 2 views")).attached

    assert attached is not None
    assert attached.because == "patient, time and procedure"


@pytest.mark.parametrize(
    "fields",
    [
        {"observed_at": "20260303083000"},
        {"observed_at": "20260301"},
        {"observed_at": ""},
        {"procedure": "XR ABDOMEN"},
        {"procedure": "XR 2 VIEWS"},
        {"procedure": ""},
        {"patient_id": "B2"},
        {"study_instance_uid": "2.25.999"},
        {"accession_number": "9"},
        {"report_key": "ACC2", "accession_number": "ACC2"},
        {"procedure": "CTCH\nCT CHEST W CONTRAST"},
        {"procedure": "US THORAX"},
        {"procedure": "Computertomographie Thorax"},
    ],
)
def test_what_does_not_fit_is_not_attached(fields: dict[str, str]):
    assert chosen(a_report(**UNNUMBERED | fields)).attached is None


@pytest.mark.parametrize("filler", ["F-2026-9", "12345"])
def test_a_filler_order_number_of_another_form_is_no_accession_number_of_another_order(filler: str):
    assert chosen(a_report(report_key=filler, accession_number=filler)).attached is not None


def test_two_films_of_one_day_do_not_share_the_report_that_came_first():
    morning, noon = a_study(accession_number="ACC1"), a_study("2.25.200", accession_number="ACC2")
    report = a_report(report_key="ACC2", accession_number="ACC2")

    assert chosen(report, study=noon, others=(morning,)).attached is not None
    assert chosen(report, study=morning, others=(noon,)).attached is None


def test_a_report_that_fits_two_studies_is_attached_to_neither_and_says_so():
    other = a_study("2.25.200", study_time="120000")

    choice = chosen(a_report(**UNNUMBERED), others=(other,))

    assert choice.attached is None
    assert "fits 2 studies of the patient" in choice.reasons[0]


def test_two_reports_that_fit_one_study_are_both_left():
    choice = chosen(a_report(**UNNUMBERED), a_report("Other.", report_key="F10", accession_number=""))

    assert choice.attached is None
    assert choice.reasons == ("2 reports fit this study by patient, time and procedure; none was attached",)


def test_a_sure_report_is_not_disturbed_by_a_likely_one():
    attached = chosen(a_report("Sure."), a_report("Likely.", **UNNUMBERED)).attached

    assert attached is not None
    assert attached.report.text == "Sure."


def a_version(status: ReportStatus, hour: int, number: int) -> Report:
    return a_report(f"{status} of {hour}", status=status, reported_at=f"20260301{hour}0000", number=number)


@pytest.mark.parametrize(
    ("arrivals", "holds"),
    [
        ([(PRELIMINARY, 10), (FINAL, 11)], "final of 11"),
        ([(FINAL, 11), (PRELIMINARY, 10)], "final of 11"),
        ([(FINAL, 11), (PRELIMINARY, 12)], "final of 11"),
        ([(FINAL, 11), (CORRECTED, 12)], "corrected of 12"),
        ([(CORRECTED, 12), (FINAL, 11)], "corrected of 12"),
        ([(CORRECTED, 11), (FINAL, 11)], "corrected of 11"),
        ([(PRELIMINARY, 10), (PRELIMINARY, 11)], "preliminary of 11"),
        ([(FINAL, 11), (CANCELLED, 12)], None),
        ([(CANCELLED, 12), (FINAL, 11)], None),
        ([(CANCELLED, 11), (FINAL, 12)], "final of 12"),
        ([(PRELIMINARY, 10), (CANCELLED, 11), (PRELIMINARY, 12)], None),
    ],
)
def test_the_version_that_holds_does_not_depend_on_the_order_of_arrival(
    arrivals: list[tuple[ReportStatus, int]], holds: str | None
):
    versions = [a_version(*arrival, number=number) for number, arrival in enumerate(arrivals, start=1)]

    attached = chosen(*versions).attached

    assert (attached.report.text if attached else None) == holds


def test_a_withdrawal_says_from_when_on_nothing_older_may_be_shown():
    choice = chosen(a_version(FINAL, 11, 1), a_version(CANCELLED, 12, 2))

    assert choice.withdrawn_at == "20260301120000"
    assert choice.reasons == ("report RIS 1 was withdrawn",)


def test_a_withdrawal_that_names_only_the_order_is_of_the_report_that_named_the_study():
    named = a_report(report_key="F1", study_instance_uid=STUDY.study_instance_uid, accession_number="")
    withdrawn = a_report(
        "", report_key="F1", accession_number="", patients=(), status=CANCELLED, reported_at="20260301120000"
    )

    assert chosen(named, withdrawn).attached is None


def test_a_strangers_version_under_the_same_key_changes_nothing():
    ours, theirs = a_report("Ours."), a_report("Theirs.", patient_id="B2", reported_at="20260301230000")

    attached = chosen(ours, theirs).attached

    assert attached is not None
    assert attached.report.text == "Ours."
