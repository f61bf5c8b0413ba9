"""What should not come comes: each ends in one clear sentence, on the log and in `preread status`."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from agent.demo.pacs import MiniPacs
from agent.peers import Peers
from config.settings import DestinationSettings
from storage.records import Stage
from tests.builders import a_radiograph, write
from tests.end_to_end.conftest import Running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DX = "1.2.840.10008.5.1.4.1.1.1.1"


@pytest.fixture(scope="module")
def preread(tmp_path_factory: pytest.TempPathFactory, pacs: MiniPacs) -> Iterator[Running]:
    senders = '[[sender]]\nae_title = "TESTPACS"\naddresses = ["127.0.0.1"]\n'
    running = Running(tmp_path_factory.mktemp("preread"), pacs.port, senders=senders)
    yield running.start()
    running.stop()


def status(preread: Running) -> dict[str, Any]:
    config = str(preread.folder / "config")
    command = [sys.executable, "-m", "agent", "status", "--json", "--config", config]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def refusal_saying(preread: Running, words: str) -> dict[str, Any]:
    """Waits until a refusal with these words stands in the status, and in the log."""

    def found() -> dict[str, Any] | None:
        return next((dict(r) for r in status(preread)["refusals"] if words in r["reason"]), None)

    refusal = wait_for(f'a refusal saying "{words}"', found)
    assert isinstance(refusal, dict)
    assert refusal["reason"] in preread.log.read_text().replace('\\"', '"')
    return refusal


def test_an_unknown_ae_title_is_turned_away_by_name(preread: Running):
    ae = AE("ROGUE")
    ae.add_requested_context(DX)

    association = ae.associate("127.0.0.1", preread.port, ae_title="PREREAD")

    assert association.is_rejected
    assert refusal_saying(preread, "ROGUE")["calling_ae_title"] == "ROGUE"


def test_garbage_on_the_port_is_named_and_the_next_sender_gets_through(preread: Running, pacs: MiniPacs):
    with socket.create_connection(("127.0.0.1", preread.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: preread\r\n\r\n")
        connection.settimeout(20)
        while connection.recv(4096):
            pass

    image = a_radiograph(patient_id="B1", rows=300, columns=280)
    pacs.send([image], "127.0.0.1", preread.port, "PREREAD")

    assert preread.wait_for_jobs(str(image.StudyInstanceUID))[0].stage is Stage.DONE
    refusal_saying(preread, "PDU")


def test_a_truncated_image_is_refused_and_its_sender_told(preread: Running, tmp_path: Path):
    whole = write(a_radiograph(patient_id="B2"), tmp_path / "whole.dcm")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:-500])
    here = DestinationSettings(
        name="preread", ae_title="PREREAD", host="127.0.0.1", port=preread.port, calling_ae_title="TESTPACS"
    )

    (outcome,) = Peers("TESTPACS").store(here, [cut])

    assert outcome.kind != "taken"
    assert refusal_saying(preread, "ends in the middle")["status"] == f"0x{outcome.status:04X}"
