"""The HL7 port as an interface engine finds it, well behaved and otherwise."""

import sqlite3
import ssl
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trustme
from sqlalchemy import text
from structlog.testing import capture_logs

from agent.ports import PortError
from config.agent_settings import ListenerTlsSettings
from tests.hl7.builders import an_obx, an_oru
from tests.hl7.conftest import Connect, Inbox, OpenPort

pytestmark = pytest.mark.slow


def test_many_messages_come_over_one_connection(inbox: Inbox, port: OpenPort, engine: Connect):
    ris = engine(port())

    answers = [ris.ask(an_oru(an_obx(f"No. {n}"), control_id=f"M{n}").encode()) for n in range(20)]

    assert answers == [("AA", f"M{n}") for n in range(20)]
    assert inbox.texts() == [f"No. {n}" for n in range(20)]


def test_messages_sent_without_waiting_are_answered_in_their_order(port: OpenPort, engine: Connect):
    ris = engine(port())

    ris.send(b"".join(b"\x0b" + an_oru(control_id=name).encode() + b"\x1c\r" for name in "ABC"))

    assert [ris.answer().first("MSA").text(2) for _ in range(3)] == ["A", "B", "C"]


def test_noise_before_a_message_does_no_harm(port: OpenPort, engine: Connect):
    ris = engine(port())
    ris.send(b"\r\n\x00hello\x1c")

    assert ris.ask(an_oru().encode()) == ("AA", "MSG1")


def test_a_bad_message_does_not_end_the_connection(inbox: Inbox, port: OpenPort, engine: Connect):
    ris = engine(port())

    assert ris.ask(b"MSH|^~\\&|||||||XYZ|7|P|2.3\r") == ("AR", "7")
    assert ris.ask(b"what?") == ("AE", "")
    assert ris.ask(an_oru().encode()) == ("AA", "MSG1")
    assert inbox.reports.counts()["quarantined"] == 2


def test_a_message_above_the_limit_ends_the_connection(inbox: Inbox, port: OpenPort, engine: Connect):
    ris = engine(port(message_bytes_max=5000))

    ris.send(b"\x0b" + b"x" * 6000)

    assert ris.is_closed()
    assert "message_bytes_max = 5000" in inbox.the_refusal()


def test_a_message_that_never_ends_ends_the_connection(inbox: Inbox, port: OpenPort, engine: Connect):
    ris = engine(port(message_seconds=0.2))

    ris.send(b"\x0bMSH|^~\\&|")

    assert ris.is_closed()
    assert "did not end within hl7.message_seconds = 0.2" in inbox.the_refusal()


def test_a_silent_connection_is_closed_without_a_word(inbox: Inbox, port: OpenPort, engine: Connect):
    ris = engine(port(idle_seconds=0.2))

    assert ris.is_closed()
    assert inbox.index.refusals(1) == ()


def test_who_is_not_listed_may_not_send(inbox: Inbox, port: OpenPort, engine: Connect):
    ris = engine(port(addresses=("10.1.2.0/24",)))

    assert ris.is_closed()
    assert inbox.the_refusal() == "127.0.0.1 may not send HL7. If it may, add it to hl7.addresses."


def test_the_port_hears_on_when_a_refusal_cannot_be_written_down(
    tmp_path: Path, port: OpenPort, engine: Connect
):
    receiver = port(addresses=["10.0.0.0/8"])
    with closing(sqlite3.connect(tmp_path / "preread.sqlite")) as database:
        database.execute("DROP TABLE refusals")

    with capture_logs() as log:
        refused = [engine(receiver).is_closed() for _ in range(2)]

    assert refused == [True, True], "the thread that accepts lives"
    errors = [(entry["reason"], entry["exc_info"]) for entry in log if entry["log_level"] == "error"]
    assert errors == [("no such table: refusals", False)] * 2


def test_the_port_hears_on_when_all_connections_to_the_database_are_in_use(
    inbox: Inbox, port: OpenPort, engine: Connect
):
    receiver = port(addresses=["10.0.0.0/8"])
    inbox.index._database.engine.pool._timeout = 0.1  # type: ignore[attr-defined]

    with ExitStack() as in_use:
        for _ in range(100):
            in_use.enter_context(inbox.index._database.reading())
        refused = [engine(receiver).is_closed() for _ in range(2)]

    assert (refused, receiver.is_deaf) == ([True, True], False)


