"""What the doctor sees: real folders, ports, certificates and peers, on this machine."""

import errno
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from agent.doctor.certificates import judge_files, read_validity, shown_validity
from agent.doctor.disks import look_at_disk
from agent.doctor.lines import Verdict
from agent.doctor.machine import Card, look_at_cards, look_at_port
from agent.doctor.network import look_at_peers
from agent.doctor.ownership import look_at_secrets, look_at_state
from agent.doctor.places import certificate_files, endpoints, secret_files
from agent.peers.offering import SOP_CLASS_OF
from config.settings import (
    AgentSettings,
    AuditSettings,
    AuditSyslogSettings,
    DestinationSettings,
    DestinationTlsSettings,
    DropFolderSettings,
    Hl7ReceiverSettings,
    Hl7Settings,
    ListenerTlsSettings,
    PeersSettings,
    ReportServerSettings,
    Secret,
    Settings,
    WebhookSettings,
    WorklistSettings,
)
from storage.database import connect, known_revisions
from storage.inspection import look_at_database
from tests.agent.archives import a_free_port, an_archive
from tests.agent.test_peers import a_server_context
from tests.docs.test_docs import _table_uids
from tests.storage.builders import NOW


def a_destination(port: int, **fields: object) -> DestinationSettings:
    whole = {"name": "pacs", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port, "connect_seconds": 2.0}
    return DestinationSettings.model_validate({**whole, **fields})


def test_the_disk_is_tried_and_nothing_is_left_there(tmp_path: Path):
    facts = look_at_disk(tmp_path / "not" / "there")

    assert facts.folder == tmp_path
    assert facts.fsync_seconds is not None
    assert facts.fsync_seconds > 0
    assert facts.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_seen(tmp_path: Path):
    tmp_path.chmod(0o500)

    assert look_at_disk(tmp_path).problem == "Permission denied"


def test_a_database_is_looked_at_without_making_or_changing_it(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/preread.sqlite"
    before = look_at_database(url, lambda: NOW)
    connect(url).close()

    after = look_at_database(url, lambda: NOW)

    assert (before.version, before.revision) == ("", None)
    assert after.revision == known_revisions()[-1]
    assert after.settings == {"journal_mode": "wal", "quick_check": "ok"}


def test_a_file_that_is_no_database_is_a_problem_in_sqlite_s_words(tmp_path: Path):
    (tmp_path / "preread.sqlite").write_text(
        "these are not the bytes of a database, and they go on for long" * 20
    )

    assert "not a database" in (
        look_at_database(f"sqlite:///{tmp_path}/preread.sqlite", lambda: NOW).problem or ""
    )


def test_a_database_that_is_away_is_told_in_one_line():
    facts = look_at_database(f"postgresql+psycopg://preread@127.0.0.1:{a_free_port()}/preread", lambda: NOW)

    assert facts.problem is not None
    assert facts.problem.endswith("Connection refused")


def test_a_port_is_taken_while_somebody_listens_and_free_afterwards():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        taken = look_at_port("listener.port", "127.0.0.1", port)

    assert (taken.error, taken.holder_pid) == (errno.EADDRINUSE, os.getpid())
    assert look_at_port("listener.port", "127.0.0.1", port).error == 0


def test_a_port_that_only_the_service_may_have_is_taken_once_it_has_it(monkeypatch: pytest.MonkeyPatch):
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setattr(socket.socket, "bind", denied)
        taken = look_at_port("listener.port", "127.0.0.1", port)

    assert (taken.error, taken.holder_pid) == (errno.EADDRINUSE, os.getpid())
    assert look_at_port("listener.port", "127.0.0.1", port).error == errno.EACCES


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of the driver's; a test says what it does."""
    program = tmp_path / "nvidia-smi"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


def test_the_driver_is_asked_for_its_cards(driver: Path):
    driver.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --query-gpu=index,name,memory.total,memory.free,driver_version ] || exit 2\n'
        '[ "$2" = --format=csv,noheader,nounits ] || exit 2\n'
        'echo "0, NVIDIA L4, 23034, 22000, 570.10"\n'
    )

    assert look_at_cards() == (Card(0, "NVIDIA L4", 23034, 22000, "570.10"),)


def test_a_driver_that_fails_is_told_in_a_sentence(driver: Path):
    driver.write_text("#!/bin/sh\nexit 9\n")

    assert look_at_cards() == "nvidia-smi does not answer (CalledProcessError)"


def test_a_certificate_is_read_from_its_file_and_as_a_peer_shows_it(tmp_path: Path):
    authority = trustme.CA()
    until = NOW.replace(microsecond=0) + timedelta(days=50)
    certificate = authority.issue_cert("localhost", not_before=NOW, not_after=until)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")

    assert read_validity(tmp_path / "own.pem").not_after == until
    with an_archive(tls=a_server_context(authority)) as peer:
        assert shown_validity("127.0.0.1", peer.port).not_after > NOW


def test_a_file_without_a_certificate_is_a_problem_with_its_setting(tmp_path: Path):
    (tmp_path / "own.pem").write_text("not a certificate")

    (line,) = judge_files(iter([("listener.tls.certificate_file", tmp_path / "own.pem")]), NOW)

    assert line.verdict is Verdict.PROBLEM
    assert line.text.startswith("listener.tls.certificate_file: ")


