"""A draft as a FHIR transaction: right by the models of R4B, and right where those do not look."""

import json
from base64 import b64decode
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import pytest
from fhir.resources.R4B.bundle import Bundle

from agent.outgoing.draft import Draft
from agent.outgoing.fhir import bundle_of
from agent.reports.fhir import reports_of_resource
from agent.reports.rows import RowError
from inference.reading import Finding, Score, Status
from tests.outgoing.builders import (
    A_DOUBTFUL_HEART,
    AN_EFFUSION,
    DEMO,
    NOW,
    PLACELESS,
    STUDY_UID,
    UNCALIBRATED,
    a_draft,
    a_fhir_server,
    a_reading,
    a_withdrawal,
)
from tests.storage.builders import a_study

Resource = dict[str, Any]


def entries(draft: Draft | None = None, **server: Any) -> list[Resource]:
    found: list[Resource] = json.loads(bundle_of(draft or a_draft(), a_fhir_server(**server)))["entry"]
    return found


def resources(kind: str, draft: Draft | None = None, **server: Any) -> list[Resource]:
    found = [one["resource"] for one in entries(draft, **server)]
    return [one for one in found if one["resourceType"] == kind]


def the_report(draft: Draft | None = None, **server: Any) -> Resource:
    (report,) = resources("DiagnosticReport", draft, **server)
    return report


VARIANTS = {
    "draft": a_draft(),
    "nothing named": a_draft(reading=a_reading(Finding("edema", Status.ABSENT), impression=None, scores=())),
    "a later one": a_draft(revision=2, replaces=1, earlier=((A_DOUBTFUL_HEART, AN_EFFUSION),)),
    "withdrawn": a_withdrawal(),
    "nobody known": a_draft(study=a_study(STUDY_UID, patient_id="", study_date=""), observed_at=None),
}


@pytest.mark.parametrize("draft", VARIANTS.values(), ids=VARIANTS)
def test_every_resource_is_right_by_the_models_of_the_standard(draft: Draft):
    bundle = Bundle.model_validate(json.loads(bundle_of(draft, a_fhir_server())))

    kinds = {entry.resource.get_resource_type() for entry in bundle.entry}
    assert {"Device", "DiagnosticReport", "Provenance"} <= kinds


@pytest.mark.parametrize("draft", VARIANTS.values(), ids=VARIANTS)
def test_every_reference_inside_leads_to_an_entry_and_every_entry_is_a_conditional_update(draft: Draft):
    told = entries(draft)
    addresses = {one["fullUrl"] for one in told}
    text = json.dumps(told)

    assert len(addresses) == len(told)
    for piece in text.split('"reference": "')[1:]:
        assert piece.partition('"')[0] in addresses
    for one in told:
        kind, _, search = unquote(one["request"]["url"]).partition("?")
        assert (one["request"]["method"], kind) == ("PUT", one["resource"]["resourceType"])
        assert search.startswith(("identifier=urn:ietf:rfc:3986|urn:oid:2.25.", "_tag=urn:ietf:rfc:3986|"))


@pytest.mark.parametrize("draft", VARIANTS.values(), ids=VARIANTS)
def test_no_list_is_empty_and_no_text_is(draft: Draft):
    text = bundle_of(draft, a_fhir_server()).decode()

    assert "[]" not in text
    assert ':""' not in text


def test_a_transaction_sent_twice_writes_the_same_resources_at_the_same_places():
    first, again = entries(), entries()

    assert first == again
    assert len({one["request"]["url"] for one in first}) == len(first)


def test_nothing_of_the_site_is_written():
    assert {one["resource"]["resourceType"] for one in entries()} == {
        "Device",
        "Observation",
        "DiagnosticReport",
        "Provenance",
    }


