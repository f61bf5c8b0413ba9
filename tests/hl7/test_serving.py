"""`preread serve` hears HL7 where agent.toml says so."""

import socket
from pathlib import Path

from agent.hl7.framing import framed
from agent.service import Serving
from agent.store import open_store
from config.settings import (
    AgentSettings,
    Hl7Settings,
    ListenerSettings,
    ReaderSettings,
    ReadingSettings,
    Settings,
    StorageSettings,
)
from storage.records import PatientIdentifier
from tests.hl7.builders import an_oru

ORDER = (
    "MSH|^~\\&|RIS|HERE|||20260302||ORM^O01|MSG2|P|2.3.1\rPID|1||A1^^^CLINIC^MR||Doe^Jane||19500101|F\r"
    "ORC|NW|P1|F1\rOBR|1|P1|F1|CXR^XR CHEST|||||||||Dyspnoea|||||4711\r"
)

MERGE = (
    "MSH|^~\\&|RIS|HERE|||20260302||ADT^A40^ADT_A39|MSG3|P|2.5.1\rEVN||20260302\r"
    "PID|1||A2^^^CLINIC^MR||Doe^Jane||19500101|F\rMRG|A1^^^CLINIC^MR\r"
)


def test_reports_orders_and_merges_sent_to_the_serving_process_are_in_its_store(tmp_path: Path):
    agent = AgentSettings(
        listener=ListenerSettings(free_bytes_min=0).model_copy(update={"port": 0}),
        hl7=Hl7Settings().model_copy(update={"port": 0}),
        storage=StorageSettings(folder=tmp_path / "data"),
    )
    settings = Settings(agent=agent, reading=ReadingSettings(reader=ReaderSettings(child=False)))
    serving = Serving(settings)
    serving.start()
    assert serving.mllp is not None
    with socket.create_connection(("127.0.0.1", serving.mllp.port), 10) as connection:
        connection.sendall(framed(an_oru().encode()))
        answer = connection.recv(65_536)
        connection.sendall(framed(ORDER.encode()))
        answer += connection.recv(65_536)
        connection.sendall(framed(MERGE.encode()))
        answer += connection.recv(65_536)
    serving.stop()

    store = open_store(settings)
    (order,) = store.orders.of_study("", "4711")
    (link,) = store.patients.links(2)
    store.database.close()
    assert b"MSA|AA|MSG1" in answer
    assert b"MSA|AA|MSG2" in answer
    assert b"MSA|AA|MSG3" in answer
    assert (link.old, link.surviving) == (
        PatientIdentifier("A1", "CLINIC"),
        PatientIdentifier("A2", "CLINIC"),
    )
    assert link.linked_by == "ADT^A40 MSG3 of RIS HERE"
    assert store.reports.counts()["report_versions"] == 1
    assert (order.source, order.indication) == ("RIS HERE", "Dyspnoea")
