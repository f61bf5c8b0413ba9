"""A FHIR DiagnosticReport becomes a report version, wherever it keeps its words."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.reports.fhir import reports_of_resource
from agent.reports.matching import choose_report
from agent.reports.rows import RowError
from storage.outside_records import Report, ReportSource, ReportStatus
from storage.records import PatientIdentifier
from tests.hl7.builders import NOW
from tests.storage.builders import a_report, a_study


def an_identifier(code: str, value: str) -> dict[str, Any]:
    return {"type": {"coding": [{"code": code}]}, "value": value}


def a_resource(**elements: Any) -> dict[str, Any]:
    whole = {
        "resourceType": "DiagnosticReport",
        "id": "dr1",
        "status": "final",
        "code": {"text": "XR CHEST"},
        "identifier": [an_identifier("FILL", "F7")],
        "subject": {"identifier": {"system": "urn:oid:1.2", "value": "A1"}},
        "effectiveDateTime": "2026-03-01T07:30:00Z",
        "issued": "2026-03-01T09:00:00Z",
        "conclusion": "Normal.",
    }
    return whole | elements


def the_report(resource: dict[str, Any]) -> Report:
    (report,) = reports_of_resource(resource, "reports.json", NOW)
    assert isinstance(report, Report), report
    return report


def a_form(text: bytes, content_type: str = "text/plain") -> list[dict[str, str]]:
    return [{"contentType": content_type, "data": base64.b64encode(text).decode()}]


def test_a_resource_says_whose_report_it_is_of_what_and_when(machine_zone: Callable[[str], None]):
    machine_zone("CET-1")

    report = the_report(
        a_resource(
            basedOn=[{"identifier": an_identifier("ACSN", "ACC1")}],
            imagingStudy=[{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.7"}}],
        )
    )

    assert (report.report_key, report.accession_number, report.study_instance_uid) == ("F7", "ACC1", "2.25.7")
    assert report.patients == (PatientIdentifier("A1", ""),)
    assert (report.observed_at, report.reported_at) == ("20260301083000", "20260301100000")
    assert (report.procedure, report.source, report.origin) == (
        "XR CHEST",
        ReportSource.FHIR,
        "reports.json dr1",
    )


@pytest.mark.parametrize(("status", "holds"), [("corrected", "IMPRESSION: Normal."), ("cancelled", None)])
def test_a_later_version_is_later_whatever_zone_its_server_writes(
    machine_zone: Callable[[str], None], status: str, holds: str | None
):
    machine_zone("CET-1")
    final = a_report("Wrong side.", reported_at="20260301100000")
    later = the_report(
        a_resource(identifier=[an_identifier("ACSN", "ACC1")], status=status, issued="2026-03-01T09:30:00Z")
    )

    attached = choose_report(a_study(accession_number="ACC1"), [final, later], (), window_hours=24).attached

    assert (attached.report.text if attached else None) == holds


@pytest.mark.parametrize(("written", "known"), [("1950-03-12", "19500312"), ("1950-03", ""), ("1950", "")])
def test_a_birth_date_that_is_not_whole_is_not_known(written: str, known: str):
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [{"value": "A1"}], "birthDate": written}

    report = the_report(a_resource(subject={"reference": "#p1"}, contained=[patient]))

    assert report.birth_date == known


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (a_form("FINDINGS: Größe normal.".encode()), "FINDINGS: Größe normal."),
        (a_form("Größe".encode("latin-1"), "text/plain; charset=iso-8859-1"), "Größe"),
        (
            a_form(b"<style>p{}</style><p>FINDINGS:</p><p>Clear &amp; dry.</p>", "text/html"),
            "FINDINGS:\nClear & dry.",
        ),
        (a_form(b"%PDF-1.4", "application/pdf"), "IMPRESSION: Normal."),
    ],
)
def test_the_text_is_the_presented_form_that_can_be_read_else_the_conclusion(form: list[Any], text: str):
    assert the_report(a_resource(presentedForm=form)).text == text


def test_observations_and_conclusion_are_put_under_headings():
    observation = {
        "resourceType": "Observation",
        "id": "o1",
        "code": {"coding": [{"code": "59776-5", "display": "Findings"}]},
        "valueString": "Clear.",
    }

    report = the_report(
        a_resource(contained=[observation], result=[{"reference": "#o1"}, {"reference": "#o2"}])
    )

    assert report.text == "Findings: Clear.\nIMPRESSION: Normal."


def an_observation(identifier: str, text: str, status: str) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": identifier, "status": status, "valueString": text}


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_an_observation_that_does_not_hold_is_not_in_the_text(status: str):
    wrong, right = an_observation("o1", "Pneumothorax.", status), an_observation("o2", "Clear.", "final")
    result = [{"reference": "#o1"}, {"reference": "#o2"}]

    report = the_report(a_resource(contained=[wrong, right], result=result))

    assert (report.status, report.text) == (ReportStatus.FINAL, "Clear.\nIMPRESSION: Normal.")


@pytest.mark.parametrize("conclusion", ["", "Normal."])
def test_a_report_is_withdrawn_if_it_holds_nothing_but_what_was_entered_in_error(conclusion: str):
    final = a_report("Pneumothorax.", reported_at="20260301000000")
    wrong = an_observation("o1", "Pneumothorax.", "entered-in-error")
    told = a_resource(identifier=[an_identifier("ACSN", "ACC1")], contained=[wrong], conclusion=conclusion)

    later = the_report(told | {"result": [{"reference": "#o1"}]})

    attached = choose_report(a_study(accession_number="ACC1"), [final, later], (), window_hours=24).attached
    assert (attached.report.text if attached else "") == (f"IMPRESSION: {conclusion}" if conclusion else "")


def test_in_a_bundle_references_lead_to_the_patient_and_the_study():
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"value": "A1"}],
        "birthDate": "1950-01-01",
    }
    study = {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:2.25.7"}],
    }
    report = a_resource(subject={"reference": "Patient/p1"}, imagingStudy=[{"reference": "urn:uuid:s"}])
    entries = [{"resource": patient}, {"fullUrl": "urn:uuid:s", "resource": study}, {"resource": report}]

    found = the_report({"resourceType": "Bundle", "entry": entries})

    assert (found.patients, found.birth_date) == ((PatientIdentifier("A1", ""),), "19500101")
    assert found.study_instance_uid == "2.25.7"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("final", ReportStatus.FINAL),
        ("amended", ReportStatus.CORRECTED),
        ("entered-in-error", ReportStatus.CANCELLED),
        ("partial", ReportStatus.PRELIMINARY),
        ("something new", ReportStatus.PRELIMINARY),
    ],
)
def test_the_status_is_what_the_resource_says_and_never_more(status: str, expected: ReportStatus):
    assert the_report(a_resource(status=status)).status is expected


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ({"resourceType": "Patient"}, "it holds no DiagnosticReport"),
        ({"resourceType": "Bundle", "entry": 7}, "it holds no DiagnosticReport"),
        (a_resource(conclusion=""), "it has no text"),
        (a_resource(conclusion="AI DRAFT - NOT VERIFIED"), "a draft of our own"),
        (a_resource(subject={"display": "Doe, Jane"}), "neither a patient nor a study UID"),
        (a_resource(status=None, conclusion=["Doe"]), "no FHIR R4 DiagnosticReport: conclusion, status"),
        (a_resource(presentedForm=[{"contentType": "text/plain", "data": "%%%"}]), "no base64 text"),
    ],
)
def test_what_is_no_report_is_refused_with_the_reason(resource: dict[str, Any], reason: str):
    (refused,) = reports_of_resource(resource, "reports.json", NOW)

    assert isinstance(refused, RowError)
    assert reason in str(refused)
    assert "Doe" not in str(refused)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(a_resource() | {"contained": 0, "result": 0, "basedOn": 0})), json_values)
def test_any_value_in_any_element_is_read_or_refused(element: str, value: Any):
    (found,) = reports_of_resource(a_resource() | {element: value}, "x.json", NOW)

    assert isinstance(found, Report | RowError)
