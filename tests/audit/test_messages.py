"""Audit records as messages after PS3.15 A.5."""

from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agent.audit.messages import KINDS, AuditSource, merged, message_of
from storage.audit_records import AuditEvent, AuditRecord
from tests.audit.schema import breaches
from tests.storage.builders import NOW, STUDY, later

SOURCE = AuditSource("PREREAD", "ward7", 17)


def a_record(event: AuditEvent = AuditEvent.RECEIVED, **fields) -> AuditRecord:
    whole = {"actor": "XRAY1", "study_instance_uid": STUDY, "patient_id": "A1^^^NORTH", "instances": 2}
    return AuditRecord(NOW, event, **whole | fields)


def told(record: AuditRecord) -> Element:
    return fromstring(message_of(record, SOURCE))


@pytest.mark.parametrize("event", AuditEvent)
@pytest.mark.parametrize(
    "fields", [{}, {"actor": "", "study_instance_uid": "", "patient_id": "", "instances": 0}]
)
def test_every_event_is_told_as_the_grammar_wants_it(event: AuditEvent, fields):
    assert breaches(message_of(a_record(event, **fields), SOURCE)) == []


def test_there_is_a_kind_for_each_event_and_no_other():
    assert set(KINDS) == set(AuditEvent)


def test_a_grammar_that_is_broken_is_noticed():
    message = message_of(a_record(), SOURCE)

    for whole, broken in (
        ("ActiveParticipant", "ParticipantActive"),
        ('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'),
        (' EventActionCode="C"', ' ActionCode="C"'),
        ("<AuditSourceTypeCode", "<EventID/><AuditSourceTypeCode"),
    ):
        with pytest.raises((KeyError, AssertionError)):
            assert breaches(message.replace(whole, broken)) == []


def test_a_transfer_says_who_sent_what_of_whom():
    message = told(a_record(address="10.0.0.7"))

    event, ours, theirs = message[0], message[1], message[2]
    assert event.find("EventID").get("csd-code") == "110104"
    assert event.get("EventDateTime") == "2026-03-01T08:00:00.000Z"
    assert [ours.get("UserIsRequestor"), theirs.get("UserIsRequestor")] == ["false", "true"]
    assert [one.find("RoleIDCode").get("csd-code") for one in (ours, theirs)] == ["110152", "110153"]
    assert (theirs.get("UserID"), theirs.get("NetworkAccessPointID")) == ("XRAY1", "10.0.0.7")
    subjects = message.findall("ParticipantObjectIdentification")
    assert [one.get("ParticipantObjectID") for one in subjects] == [STUDY, "A1^^^NORTH"]
    assert message.find(".//SOPClass").get("NumberOfInstances") == "2"


def test_what_we_send_names_us_as_the_source_and_requestor():
    ours, theirs = told(a_record(AuditEvent.SENT, actor="pacs")).findall("ActiveParticipant")

    assert (ours.get("AlternativeUserID"), ours.get("UserIsRequestor")) == ("AETITLES=PREREAD", "true")
    assert ours.find("RoleIDCode").get("csd-code") == "110153"
    assert theirs.find("RoleIDCode").get("csd-code") == "110152"


def test_an_operators_deletion_names_the_operator_and_retentions_names_us():
    theirs = told(a_record(AuditEvent.DELETED, actor="operator ann")).findall("ActiveParticipant")
    ours = told(a_record(AuditEvent.DELETED, actor="")).findall("ActiveParticipant")

    assert [(one.get("UserID"), one.get("UserIsRequestor")) for one in theirs] == [
        ("17", "false"),
        ("operator ann", "true"),
    ]
    assert [(one.get("UserID"), one.get("UserIsRequestor")) for one in ours] == [("17", "true")]


def test_a_refusal_is_a_security_alert_that_failed_with_its_reason():
    event = told(a_record(AuditEvent.REFUSED, is_success=False, instances=3, detail="unknown AE title"))[0]

    assert event.find("EventID").get("csd-code") == "110113"
    assert event.get("EventOutcomeIndicator") == "4"
    assert event.find("EventOutcomeDescription").text == "unknown AE title (3 times)"


def test_a_query_holds_what_was_asked_for():
    query = told(a_record(AuditEvent.QUERIED)).find(".//ParticipantObjectQuery").text

    assert b64decode(query) == b"PatientID=A1^^^NORTH"


def test_the_images_of_a_study_from_one_sender_are_one_message():
    first, second = a_record(instances=1), replace(a_record(instances=1), at=later(2), number=7)
    other = a_record(study_instance_uid="2.25.200", instances=1)

    assert merged([first, other, second]) == (a_record(instances=2), other)


def test_what_is_not_a_transfer_is_told_each_time():
    again = [a_record(AuditEvent.AGAIN, instances=0, number=number) for number in (1, 2)]

    assert merged(again) == tuple(again)


def test_transfers_of_different_hours_are_not_joined():
    late = AuditRecord(NOW + timedelta(hours=1), AuditEvent.RECEIVED, "XRAY1", instances=1)
    early = AuditRecord(NOW, AuditEvent.RECEIVED, "XRAY1", instances=1)

    assert merged([early, late]) == (early, late)


@given(text=some.text())
def test_whatever_others_send_a_message_is_one_line_of_sound_xml(text: str):
    record = a_record(AuditEvent.REFUSED, actor=text, detail=text, patient_id="A" + text, address="x" + text)

    message = message_of(record, SOURCE)

    assert "\n" not in message
    assert breaches(message) == []
