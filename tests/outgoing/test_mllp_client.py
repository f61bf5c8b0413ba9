"""A peer that says no, says nonsense, says nothing or dies: each is known for what it is."""

import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from agent.hl7.message import parse_message
from agent.outgoing.greeting import greet
from agent.outgoing.mllp_client import send_oru
from agent.outgoing.oru import oru_of
from agent.peers import StoreKind, Verdict
from config.receiver_settings import FhirServerSettings
from config.tls_settings import DestinationTlsSettings
from tests.outgoing.builders import a_draft, an_hl7_receiver
from tests.outgoing.peers import Script, acknowledged, dead, mllp_peer, silent

CONTENT = oru_of(a_draft(), an_hl7_receiver())


def sent(*scripts: Script, ack_seconds: float = 30) -> Verdict:
    with mllp_peer(*scripts) as peer:
        return send_oru(an_hl7_receiver(peer.port, ack_seconds=ack_seconds), CONTENT)


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_acknowledged_message_is_taken_and_arrived_as_it_was(code: str):
    with mllp_peer(acknowledged(code)) as peer:
        verdict = send_oru(an_hl7_receiver(peer.port), CONTENT)

    assert verdict == Verdict(StoreKind.TAKEN, None)
    assert peer.received == [CONTENT]


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_nak_is_final_and_its_text_is_told(code: str):
    verdict = sent(
        acknowledged(code, text="unknown order 4711", condition="204^Unknown key identifier^HL70357")
    )

    assert verdict.kind is StoreKind.REFUSED_FOR_GOOD
    assert verdict.words is not None
    assert f"{code} 204: unknown order 4711 Unknown key identifier" in verdict.words


@pytest.mark.parametrize("condition", ["206^Application record locked", "207^Application internal error"])
def test_a_nak_that_blames_the_receiver_itself_is_tried_again(condition: str):
    verdict = sent(acknowledged("AE", text="disk full", condition=condition))

    assert verdict.kind is StoreKind.REFUSED_FOR_NOW


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (silent, "did not acknowledge within 0.2 s. See its log"),
        (dead, "closed the connection without an acknowledgement"),
        (acknowledged("AA", of="OTHER"), "0.2 s; 1 answers were to other messages (MSA-2)"),
        (lambda _: b"\x0bnonsense\x1c\r", "what is no acknowledgement: it does not begin with an MSH"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "did not acknowledge within"),
        (lambda _: b"\x0b" + b"x" * 1_000_001, "more than 1000000 bytes"),
        (acknowledged("ZZ"), "no code of HL7 Table 0008"),
    ],
    ids=["silent", "dead", "another's answer", "nonsense", "not MLLP", "endless", "unknown code"],
)
def test_without_an_answer_to_this_message_it_is_sent_again(script: Script, words: str):
    verdict = sent(script, ack_seconds=0.2 if "acknowledge within" in words or "MSA-2" in words else 30)

    assert verdict.kind is StoreKind.NOT_SENT
    assert words in (verdict.words or "")


def test_an_answer_to_an_earlier_message_is_passed_over_until_its_own_comes():
    late, own = acknowledged("AE", of="EARLIER"), acknowledged("AA")

    verdict = sent(lambda message: (late(message) or b"") + (own(message) or b""))

    assert verdict.kind is StoreKind.TAKEN


def test_nobody_at_the_port_is_said_with_host_and_port():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    verdict = send_oru(an_hl7_receiver(port), CONTENT)

    assert verdict.kind is StoreKind.NOT_SENT
    assert f'HL7 receiver "ris" (127.0.0.1:{port}) cannot be connected' in (verdict.words or "")


def a_tls_peer(authority: trustme.CA, *, not_after: datetime | None = None) -> int:
    """A port that shows a certificate, takes one message and acknowledges it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", not_after=not_after).configure_cert(context)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            with server, context.wrap_socket(server.accept()[0], server_side=True) as connection:
                message = connection.recv(1_000_000).strip(b"\x0b\x1c\r")
                connection.sendall(acknowledged("AA", of=parse_message(message).control_id)(message) or b"")
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


def test_an_encrypted_receiver_is_believed_by_its_certificate_alone(tmp_path: Path):
    ours, strangers = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = DestinationTlsSettings(ca_file=tmp_path / "ca.pem")

    taken = send_oru(an_hl7_receiver(a_tls_peer(ours), tls=tls), CONTENT)
    doubted = send_oru(an_hl7_receiver(a_tls_peer(strangers), tls=tls), CONTENT)

    assert taken.kind is StoreKind.TAKEN
    assert doubted.kind is StoreKind.NOT_SENT
    assert "a certificate that we do not believe" in (doubted.words or "")


def test_a_receiver_or_server_whose_certificate_has_ended_is_to_renew_it(tmp_path: Path):
    authority, ended_at = trustme.CA(), datetime(2025, 1, 1, tzinfo=UTC)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = DestinationTlsSettings(ca_file=tmp_path / "ca.pem")
    ports = [a_tls_peer(authority, not_after=ended_at) for _ in range(2)]
    server = FhirServerSettings(name="fhir", url=f"https://127.0.0.1:{ports[1]}/", tls=tls)

    told = (greet(an_hl7_receiver(ports[0], tls=tls)), greet(server))

    assert all("(certificate has expired). It has to be renewed there" in (words or "") for words in told)
