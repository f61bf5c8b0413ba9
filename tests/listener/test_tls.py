"""The same port with encryption."""

import socket
import ssl
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme

from config.agent_settings import ListenerTlsSettings
from config.peers_settings import SenderSettings
from tests.listener.conftest import Inbox, StartListener, a_cr, await_that
from tests.listener.wire import RawSender

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Keys:
    """Certificates of one authority, as files for the listener."""

    authority: trustme.CA
    settings: ListenerTlsSettings


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issue_server(authority, tmp_path)
    return Keys(
        authority,
        ListenerTlsSettings(
            certificate_file=tmp_path / "server.pem",
            key_file=tmp_path / "server.key",
            ca_file=tmp_path / "ca.pem",
            require_client_certificate=True,
        ),
    )


def issue_server(authority: trustme.CA, folder: Path) -> None:
    """Writes a new certificate of ours and its key over the old ones."""
    server = authority.issue_cert("127.0.0.1")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    server.private_key_pem.write_to_path(folder / "server.key")


def trusting(keys: Keys) -> ssl.SSLContext:
    """A sender's context that believes our authority."""
    context = ssl.create_default_context()
    keys.authority.configure_trust(context)
    return context


def encrypted(
    inbox: Inbox, keys: Keys, certificate_of: trustme.CA | None, context: ssl.SSLContext | None = None
) -> RawSender:
    """A sender that has shaken hands."""
    context = context or trusting(keys)
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


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("nobody", "it shows no certificate; give it one, or set tls.require_client_certificate = false"),
        ("a stranger", "unable to get local issuer certificate); add its authority to tls.ca_file"),
    ],
)
def test_who_cannot_prove_who_it_is_is_refused_with_what_to_do(
    start: StartListener, keys: Keys, who: str, why: str
) -> None:
    inbox = start(tls=keys.settings)

    with (
        pytest.raises((ssl.SSLError, ConnectionError, AssertionError)),
        encrypted(inbox, keys, None if who == "nobody" else trustme.CA()) as sender,
    ):
        sender.associate()

    assert inbox.the_refusal().reason.startswith("TLS handshake failed: ")
    assert inbox.the_refusal().reason.endswith(why)


def test_who_speaks_without_encryption_is_refused(start: StartListener, keys: Keys) -> None:
    inbox = start(tls=keys.settings)

    with RawSender(inbox.port) as sender:
        sender.socket.sendall(b"\1\0\0\0\0\4abcd")
        assert sender.read_pdu()[0] in (0, 0x15)  # closed, perhaps after a TLS alert

    assert inbox.the_refusal().reason.endswith("it speaks no TLS; switch that on there")


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


def test_handshakes_that_several_addresses_begin_and_never_end_keep_nobody_out(
    start: StartListener, keys: Keys
) -> None:
    inbox = start(tls=keys.settings, associations_max=1, negotiation_seconds=30)
    port = ("127.0.0.1", inbox.port)
    halfway = [
        socket.create_connection(port, 10, source_address=(f"127.0.0.{2 + number % 2}", 0))
        for number in range(18)
    ]

    with encrypted(inbox, keys, keys.authority) as sender:
        assert sender.associate().store(*reversed(a_cr())).status == 0x0000

    assert inbox.refusals() == ()
    for connection in halfway:
        connection.close()


def refused_handshake(inbox: Inbox, *arguments: str) -> str:
    """What openssl says when it tries to shake hands; fails if it could."""
    tried = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{inbox.port}", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "Cipher is (NONE)" in tried.stdout, tried.stdout
    return tried.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA:AES256-GCM-SHA384:AES128-SHA:ECDHE-ECDSA-AES256-SHA"],
        ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"],
    ],
)
def test_old_versions_and_weak_suites_are_refused(
    start: StartListener, keys: Keys, arguments: list[str]
) -> None:
    inbox = start(tls=keys.settings)

    refused_handshake(inbox, *arguments)

    assert inbox.the_refusal().reason.startswith("TLS handshake failed")


