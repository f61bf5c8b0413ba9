"""Orders in HL7 messages as RISs write them."""

from collections.abc import Callable

import pytest

from agent.hl7.message import MessageError, parse_message
from agent.hl7.orders import ToldOrder, parse_orders
from tests.storage.builders import NOW, an_order

PID = "PID|1||A1^^^CLINIC&1.2.3&ISO^MR||Doe^Jane^M^Jr^Dr||19500101|F"
OBR = "OBR|1|P1|F1|CXR^XR CHEST 2 VIEWS^L|||||||||Dyspnoea|||||4711|||||||||||||^Cough for two weeks."


def told(*lines: str) -> tuple[ToldOrder, ...]:
    content = "\r".join(("MSH|^~\\&|RIS||||||ORM^O01|1|P|2.5.1", *lines))
    return parse_orders(parse_message(content.encode()).segments, "ris", NOW)


def test_an_orm_is_read_into_an_order():
    (one,) = told(PID, "ORC|NW|P1|F1||||^^^202603010830", OBR, "ZDS|1.2.3.4^100^Application^DICOM")

    assert one == ToldOrder(
        an_order(
            study_instance_uid="1.2.3.4",
            issuer_of_patient_id="CLINIC",
            patient_name="Doe^Jane^M^Dr^Jr",
            scheduled_time="0830",
        ),
        is_cancelled=False,
    )


def test_an_omi_names_accession_number_and_study_in_its_ipc():
    (one,) = told(PID, "ORC|NW|P1|F1", "OBR|1|P1|F1", "IPC|A7|RP1|1.2.3.5|S1")

    assert (one.order.accession_number, one.order.study_instance_uid) == ("A7", "1.2.3.5")


def test_a_scheduled_time_with_an_offset_is_the_local_one(machine_zone: Callable[[str], None]):
    machine_zone("CET-1")

    (one,) = told(PID, "ORC|NW|P1|F1", "TQ1|1||||||20260228233000+0000", "OBR|1|P1|F1")

    assert (one.order.scheduled_date, one.order.scheduled_time) == ("20260301", "003000")


def test_a_year_of_birth_is_no_birth_date():
    (one,) = told("PID|1||A1^^^CLINIC||Doe^Jane||1950|F", OBR)

    assert one.order.birth_date == ""


def test_the_filler_order_number_stands_in_for_a_missing_accession_number():
    assert told(PID, "ORC|NW|P1|F1^RIS", "OBR|1||")[0].order.accession_number == "F1"


@pytest.mark.parametrize(
    ("orc", "is_cancelled"), [("CA|P1|F1", True), ("SC|P1|F1||CA", True), ("XO|P1|F1", False)]
)
def test_a_cancelled_order_says_so(orc: str, is_cancelled: bool):
    assert told(PID, f"ORC|{orc}", OBR)[0].is_cancelled is is_cancelled


@pytest.mark.parametrize(
    ("lines", "priority"),
    [
        (("ORC|NW|P1|F1", "TQ1|1||||||||S", "OBR|1|P1|F1"), "stat"),
        (("ORC|NW|P1|F1||||1^^^202603010830^^A", "OBR|1|P1|F1"), "urgent"),
        (("ORC|NW|P1|F1", "OBR|1|P1|F1||S"), "stat"),
        (("ORC|NW|P1|F1", "OBR|1|P1|F1"), ""),
    ],
)
def test_an_order_says_how_urgent_it_is(lines: tuple[str, ...], priority: str):
    assert told(PID, *lines)[0].order.priority == priority


def test_several_orders_of_one_message_are_told_apart():
    orders = told(PID, "ORC|NW|P1|F1", "OBR|1|P1|F1", "ORC|NW|P2|F2", "OBR|1|P2|F2")

    assert [one.order.accession_number for one in orders] == ["F1", "F2"]


def test_of_several_patient_numbers_the_medical_record_number_is_taken():
    (one,) = told("PID|1||77^^^STATE^NI~A1^^^CLINIC^MR||Doe^Jane", OBR)

    assert (one.order.patient_id, one.order.issuer_of_patient_id) == ("A1", "CLINIC")


@pytest.mark.parametrize(
    ("reason", "indication"),
    [("R05^Cough", "Cough"), ("Cough", "Cough"), ("", "Dyspnoea")],
)
def test_the_indication_is_the_reason_or_else_the_clinical_information(reason: str, indication: str):
    obr = OBR.rsplit("|", 1)[0] + "|" + reason

    assert told(PID, obr)[0].order.indication == indication


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((OBR,), "names no patient ID"),
        (("PID|1||", OBR), "names no patient ID"),
        ((PID,), "no order in it"),
        ((PID, "ORC|NW|P1", "OBR|1|P1"), "neither accession number"),
    ],
)
def test_a_message_that_is_no_order_is_refused_in_a_sentence_without_its_values(
    lines: tuple[str, ...], reason: str
):
    with pytest.raises(MessageError, match=reason) as refused:
        told(*lines)

    assert "Doe" not in str(refused.value)
