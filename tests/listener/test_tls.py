"""The same port with encryption."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from config.agent_settings import ListenerTlsSettings
from tests.listener.conftest import Inbox, StartListener, a_cr, await_that
from tests.listener.wire import RawSender


@dataclass(frozen=True)
class Keys:
    """Certificates of one authority, as files for the listener."""

    authority: trustme.CA
    settings: ListenerTlsSettings


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    return Keys(
        authority,
        ListenerTlsSettings(
            certificate_file=tmp_path / "server.pem",
            key_file=tmp_path / "server.key",
            ca_file=tmp_path / "ca.pem",
            require_client_certificate=True,
        ),
    )


def encrypted(inbox: Inbox, keys: Keys, certificate_of: trustme.CA | None) -> RawSender:
    """A sender that has shaken hands."""
    context = ssl.create_default_context()
    keys.authority.configure_trust(context)
    if certificate_of is not None:
        certificate_of.issue_cert("sender.example").configure_cert(context)
    plain = socket.create_connection(("127.0.0.1", inbox.port), 10)
    return RawSender(inbox.port, sock=context.wrap_socket(plain, server_hostname="127.0.0.1"))


@pytest.mark.parametrize("pdu_bytes", [16_384, 131_072])
def test_an_object_comes_through_the_encryption_byte_for_byte(
    start: StartListener, keys: Keys, pdu_bytes: int
) -> None:
    inbox = start(tls=keys.settings)
    uid, data = a_cr(rows=1000, columns=1000)

    with encrypted(inbox, keys, keys.authority) as sender:
        sender.associate()
        assert sender.store(data, uid, pdu_bytes=pdu_bytes).status == 0x0000
        sender.release()

    assert inbox.dataset_bytes(uid) == data


@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_who_cannot_prove_who_it_is_is_refused(start: StartListener, keys: Keys, who: str) -> None:
    inbox = start(tls=keys.settings)

    with (
        pytest.raises((ssl.SSLError, ConnectionError, AssertionError)),
        encrypted(inbox, keys, None if who == "nobody" else trustme.CA()) as sender,
    ):
        sender.associate()

    assert inbox.the_refusal().reason.startswith("TLS handshake failed")


def test_who_speaks_without_encryption_is_refused(start: StartListener, keys: Keys) -> None:
    inbox = start(tls=keys.settings)

    with RawSender(inbox.port) as sender:
        sender.socket.sendall(b"\1\0\0\0\0\4abcd")
        assert sender.read_pdu()[0] in (0, 0x15)  # closed, perhaps after a TLS alert

    assert inbox.the_refusal().reason.startswith("TLS handshake failed")


def test_who_stops_in_the_middle_of_the_handshake_holds_nobody_up(start: StartListener, keys: Keys) -> None:
    inbox = start(tls=keys.settings, negotiation_seconds=0.8)
    uid, data = a_cr()

    with RawSender(inbox.port) as silent, RawSender(inbox.port) as halfway:
        halfway.socket.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        with encrypted(inbox, keys, keys.authority) as sender:
            sender.associate()
            assert sender.store(data, uid).status == 0x0000
        assert silent.read_pdu() == halfway.read_pdu() == (0, b"")

    await_that(lambda: len(inbox.refusals()) == 2)
    assert {refusal.reason for refusal in inbox.refusals()} == {
        "no TLS handshake within negotiation_seconds = 0.8"
    }