def test_what_everybody_can_read_in_the_state_folder_is_named(tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "image.dcm").touch(mode=0o600)
    closed = look_at_state(folder)
    (folder / "image.dcm").chmod(0o644)

    opened = look_at_state(folder)

    assert (closed.verdict, opened.verdict) == (Verdict.OK, Verdict.PROBLEM)
    assert f"1 are open to everybody, such as {folder / 'image.dcm'}" in opened.text


def test_a_secret_that_is_not_there_is_a_problem(tmp_path: Path):
    (line,) = look_at_secrets([("storage.database_password", tmp_path / "gone")])

    assert line.verdict is Verdict.PROBLEM
    assert "No such file" in line.text


def test_secrets_certificates_and_endpoints_are_found_wherever_they_stand_in_the_settings():
    tls = ListenerTlsSettings(
        certificate_file=Path("/c"), key_file=Path("/k"), require_client_certificate=False
    )
    agent = AgentSettings(hl7=Hl7Settings(tls=tls))
    server = ReportServerSettings(
        name="ris", url="https://ris.example/fhir", authorization=Secret(file=Path("/token"))
    )
    peers = PeersSettings(report_servers=(server,), destinations=(a_destination(104),))

    assert list(secret_files(agent)) == [("hl7.tls.key_file", Path("/k"))]
    assert list(certificate_files(agent)) == [("hl7.tls.certificate_file", Path("/c"))]
    assert list(secret_files(peers)) == [("report_server[1].authorization", Path("/token"))]
    found = [(one.name, one.host, one.port, one.has_tls) for one in endpoints(peers)]
    assert found == [
        ('destination "pacs"', "127.0.0.1", 104, False),
        ('report server "ris"', "ris.example", 443, True),
    ]


def test_the_class_of_each_kind_of_output_is_that_of_the_conformance_statement():
    assert {
        kind: uid for uid, kind in _table_uids("### 6.4 SOP Classes of our objects").items()
    } == SOP_CLASS_OF


def test_a_peer_is_greeted_and_asked_for_the_classes_that_it_will_get():
    with an_archive() as there:
        destination = a_destination(there.port, outputs=("report_sr", "segmentation"))
        settings = Settings(peers=PeersSettings(destinations=(destination,)))

        greeted, offered = look_at_peers(settings, NOW)

    assert greeted.verdict is Verdict.OK
    assert offered.verdict is Verdict.PROBLEM
    assert "does not accept Segmentation Storage" in offered.text
    assert there.received == []


def test_receivers_of_messages_are_reached_and_not_spoken_to():
    with socket.create_server(("127.0.0.1", 0)) as ris:
        receiver = Hl7ReceiverSettings(name="ris", host="127.0.0.1", port=ris.getsockname()[1])
        gone = WebhookSettings(
            name="hook", url=f"http://127.0.0.1:{a_free_port()}/in", secret=Secret(file=Path("/key"))
        )
        peers = PeersSettings(hl7_receivers=(receiver,), webhooks=(gone,))
        lines = {
            line.text.partition(":")[0]: line.verdict for line in look_at_peers(Settings(peers=peers), NOW)
        }

    assert lines == {'hl7 receiver "ris"': Verdict.OK, 'webhook "hook"': Verdict.PROBLEM}


def test_the_server_of_the_audit_trail_is_reached_and_has_to_show_a_certificate():
    with socket.create_server(("127.0.0.1", 0)) as plain:
        syslog = AuditSyslogSettings(host="127.0.0.1", port=plain.getsockname()[1])
        plain.close()
        agent = AgentSettings(audit=AuditSettings(syslog=syslog))
        lines = tuple(look_at_peers(Settings(agent=agent), NOW))

    assert [(line.area, line.verdict) for line in lines] == [("peer", "problem"), ("certificate", "problem")]
    assert all(line.text.startswith("audit.syslog: ") for line in lines)


def test_a_drop_folder_is_looked_at_and_stays_empty(tmp_path: Path):
    folders = (
        DropFolderSettings(name="here", path=tmp_path),
        DropFolderSettings(name="gone", path=tmp_path / "gone"),
    )

    lines = tuple(look_at_peers(Settings(peers=PeersSettings(drop_folders=folders)), NOW))

    assert [line.verdict for line in lines] == [Verdict.OK, Verdict.PROBLEM]
    assert list(tmp_path.iterdir()) == []


def test_a_worklist_that_is_not_there_is_one_problem_with_its_name():
    worklist = WorklistSettings(name="ris", ae_title="RIS", host="127.0.0.1", port=a_free_port())

    lines = tuple(look_at_peers(Settings(peers=PeersSettings(worklists=(worklist,))), NOW))

    assert [line.verdict for line in lines] == [Verdict.PROBLEM]
    assert lines[0].text.startswith('worklist "ris": ')


def test_the_certificate_of_a_peer_with_tls_is_looked_at():
    authority = trustme.CA()
    with an_archive(tls=a_server_context(authority)) as there:
        destination = a_destination(there.port, outputs=("report_sr",), tls=DestinationTlsSettings())
        lines = tuple(look_at_peers(Settings(peers=PeersSettings(destinations=(destination,))), NOW))

    areas = [(line.area, line.verdict) for line in lines]
    assert areas == [("peer", "problem"), ("certificate", "ok")]