@pytest.mark.parametrize(("profile", "is_agreed_on"), [("bcp195", True), ("bcp195_extended", False)])
def test_the_extended_profile_takes_no_suite_of_128_bits(
    start: StartListener, keys: Keys, profile: str, is_agreed_on: bool
) -> None:
    inbox = start(tls=keys.settings.model_copy(update={"profile": profile}))
    context = trusting(keys)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")

    with suppress(ssl.SSLError), encrypted(inbox, keys, keys.authority, context) as sender:
        sender.associate()

    assert inbox.refusals() == () if is_agreed_on else "handshake failed" in inbox.the_refusal().reason


def test_tls_1_3_is_what_both_sides_agree_on_if_they_can(start: StartListener, keys: Keys) -> None:
    inbox = start(tls=keys.settings)

    with encrypted(inbox, keys, keys.authority) as sender:
        assert sender.socket.version() == "TLSv1.3"


def test_an_expired_client_certificate_is_refused(start: StartListener, keys: Keys) -> None:
    inbox = start(tls=keys.settings)
    context = trusting(keys)
    expired = keys.authority.issue_cert("sender.example", not_after=datetime(2025, 1, 1, tzinfo=UTC))
    expired.configure_cert(context)

    with (
        pytest.raises((ssl.SSLError, ConnectionError, AssertionError)),
        encrypted(inbox, keys, None, context) as sender,
    ):
        sender.associate()

    assert inbox.the_refusal().reason == (
        "TLS handshake failed: CERTIFICATE_VERIFY_FAILED: its certificate is not believed (certificate has expired); "
        "renew it there, if the clock of this machine is right"
    )


def test_a_renewed_certificate_is_shown_without_a_restart(start: StartListener, keys: Keys) -> None:
    inbox = start(tls=keys.settings)
    with encrypted(inbox, keys, keys.authority) as sender:
        first = sender.socket.getpeercert(binary_form=True)

    issue_server(keys.authority, keys.settings.certificate_file.parent)

    with encrypted(inbox, keys, keys.authority) as sender:
        assert sender.socket.getpeercert(binary_form=True) != first


def test_half_written_files_leave_the_old_certificate_in_force(start: StartListener, keys: Keys) -> None:
    inbox = start(tls=keys.settings)
    with encrypted(inbox, keys, keys.authority) as sender:
        first = sender.socket.getpeercert(binary_form=True)

    keys.settings.key_file.write_text("-----BEGIN")

    with encrypted(inbox, keys, keys.authority) as sender:
        assert sender.socket.getpeercert(binary_form=True) == first


@pytest.mark.parametrize(
    ("required", "problem"),
    [
        ({"certificate_subject": "sender.example"}, ""),
        ({"certificate_subject": "other.example"}, "one of sender.example, sha256 "),
        ({"certificate_sha256": ("0" * 64,)}, "one of sender.example, sha256 "),
    ],
)
def test_a_sender_must_show_the_certificate_that_its_entry_names(
    start: StartListener, keys: Keys, required: dict[str, Any], problem: str
) -> None:
    inbox = start(tls=keys.settings, senders=(SenderSettings(ae_title="MODALITY", **required),))

    with suppress(AssertionError), encrypted(inbox, keys, keys.authority) as sender:
        sender.associate()

    assert (problem in inbox.the_refusal().reason) if problem else (inbox.refusals() == ())


def test_a_fingerprint_is_that_of_the_certificate_shown(start: StartListener, keys: Keys) -> None:
    client = keys.authority.issue_cert("sender.example")
    shown = ssl.PEM_cert_to_DER_cert(client.cert_chain_pems[0].bytes().decode())
    sender = SenderSettings(ae_title="MODALITY", certificate_sha256=(sha256(shown).hexdigest().upper(),))
    inbox, context = start(tls=keys.settings, senders=(sender,)), trusting(keys)
    client.configure_cert(context)

    with encrypted(inbox, keys, None, context) as connection:
        connection.associate()

    assert inbox.refusals() == ()
