"""What is audited, and that it cannot be lost, on SQLite and on PostgreSQL alike."""

from datetime import datetime

import pytest

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import Audits
from storage.index import Index
from storage.jobs import Jobs
from storage.patients import Patients
from storage.records import Closing, ClosingKind, PatientIdentifier, Refusal
from storage.requests import PriorRequests
from tests.storage.builders import NOW, STUDY, being_fetched, done, later, put


def events_of(audits: Audits) -> list[AuditEvent]:
    return [record.event for record in audits.waiting("filed_at", 100)]


def test_the_way_of_a_study_is_audited_in_the_commits_of_its_steps(index: Index, jobs: Jobs, audits: Audits):
    done(index, jobs)

    records = audits.waiting("filed_at", 100)

    assert [(one.event, one.actor, one.instances) for one in records] == [
        (AuditEvent.RECEIVED, "XRAY1", 1),
        (AuditEvent.READ, "", 0),
        (AuditEvent.SENDING, "PACS", 2),
        (AuditEvent.SENT, "PACS", 1),
        (AuditEvent.SENT, "PACS", 1),
    ]
    assert {(one.study_instance_uid, one.patient_id) for one in records} == {(STUDY, "A1")}


def test_the_same_object_again_is_not_audited_as_another(index: Index, audits: Audits):
    put(index)
    put(index)

    assert events_of(audits) == [AuditEvent.RECEIVED]


def test_reading_again_is_audited_with_who_asked(index: Index, jobs: Jobs, audits: Audits):
    done(index, jobs)
    job = jobs.again(STUDY, later(60), "operator ann")

    last = audits.waiting("filed_at", 100)[-1]

    assert (last.event, last.actor, last.study_instance_uid) == (AuditEvent.AGAIN, "operator ann", STUDY)
    assert job.complete_because == "asked for by operator ann"


def test_a_withdrawal_is_audited_and_told_with_who_made_it(index: Index, jobs: Jobs, audits: Audits):
    done(index, jobs)
    jobs.closings.withdraw(
        Closing(STUDY, ClosingKind.WITHDRAWN, "wrong patient", None, later(60)), 2, (), {}, "operator ann"
    )

    last = audits.waiting("filed_at", 100)[-1]

    assert (last.event, last.actor, last.detail) == (AuditEvent.WITHDRAWN, "operator ann", "wrong patient")
    assert "withdrawn by operator ann: wrong patient" in [one.text for one in jobs.events_of_study(STUDY)]


def test_a_connection_that_was_refused_is_audited_and_an_object_is_not(index: Index, audits: Audits):
    index.refuse(Refusal(NOW, "ROGUE", "10.0.0.9", "", None, "unknown AE title"))
    index.refuse(Refusal(NOW, "XRAY1", "10.0.0.1", "2.25.1", 0xA700, "disk full"))

    (record,) = audits.waiting("filed_at", 100)

    told = (record.event, record.actor, record.address, record.detail, record.is_success)
    assert told == (AuditEvent.REFUSED, "ROGUE", "10.0.0.9", "unknown AE title", False)


def test_a_link_and_its_end_are_audited(database, audits: Audits):
    patients = Patients(database)
    link = patients.link(PatientIdentifier("A1"), PatientIdentifier("B2", "NORTH"), "merge", "ADT 17", NOW)
    assert link is not None
    patients.unlink(link.number, "operator ann", later(1))

    records = audits.waiting("filed_at", 100)

    assert [(one.event, one.actor, one.patient_id, one.detail) for one in records] == [
        (AuditEvent.LINKED, "ADT 17", "B2^^^NORTH", "link 1: A1 is B2^^^NORTH, merge"),
        (AuditEvent.UNLINKED, "operator ann", "B2^^^NORTH", "link 1: A1 is B2^^^NORTH, merge"),
    ]


def test_asking_an_archive_is_audited_with_the_patient_asked_for(
    index: Index, jobs: Jobs, requests: PriorRequests, audits: Audits
):
    being_fetched(index, jobs, requests)

    (record,) = [one for one in audits.waiting("filed_at", 100) if one.event == AuditEvent.QUERIED]

    told = (record.actor, record.patient_id, record.study_instance_uid, record.detail)
    assert told == ("arch", "A1", STUDY, "1 exams chosen")


@pytest.mark.parametrize("places", [("filed_at",), ("filed_at", "sent_at")])
def test_a_record_is_dropped_when_it_has_been_written_everywhere(audits: Audits, places):
    for event in (AuditEvent.STARTED, AuditEvent.STOPPED):
        audits.add(AuditRecord(NOW, event))
    first, last = audits.waiting("filed_at", 10)
    for place in places:
        audits.written(place, [first.number], NOW)

    assert audits.waiting(places[-1], 10) == (last,)
    assert audits.forget_written(places, NOW) == 1
    assert audits.waiting("filed_at", 10) == (last,)


def test_a_record_that_one_place_has_not_is_kept(audits: Audits):
    audits.add(AuditRecord(NOW, AuditEvent.STARTED))
    (record,) = audits.waiting("filed_at", 10)
    audits.written("filed_at", [record.number], NOW)

    assert audits.forget_written(["filed_at", "sent_at"], NOW) == 0
    assert audits.waiting("sent_at", 10) == (record,)


def test_refusals_of_an_hour_are_one_record_and_one_count_whatever_the_ae_title(index: Index, audits: Audits):
    for number in range(100):
        refuse(index, f"S{number}", later(number / 10))

    first, further = audits.waiting("filed_at", 100)
    assert (first.actor, first.instances, first.detail) == ("S0", 1, '"S0" is not known')
    assert (further.actor, further.address, further.instances) == ("", "192.0.2.66", 99)
    assert further.detail == "further ones within the hour: unknown"


def test_refusals_of_another_kind_address_or_hour_are_told_anew(index: Index, audits: Audits):
    refuse(index, "A", NOW)
    refuse(index, "A", NOW, kind="another")
    refuse(index, "A", NOW, address="192.0.2.67")
    refuse(index, "A", later(3600))

    assert [record.instances for record in audits.waiting("filed_at", 100)] == [1, 1, 1, 1]


def test_a_count_is_written_out_when_its_hour_is_over_and_an_empty_one_never(index: Index, audits: Audits):
    refuse(index, "A", NOW)
    refuse(index, "B", NOW)
    refuse(index, "A", NOW, address="192.0.2.67")

    assert [one.instances for one in audits.waiting("filed_at", 10, NOW)] == [1, 1]
    assert [one.instances for one in audits.waiting("filed_at", 10, later(3600))] == [1, 1, 1]
    assert audits.forget_written(["filed_at"], NOW) == 0
    assert audits.forget_written(["filed_at"], later(3600)) == 1


def refuse(
    index: Index, ae_title: str, at: datetime, kind: str = "unknown", address: str = "192.0.2.66"
) -> None:
    index.refuse(Refusal(at, ae_title, address, "", None, f'"{ae_title}" is not known'), kind)