def test_a_message_that_comes_while_the_database_takes_nothing_is_not_answered_and_taken_later(
    inbox: Inbox, port: OpenPort, engine: Connect
):
    receiver = port()
    with inbox.index._database.writing() as connection:
        connection.execute(text("ALTER TABLE reports RENAME TO gone"))
    ris = engine(receiver)
    ris.send(b"\x0b" + an_oru().encode() + b"\x1c\r")
    assert ris.is_closed()

    with inbox.index._database.writing() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO reports"))

    assert engine(receiver).ask(an_oru().encode()) == ("AA", "MSG1")
    assert inbox.reports.quarantined() == ()


def test_one_connection_too_many_is_closed_and_the_others_go_on(
    inbox: Inbox, port: OpenPort, engine: Connect
):
    receiver = port(connections_max=1, addresses=("127.0.0.0/8",))
    first = engine(receiver)
    assert first.ask(an_oru().encode()) == ("AA", "MSG1")

    assert engine(receiver).is_closed()

    assert "hl7.connections_max = 1" in inbox.the_refusal()
    assert first.ask(an_oru(control_id="M2").encode()) == ("AA", "M2")


def test_connections_that_bring_no_message_keep_no_engine_out(inbox: Inbox, port: OpenPort, engine: Connect):
    receiver = port(connections_max=3)
    ris = engine(receiver)
    assert ris.ask(an_oru().encode()) == ("AA", "MSG1")
    oldest, youngest = engine(receiver), engine(receiver)

    assert engine(receiver).ask(an_oru(control_id="M2").encode()) == ("AA", "M2")

    assert oldest.is_closed()
    assert inbox.the_refusal() == (
        "hl7.connections_max = 3 are open already, and of those without a message this was the oldest"
    )
    assert [one.ask(an_oru(control_id="M3").encode()) for one in (ris, youngest)] == [("AA", "M3")] * 2


def test_a_place_becomes_free_when_its_connection_ends(port: OpenPort, engine: Connect):
    receiver = port(connections_max=1, idle_seconds=0.1)
    assert engine(receiver).is_closed()

    assert engine(receiver).ask(an_oru().encode()) == ("AA", "MSG1")


def test_a_connection_that_gets_no_thread_keeps_no_place(
    port: OpenPort, engine: Connect, monkeypatch: pytest.MonkeyPatch
):
    receiver = port(connections_max=1)

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(receiver._server, "process_request", no_thread)
        assert engine(receiver).is_closed()

    assert engine(receiver).ask(an_oru().encode()) == ("AA", "MSG1")


def test_stopping_closes_the_open_connections(port: OpenPort, engine: Connect):
    receiver = port()
    ris = engine(receiver)
    assert ris.ask(an_oru().encode()) == ("AA", "MSG1")

    receiver.stop(10)

    assert ris.is_closed()


def test_a_taken_port_is_named(port: OpenPort):
    taken = port().port

    with pytest.raises(PortError, match=f"hl7.port 127.0.0.1:{taken} is taken by process"):
        port(number=taken)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[ListenerTlsSettings, ssl.SSLContext]:
    """What the port needs to encrypt, and a context of a client that it believes."""
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.issue_cert("ris.example").configure_cert(context)
    settings = ListenerTlsSettings(
        certificate_file=tmp_path / "server.pem",
        key_file=tmp_path / "server.key",
        ca_file=tmp_path / "ca.pem",
    )
    return settings, context


def test_messages_come_encrypted_too(
    port: OpenPort, engine: Connect, keys: tuple[ListenerTlsSettings, ssl.SSLContext]
):
    settings, context = keys
    receiver = port(tls=settings)
    ris = engine(receiver, context)

    assert [ris.ask(an_oru(control_id=name).encode()) for name in "AB"] == [("AA", "A"), ("AA", "B")]


def test_handshakes_that_never_end_keep_no_engine_out(
    inbox: Inbox, port: OpenPort, engine: Connect, keys: tuple[ListenerTlsSettings, ssl.SSLContext]
):
    settings, context = keys
    receiver = port(tls=settings, connections_max=1)
    halfway = engine(receiver)

    assert engine(receiver, context).ask(an_oru().encode()) == ("AA", "MSG1")

    assert halfway.is_closed()
    assert "of those without a message this was the oldest" in inbox.the_refusal()


def test_a_plain_connection_to_an_encrypted_port_is_closed_with_the_reason(
    inbox: Inbox, port: OpenPort, engine: Connect, keys: tuple[ListenerTlsSettings, ssl.SSLContext]
):
    ris = engine(port(tls=keys[0]))

    ris.send(b"\x0bMSH|^~\\&|")

    assert "TLS handshake failed: WRONG_VERSION_NUMBER: it speaks no TLS" in inbox.the_refusal()
