"""What worklists tell is kept as orders, and a worklist that misbehaves costs nothing else."""

from collections.abc import Callable, Iterator

import pytest
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.sequence import Sequence
from pynetdicom import evt

from agent.ordering import ask_worklist, forget_orders
from config.settings import WorklistSettings
from tests.agent.archives import a_free_port
from tests.agent.line import Line
from tests.agent.query_archives import Answer, a_query_archive
from tests.builders import a_day

Ask = Callable[..., int]


def a_worklist(port: int, **values: object) -> WorklistSettings:
    known = {"name": "ris", "ae_title": "RIS", "host": "127.0.0.1", "port": port, "connect_seconds": 1.0}
    return WorklistSettings(**(known | {"modalities": ("DX",)} | values))


def an_entry(accession: str = "77", **elements: object) -> Dataset:
    entry, step = Dataset(), Dataset()
    entry.SpecificCharacterSet = "ISO_IR 192"
    entry.PatientID, entry.PatientName, entry.AccessionNumber = "W1", "Müller^Ünal", accession
    entry.StudyInstanceUID = "2.25.77"
    entry.RequestedProcedureDescription = "XR CHEST"
    entry.ReasonForTheImagingServiceRequest = "Cough."
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = a_day(), "0830"
    entry.ScheduledProcedureStepSequence = Sequence([step])
    for keyword, value in elements.items():
        setattr(entry, keyword, value)
    return entry


def answering(*entries: Dataset) -> Callable[[evt.Event], Iterator[Answer]]:
    return lambda event: iter([(0xFF00, entry) for entry in entries])


def test_an_entry_becomes_an_order_however_often_it_is_told(line: Line):
    with a_query_archive(ae_title="RIS", on_find=answering(an_entry())) as worklist:
        kept = [ask_worklist(a_worklist(worklist.port), line.tools) for _ in range(2)]

    (order,) = line.tools.orders.of_study("2.25.77", "")
    assert kept == [1, 1]
    assert (order.patient_name, order.indication, order.source) == ("Müller^Ünal", "Cough.", "ris")
    assert (order.scheduled_date, order.scheduled_time) == (a_day(), "0830")


@pytest.mark.parametrize(("sent", "priority"), [("HIGH", "urgent"), ("stat", "stat"), ("SOON", ""), ("", "")])
def test_a_worklist_says_how_urgent_an_exam_is(line: Line, sent: str, priority: str):
    entry = an_entry(RequestedProcedurePriority=sent)

    with a_query_archive(ae_title="RIS", on_find=answering(entry)) as worklist:
        ask_worklist(a_worklist(worklist.port), line.tools)

    assert [order.priority for order in line.tools.orders.of_study("2.25.77", "")] == [priority]
    assert "RequestedProcedurePriority" in worklist.queries[0]


def test_each_modality_is_asked_for_from_today_on(line: Line):
    with a_query_archive(ae_title="RIS", on_find=answering()) as worklist:
        ask_worklist(a_worklist(worklist.port, modalities=("CR", "DX"), days_ahead=2), line.tools)

    steps = [query.ScheduledProcedureStepSequence[0] for query in worklist.queries]
    assert [step.Modality for step in steps] == ["CR", "DX"]
    assert {step.ScheduledProcedureStepStartDate for step in steps} == {f"{a_day()}-{a_day(-2)}"}


def test_an_entry_that_could_not_be_found_again_is_left_out(line: Line):
    entries = (an_entry(PatientID=""), an_entry("", StudyInstanceUID=""), an_entry("78", StudyInstanceUID=""))

    with a_query_archive(ae_title="RIS", on_find=answering(*entries)) as worklist:
        assert ask_worklist(a_worklist(worklist.port), line.tools) == 1

    assert len(line.tools.orders.of_study("", "78")) == 1


def test_an_accession_number_longer_than_any_counts_as_not_sent(line: Line):
    entry = an_entry()
    entry[0x00080050] = DataElement(0x00080050, "SH", "7" * 257, validation_mode=IGNORE)

    with a_query_archive(ae_title="RIS", on_find=answering(entry)) as worklist:
        ask_worklist(a_worklist(worklist.port), line.tools)

    assert [order.accession_number for order in line.tools.orders.of_study("2.25.77", "")] == [""]


@pytest.mark.parametrize("status", [0xA900, 0xC001])
def test_a_worklist_that_refuses_is_asked_again_next_time(line: Line, status: int):
    with a_query_archive(ae_title="RIS", on_find=lambda event: iter([(status, None)])) as worklist:
        assert ask_worklist(a_worklist(worklist.port), line.tools) == 0
        worklist.on_find = answering(an_entry())
        assert ask_worklist(a_worklist(worklist.port), line.tools) == 1


def test_a_worklist_that_is_down_costs_one_try(line: Line):
    assert ask_worklist(a_worklist(a_free_port(), modalities=("CR", "DX")), line.tools) == 0


def test_an_order_that_is_not_told_any_more_is_forgotten(line: Line):
    with a_query_archive(ae_title="RIS", on_find=answering(an_entry())) as worklist:
        ask_worklist(a_worklist(worklist.port), line.tools)

    line.wait(31 * 86_400)
    forget_orders(line.tools)

    assert line.tools.orders.of_study("2.25.77", "77") == ()