def test_a_report_is_preliminary_labelled_as_an_ai_s_and_interpreted_by_nobody():
    report = the_report()

    assert report["status"] == "preliminary"
    assert report["meta"]["security"][0]["code"] == "AIAST"
    assert "resultsInterpreter" not in report
    assert report["conclusion"].startswith("AI DRAFT - NOT VERIFIED")
    form = b64decode(report["presentedForm"][0]["data"]).decode()
    assert form.startswith("FINDINGS:\nAI DRAFT - NOT VERIFIED\n")


@pytest.mark.parametrize("draft", VARIANTS.values(), ids=VARIANTS)
def test_every_resource_says_by_itself_that_it_is_an_unverified_ai_draft(draft: Draft):
    for one in entries(draft):
        assert "AI draft, not verified" in [tag.get("display") for tag in one["resource"]["meta"]["tag"]]
    for one in resources("Observation", draft):
        assert one["note"][0]["text"].startswith("AI DRAFT - NOT VERIFIED")
    (form,) = the_report(draft)["presentedForm"]
    assert form["title"].startswith("AI DRAFT - NOT VERIFIED")


@pytest.mark.parametrize("draft", VARIANTS.values(), ids=VARIANTS)
def test_every_resource_of_the_demo_model_says_by_itself_that_it_is_one(draft: Draft):
    draft = replace(draft, reading=replace(draft.reading, engine=DEMO))

    for one in entries(draft):
        assert "Synthetic demo model" in [tag.get("display") for tag in one["resource"]["meta"]["tag"]]
    for one in resources("Observation", draft):
        assert "NOT VERIFIED - SYNTHETIC DEMO MODEL" in one["note"][0]["text"]
    (form,) = the_report(draft)["presentedForm"]
    assert "NOT VERIFIED - SYNTHETIC DEMO MODEL" in form["title"]
    assert "NOT VERIFIED - SYNTHETIC DEMO MODEL" in b64decode(form["data"]).decode()


def test_no_resource_of_a_real_model_says_that_it_is_the_demo():
    assert "demo" not in json.dumps(entries()).casefold()


@pytest.mark.parametrize("status", ["preliminary", "partial"])
def test_the_status_is_what_the_site_chose(status: str):
    assert the_report(status=status)["status"] == status


def test_only_a_present_finding_is_a_value_or_a_conclusion():
    answers = {
        (one["code"]["coding"][0]["code"], one["valueCodeableConcept"]["coding"][0]["code"])
        for one in resources("Observation")
    }

    assert answers == {("121071", "60046008"), ("36118008", "272519000"), ("8186001", "373068000")}
    assert [one["coding"][0]["code"] for one in the_report()["conclusionCode"]] == ["60046008"]


def test_a_box_stands_in_its_observation_in_the_pixels_of_its_image():
    (effusion,) = [one for one in resources("Observation") if "component" in one]

    assert [one["valueString"] for one in effusion["component"] if "valueString" in one] == [
        "urn:oid:1.2.826.0.1.3680043.8.498.2 column,row 40,120 140.5,220"
    ]


def test_a_box_that_the_dicom_objects_do_not_show_is_not_sent():
    told = resources("Observation", a_draft(reading=a_reading(*PLACELESS, scores=())))

    assert len(told) == 3
    assert [one for one in told if "component" in one] == []


@pytest.mark.parametrize(
    ("scores", "number", "remark"),
    [
        (UNCALIBRATED, 92.3, "model score 92 % (uncalibrated)"),
        (a_reading().scores, 61.0, "model score 92 %, calibrated 61 % (fitted on 400 studies)"),
    ],
)
def test_a_score_says_in_its_name_and_beside_it_what_it_is_worth(
    scores: tuple[Score, ...], number: float, remark: str
):
    effusion, *others = resources("Observation", a_draft(reading=a_reading(scores=scores)))

    (certainty,) = [one for one in effusion["component"] if "valueQuantity" in one]
    assert certainty["valueQuantity"]["value"] == number
    assert certainty["code"]["text"] == effusion["note"][-1]["text"] == remark
    assert "score" not in json.dumps(others)


