"""`preread check` asks every receiver whether it is there, and sends it nothing."""

import socket
from pathlib import Path

from agent.checking import check
from config.settings import PeersSettings, Settings
from tests.outgoing.builders import a_drop_folder, a_fhir_server, a_webhook, an_hl7_receiver
from tests.outgoing.peers import acknowledged, mllp_peer, web_peer


def checked(**receivers: object) -> list[tuple[bool, str]]:
    """What is said of the receivers."""
    settings = Settings(peers=PeersSettings(**receivers))
    lines = check(settings, open_model=False)[-4:]  # before them the configuration and the store
    return [(line.ok, line.text) for line in lines]


def test_receivers_that_are_there_are_greeted_without_a_message(tmp_path: Path):
    with mllp_peer(acknowledged("AA")) as ris, web_peer(200) as fhir, web_peer(405) as hook:
        told = checked(
            hl7_receivers=(an_hl7_receiver(ris.port),),
            fhir_servers=(a_fhir_server(fhir.port),),
            webhooks=(a_webhook(hook.port),),
            drop_folders=(a_drop_folder(tmp_path),),
        )

    assert [ok for ok, _ in told] == [True] * 4
    assert fhir.asked == ["/r4/metadata?_summary=true"]
    assert (ris.received, fhir.received, hook.received) == ([], [], [])


def test_receivers_that_are_not_there_are_problems_with_a_sentence(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with web_peer(401) as fhir:
        told = checked(
            hl7_receivers=(an_hl7_receiver(port),),
            fhir_servers=(a_fhir_server(fhir.port),),
            webhooks=(a_webhook(port),),
            drop_folders=(a_drop_folder(tmp_path / "unmounted"),),
        )

    assert [ok for ok, _ in told] == [False] * 4
    assert "cannot be connected" in told[0][1]
    assert "HTTP status 401. Set its authorization" in told[1][1]
    assert "is no folder that we can write in" in told[3][1]
