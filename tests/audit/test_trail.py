"""Audit records on their way out of the database."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from agent.audit.messages import AuditSource
from agent.audit.syslog import framed
from agent.audit.trail import AuditTrail
from config.settings import AgentSettings, AuditSettings, AuditSyslogSettings, Settings
from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import Audits
from storage.database import connect
from tests.audit.schema import breaches
from tests.storage.builders import NOW

SOURCE = AuditSource("PREREAD", "ward7", 17)
STARTED = AuditRecord(NOW, AuditEvent.STARTED)


@pytest.fixture
def audits(tmp_path: Path) -> Iterator[Audits]:
    database = connect(f"sqlite:///{tmp_path}/preread.sqlite")
    yield Audits(database)
    database.close()


def a_trail(audits: Audits, folder: Path, now: datetime = NOW, **audit) -> AuditTrail:
    settings = Settings(agent=AgentSettings(audit=AuditSettings(folder=folder / "audit", **audit)))
    return AuditTrail(lambda: settings, audits, SOURCE, lambda: now)


def lines(folder: Path, day: str = "2026-03-01") -> list[str]:
    return (folder / "audit" / f"{day}.xml").read_text().splitlines()


def test_each_record_becomes_a_line_of_its_days_file_and_leaves_the_database(audits: Audits, tmp_path: Path):
    audits.add(STARTED)
    audits.add(AuditRecord(NOW + timedelta(days=1), AuditEvent.STOPPED))

    a_trail(audits, tmp_path).write_out()

    assert [breaches(line) for day in ("2026-03-01", "2026-03-02") for line in lines(tmp_path, day)] == [
        [],
        [],
    ]
    assert audits.waiting("filed_at", 10) == audits.waiting("sent_at", 10) == ()


def test_the_files_are_for_their_owner_only(audits: Audits, tmp_path: Path):
    audits.add(STARTED)
    a_trail(audits, tmp_path).write_out()

    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "audit" / "2026-03-01.xml").stat().st_mode & 0o777 == 0o600


def test_a_line_that_a_power_cut_left_torn_does_not_spoil_the_next(audits: Audits, tmp_path: Path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "2026-03-01.xml").write_text("<AuditMes")
    audits.add(STARTED)

    a_trail(audits, tmp_path).write_out()

    torn, whole = lines(tmp_path)
    assert torn == "<AuditMes"
    assert breaches(whole) == []


def test_a_record_waits_while_its_file_cannot_be_written(audits: Audits, tmp_path: Path):
    (tmp_path / "audit").write_text("a file where the folder should be")
    audits.add(STARTED)
    a_trail(audits, tmp_path).write_out()
    assert len(audits.waiting("filed_at", 10)) == 1
    (tmp_path / "audit").unlink()

    a_trail(audits, tmp_path).write_out()

    assert len(lines(tmp_path)) == 1


def test_why_no_record_can_be_written_is_said_once_until_one_is(audits: Audits, tmp_path: Path):
    (tmp_path / "audit").write_text("a file where the folder should be")
    audits.add(STARTED)
    trail = a_trail(audits, tmp_path)

    with capture_logs() as entries:
        trail.write_out()
        trail.write_out()
        (tmp_path / "audit").unlink()
        trail.write_out()
        trail.write_out()

    assert [entry["event"] for entry in entries] == [
        "audit file cannot be written",
        "audit records go out again",
    ]


def test_files_go_after_their_days_and_files_of_others_stay(audits: Audits, tmp_path: Path):
    folder = tmp_path / "audit"
    folder.mkdir()
    for name in ("2026-02-27.xml", "2026-02-28.xml", "notes.xml"):
        (folder / name).touch()

    a_trail(audits, tmp_path, keep_days=1).write_out()

    assert sorted(path.name for path in folder.iterdir()) == ["2026-02-28.xml", "notes.xml"]


def test_a_frame_is_its_length_a_header_and_the_message():
    frame = framed("<x/>", NOW, SOURCE)

    length, _, rest = frame.partition(b" ")
    assert int(length) == len(rest)
    assert rest == (b"<85>1 2026-03-01T08:00:00.000Z ward7 preread 17 DICOM+RFC3881 - \xef\xbb\xbf<x/>")


class Repository:
    """An audit record repository on loopback: TLS, with a certificate of an authority of its own."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.received = b""
        self._thread = threading.Thread(target=self._serve, args=(listening, context), daemon=True)
        self._thread.start()

    def _serve(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        with listening:
            plain, _ = listening.accept()
        # A client that does not believe our certificate ends the handshake.
        with suppress(ssl.SSLError), context.wrap_socket(plain, server_side=True) as connection:
            while content := connection.recv(4096):
                self.received += content

    def frames(self) -> list[bytes]:
        """What came, cut where the lengths say."""
        self._thread.join(10)
        rest, found = self.received, []
        while rest:
            length, _, rest = rest.partition(b" ")
            found.append(rest[: int(length)])
            rest = rest[int(length) :]
        return found

    def settings(self, **fields) -> AuditSyslogSettings:
        return AuditSyslogSettings(
            host="127.0.0.1", port=self.port, ca_file=fields.get("ca_file", self.ca_file), timeout_seconds=5
        )


def test_a_syslog_server_gets_each_message_over_tls(audits: Audits, tmp_path: Path):
    repository = Repository(tmp_path)
    audits.add(STARTED)
    audits.add(AuditRecord(NOW, AuditEvent.STOPPED))

    a_trail(audits, tmp_path, syslog=repository.settings()).write_out()

    frames = repository.frames()
    assert [breaches(frame.partition(b"\xef\xbb\xbf")[2].decode()) for frame in frames] == [[], []]
    assert audits.waiting("sent_at", 10) == ()


def test_a_server_that_cannot_prove_who_it_is_gets_nothing_and_the_file_has_it_once(
    audits: Audits, tmp_path: Path
):
    repository = Repository(tmp_path)
    stranger = tmp_path / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    audits.add(STARTED)
    trail = a_trail(audits, tmp_path, syslog=repository.settings(ca_file=stranger))

    trail.write_out()
    trail.write_out()

    assert len(audits.waiting("sent_at", 10)) == 1
    assert len(lines(tmp_path)) == 1


def test_a_server_that_was_down_gets_what_waited(audits: Audits, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    nobody = AuditSyslogSettings(host="127.0.0.1", port=port, timeout_seconds=1)
    audits.add(STARTED)
    a_trail(audits, tmp_path, syslog=nobody).write_out()
    repository = Repository(tmp_path)

    a_trail(audits, tmp_path, now=datetime.now(UTC), syslog=repository.settings()).write_out()

    assert len(repository.frames()) == 1
