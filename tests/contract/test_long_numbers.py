"""What is looked up by index has a length that every index takes, and what is longer is told and kept elsewhere."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from agent.hl7.message import MESSAGE_IDENTIFIERS_MAX
from agent.identity import IdentifierRules
from agent.messages import MessageType
from agent.ordering import order_messages
from agent.registry import patient_messages
from agent.reports.results import result_messages
from config.settings import Settings
from storage.database import Database
from storage.files import Files
from storage.orders import Orders
from storage.patients import Patients
from storage.records import NUMBER_CHARACTERS_MAX, Demographics, PatientChange, PatientIdentifier
from storage.reports import Reports
from tests.hl7.builders import NOW, an_oru
from tests.hl7.conftest import an_intake
from tests.storage.builders import a_report, an_order


def a_number(characters: int) -> str:
    """Of letters with three bytes each, no two alike: PostgreSQL packs what repeats itself."""
    return "".join(map(chr, Random(1).sample(range(0x3400, 0xD000), characters)))


LONGEST, TOO_LONG = a_number(NUMBER_CHARACTERS_MAX), a_number(NUMBER_CHARACTERS_MAX + 1)


def test_reports_orders_and_patients_with_numbers_as_long_as_any_are_kept(database: Database):
    patient = PatientIdentifier(LONGEST, LONGEST[::-1])
    report = a_report(report_key=LONGEST, accession_number=LONGEST, study_instance_uid=LONGEST)
    order = an_order(accession_number=LONGEST, study_instance_uid=LONGEST, patient_id=LONGEST)
    update = PatientChange(
        "update", identifiers=(patient,), demographics=Demographics(LONGEST, "19500101", "F")
    )
    merge = PatientChange("merge", links=((patient, PatientIdentifier("B2", "")),))

    added = Reports(database).add([replace(report, patients=(patient,))])
    kept = Orders(database).put(order, (), NOW)
    linked = Patients(database).apply([update, merge], "ADT", NOW)

    assert (added, kept.accession_number, len(linked)) == (1, LONGEST, 1)


def messages(database: Database) -> dict[str, MessageType]:
    patients = {"ADT": patient_messages(Patients(database), IdentifierRules())}
    orders = order_messages(Orders(database), Settings())
    return {"ORU": result_messages(Reports(database)), **orders, **patients}


def an_adt(pid: str, merged: str = "") -> str:
    return "\r".join(
        [r"MSH|^~\&|HIS|NORTH|PREREAD||20260302||ADT^A40|1|P|2.5.1", f"PID|1||{pid}", f"MRG|{merged}"]
    )


def an_orm(**numbers: str) -> str:
    told = {"placer": "P1", "filler": "F1", "accession": "A1", "patient": "7"} | numbers
    order = f"OBR|1|{told['placer']}|{told['filler']}|XR{'|' * 14}{told['accession']}"
    header = r"MSH|^~\&|RIS|NORTH|PREREAD||20260302||ORM^O01|1|P|2.5.1"
    return "\r".join([header, f"PID|1||{told['patient']}", "ORC|NW", order])


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (an_oru(filler=TOO_LONG), "filler order number (OBR-3)"),
        (an_oru(accession=f"1{TOO_LONG[1:]}"), "accession number (IPC-1, OBR-18)"),
        (an_oru(patients=f"A1~{TOO_LONG}"), "patient ID (PID-3)"),
        (an_oru(patients=f"A1^^^{TOO_LONG}"), "assigning authority (PID-3.4)"),
        (an_oru(more=(f"ZDS|1.{'2' * 255}",)), "study UID (ZDS-1, IPC-3, OBX-5)"),
        (an_orm(placer=TOO_LONG), "placer order number (ORC-2, OBR-2)"),
        (an_orm(filler=TOO_LONG), "filler order number (ORC-3, OBR-3)"),
        (an_orm(accession=TOO_LONG), "accession number (IPC-1, OBR-18)"),
        (an_orm(patient=TOO_LONG), "patient ID (PID-3)"),
        (an_adt(f"A1~{TOO_LONG}", "B2"), "patient ID (PID-3)"),
        (an_adt("A1", TOO_LONG), "patient ID (MRG-1)"),
        (an_adt(f"A1^^^{TOO_LONG}", "B2"), "assigning authority (PID-3.4)"),
        (an_adt(f"A1||{TOO_LONG}", "B2"), "patient name (PID-5)"),
    ],
)
def test_a_message_with_a_longer_number_is_in_quarantine_with_field_and_length(
    database: Database, tmp_path: Path, message: str, field: str
):
    reports = Reports(database)
    intake = an_intake(reports, Files(tmp_path), types=messages(database))

    taken = intake.take(message.encode(), "10.1.2.3")

    assert (taken.code, taken.reason) == (
        "AE",
        f"its {field} has 257 characters; more than 256 are not taken",
    )
    assert [one.reason for one in reports.quarantined()] == [taken.reason]


def test_a_message_that_names_as_many_patients_as_any_is_taken_and_one_more_is_not(
    database: Database, tmp_path: Path
):
    reports = Reports(database)
    intake = an_intake(reports, Files(tmp_path), types=messages(database))
    numbers = [f"B{number}" for number in range(MESSAGE_IDENTIFIERS_MAX)]
    many = "~".join(numbers)

    taken = [
        intake.take(message.encode(), "10.1.2.3")
        for message in (
            an_adt("A1", "~".join(numbers[1:])),
            an_adt("A1", many),
            an_oru(patients=many),
            an_oru(patients=f"A1~{many}"),
        )
    ]

    too_many = "it names 101 patient identifiers; more than 100 are not taken"
    assert [one.code for one in taken] == ["AA", "AE", "AA", "AE"]
    assert [one.reason for one in reports.quarantined()] == [too_many, too_many]