def test_a_finding_that_is_taken_back_has_no_place_and_no_score_any_more():
    second = a_draft(revision=2, replaces=1, reading=a_reading(A_DOUBTFUL_HEART), earlier=((AN_EFFUSION,),))

    told = json.dumps(resources("Observation", second))
    assert "column,row" not in told
    assert "valueQuantity" not in told


def test_a_later_revision_writes_over_the_report_and_takes_back_what_it_no_longer_finds():
    second = a_draft(
        revision=2, replaces=1, reading=a_reading(AN_EFFUSION), earlier=((A_DOUBTFUL_HEART, AN_EFFUSION),)
    )

    statuses = [one["status"] for one in resources("Observation", second)]
    assert statuses == ["preliminary", "entered-in-error"]
    assert the_report(second)["identifier"] == the_report()["identifier"]
    assert len(the_report(second)["result"]) == 1


def test_the_same_finding_in_two_revisions_is_one_observation():
    twice = a_draft(revision=3, replaces=2, earlier=((AN_EFFUSION,), (AN_EFFUSION,)))

    assert "entered-in-error" not in {one["status"] for one in resources("Observation", twice)}


def test_a_withdrawal_marks_everything_that_was_said_as_said_in_error():
    report = the_report(a_withdrawal())

    assert report["status"] == "entered-in-error"
    assert "wrong patient" in report["conclusion"]
    assert {one["status"] for one in resources("Observation", a_withdrawal())} == {"entered-in-error"}
    assert len(resources("Observation", a_withdrawal())) == 3
    (provenance,) = resources("Provenance", a_withdrawal())
    assert "wrong patient" in provenance["reason"][0]["text"]


@pytest.mark.parametrize(
    ("issuer", "server", "identifier"),
    [
        ("CLINIC", {}, {"value": "A1", "assigner": {"display": "CLINIC"}}),
        ("1.2.276.9", {}, {"value": "A1", "system": "urn:oid:1.2.276.9"}),
        ("1.2.276.9", {"patient_system": "urn:x:mrn"}, {"value": "A1", "system": "urn:x:mrn"}),
    ],
)
def test_the_patient_is_named_by_number_and_who_gave_it(
    issuer: str, server: dict[str, str], identifier: Resource
):
    draft = a_draft(study=a_study(STUDY_UID, issuer_of_patient_id=issuer))

    assert the_report(draft, **server)["subject"] == {"type": "Patient", "identifier": identifier}


def test_other_weights_are_another_device():
    first = resources("Device")[0]["identifier"]
    reading = a_reading()
    other = a_draft(
        reading=a_reading(engine=type(reading.engine)("m4cxr", "0.1.0", "M4CXR", "sha256:" + "1" * 64))
    )

    assert resources("Device", other)[0]["identifier"] != first


@pytest.mark.parametrize(
    ("zone", "effective"),
    [
        ("Europe/Paris", "1900-01-01"),
        ("Asia/Kolkata", "1900-01-01"),
        ("Asia/Tokyo", "1900-01-01T08:30:00+09:00"),
    ],
)
def test_a_time_whose_offset_has_seconds_is_told_as_its_date(zone: str, effective: str):
    study = a_study(STUDY_UID, study_date="19000101", study_time="0830")
    draft = a_draft(study=study, observed_at=datetime(1900, 1, 1, 8, 30, tzinfo=ZoneInfo(zone)))

    Bundle.model_validate(json.loads(bundle_of(draft, a_fhir_server())))
    told = {one["effectiveDateTime"] for one in (the_report(draft), *resources("Observation", draft))}
    assert told == {effective}


def test_a_date_without_a_time_is_told_as_a_date():
    draft = a_draft(study=a_study(STUDY_UID, study_date="20260301", study_time=""), observed_at=None)

    assert the_report(draft)["effectiveDateTime"] == "2026-03-01"


def test_our_own_report_that_comes_back_is_known_for_ours():
    (found,) = reports_of_resource(the_report(), "reports.json", NOW)

    assert isinstance(found, RowError)
    assert "a draft of our own" in str(found)
