import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import trustme
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.fsm import StateMachine
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import BasicTextSRStorage, ComprehensiveSRStorage, Verification

from agent.peers import Peers, StoreKind, judge_status
from agent.peers.association import NoAssociation, associate
from config.settings import DestinationTlsSettings
from tests.agent.archives import a_bare_socket, a_destination, a_free_port, an_archive
from tests.builders import a_report_sr, a_uid, write


def a_file(
    folder: Path, *, sop_class: str = BasicTextSRStorage, name: str = "1", text: str = "Clear."
) -> Path:
    dataset = a_report_sr(findings=text)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = a_uid("peers", name)
    return write(dataset, folder / f"{name}.dcm")


def the_bytes_after_the_meta(path: Path) -> bytes:
    content = path.read_bytes()
    meta_bytes = dcmread(path).file_meta.FileMetaInformationGroupLength
    return content[128 + 4 + 12 + meta_bytes :]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, "taken"),
        (0x0111, "taken"),
        (0xB000, "taken"),
        (0xB006, "taken"),
        (0xB007, "taken"),
        (0xBFFF, "taken"),
        (0xA700, "refused_for_now"),
        (0xA7FF, "refused_for_now"),
        (0x0110, "refused_for_now"),
        (0x0124, "refused_for_now"),
        (0x0213, "refused_for_now"),
        (0xA800, "refused_for_good"),
        (0xA900, "refused_for_good"),
        (0xC000, "refused_for_good"),
        (0xCFFF, "refused_for_good"),
        (0x0118, "class_refused"),
        (0x0122, "class_refused"),
        (0x1234, "refused_for_good"),
    ],
)
def test_a_status_is_judged_as_the_standard_means_it(status, kind):
    assert judge_status(status).kind == kind


def test_every_status_has_a_verdict_and_all_but_success_have_words():
    verdicts = {status: judge_status(status) for status in range(0x10000)}

    assert [status for status, verdict in verdicts.items() if verdict.words is None] == [0x0000]


def test_a_file_arrives_byte_for_byte_and_is_taken(tmp_path):
    path = a_file(tmp_path)

    with an_archive() as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [path])

    assert (outcome.kind, outcome.status, outcome.problem) == ("taken", 0x0000, None)
    assert outcome.sop_instance_uid == dcmread(path).SOPInstanceUID
    assert archive.received == [the_bytes_after_the_meta(path)]


def test_all_files_of_a_call_go_in_one_association_that_proposes_only_what_they_need(tmp_path):
    report = a_file(tmp_path)
    findings = a_file(tmp_path, sop_class=ComprehensiveSRStorage, name="2")

    with an_archive() as archive:
        outcomes = Peers("PREREAD").store(a_destination(archive.port), [report, findings])

    assert [outcome.kind for outcome in outcomes] == ["taken", "taken"]
    assert archive.associations == 1
    assert {sop_class for sop_class, _ in archive.proposed} == {BasicTextSRStorage, ComprehensiveSRStorage}
    assert {syntax for _, syntax in archive.proposed} == {ExplicitVRLittleEndian, ImplicitVRLittleEndian}


def test_an_archive_that_knows_only_implicit_vr_gets_the_same_elements_encoded_anew(tmp_path):
    path = a_file(tmp_path)

    with an_archive(syntaxes=[ImplicitVRLittleEndian]) as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [path])

    assert outcome.kind == "taken"
    assert archive.syntaxes == [ImplicitVRLittleEndian]
    assert archive.received[0] != the_bytes_after_the_meta(path)


def test_a_compressed_object_is_never_offered_in_another_form(tmp_path):
    dataset = a_report_sr()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    path = write(dataset, tmp_path / "compressed.dcm")

    with an_archive() as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [path])

    assert archive.proposed == [(dataset.SOPClassUID, JPEGBaseline8Bit)]
    assert outcome.kind == "class_refused"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (0xA700, "refused_for_now", "refused Basic Text SR Storage"),
        (0xA900, "refused_for_good", "status A900: data set does not match SOP Class"),
        (0xC123, "refused_for_good", "status C123: cannot understand"),
        (0xB000, "taken", "took Basic Text SR Storage"),
        (0x0111, "taken", "it has the object from an earlier try"),
    ],
)
def test_a_status_reaches_the_person_on_duty_as_a_sentence(tmp_path, status, kind, words):
    with an_archive(status=status) as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [a_file(tmp_path)])

    assert (outcome.kind, outcome.status) == (kind, status)
    assert words in outcome.problem
    assert f'Destination "archive" (AE title ARCHIVE at 127.0.0.1:{archive.port})' in outcome.problem


def test_a_refused_class_costs_only_its_own_objects_and_says_what_to_change(tmp_path):
    files = [a_file(tmp_path), a_file(tmp_path, sop_class=ComprehensiveSRStorage, name="2")]

    with an_archive(classes=[BasicTextSRStorage]) as archive:
        taken, refused = Peers("PREREAD").store(a_destination(archive.port), files)

    assert taken.kind == "taken"
    assert (refused.kind, refused.status) == ("class_refused", None)
    assert f"accepts no Comprehensive SR Storage ({ComprehensiveSRStorage})" in refused.problem
    assert "peers.toml" in refused.problem


def test_an_archive_that_accepts_no_class_at_all_is_told_apart_from_one_that_is_down(tmp_path):
    with an_archive(classes=[Verification]) as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [a_file(tmp_path)])

    assert outcome.kind == "class_refused"
    assert "accepts none of: Basic Text SR Storage" in outcome.problem


def test_a_closed_port_is_named_with_host_and_port(tmp_path):
    port = a_free_port()

    (outcome,) = Peers("PREREAD").store(a_destination(port), [a_file(tmp_path)])

    assert (outcome.kind, outcome.status) == ("not_sent", None)
    assert f"127.0.0.1:{port}) cannot be connected (Connection refused)" in outcome.problem


def test_a_host_name_that_nobody_knows_is_said_so():
    outcome = Peers("PREREAD").echo(a_destination(104, host="no-such-host.invalid"))

    assert not outcome.ok
    assert "its host name is not known" in outcome.problem
    assert "Correct host in peers.toml" in outcome.problem


def test_a_wrong_called_ae_title_is_the_rejection_it_is(tmp_path):
    with an_archive(ae_title="OTHER", check_ae_titles=True) as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [a_file(tmp_path)])

    assert outcome.kind == "not_sent"
    assert "rejected the association of PREREAD: it does not answer to that AE title" in outcome.problem


def look_later(_event: evt.Event) -> None:
    """Asks, and looks for the answer when it has come and the peer has gone."""
    time.sleep(0.2)


def test_a_rejection_that_comes_and_closes_before_we_look_is_not_taken_for_silence():
    with an_archive(check_ae_titles=True) as archive:
        destination = a_destination(archive.port, ae_title="WRONG")
        late = associate(
            "PREREAD", destination, [build_context(Verification)], handlers=[(evt.EVT_REQUESTED, look_later)]
        )

    assert isinstance(late, NoAssociation)
    assert "it does not answer to that AE title" in late.problem


def test_who_accepts_and_goes_before_we_look_has_not_rejected_us():
    with an_archive(more_handlers=[(evt.EVT_ACCEPTED, lambda event: event.assoc.abort())]) as archive:
        late = associate(
            "PREREAD",
            a_destination(archive.port),
            [build_context(Verification)],
            handlers=[(evt.EVT_REQUESTED, look_later)],
        )

    assert isinstance(late, NoAssociation)
    assert "accepted the association of PREREAD and ended it at once" in late.problem


def test_a_full_archive_is_asked_again_later(tmp_path):
    with an_archive(associations_max=1) as archive, an_association_with(archive.port):
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [a_file(tmp_path)])

    assert outcome.kind == "not_sent"
    assert "its limit of associations is reached" in outcome.problem


@contextlib.contextmanager
def an_association_with(port: int) -> Iterator[None]:
    ae = AE()
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port)
    try:
        yield
    finally:
        association.release()


def test_the_destinations_own_calling_ae_title_is_used(tmp_path):
    with an_archive() as archive:
        Peers("PREREAD").store(a_destination(archive.port, calling_ae_title="XRAY_AI"), [a_file(tmp_path)])
        Peers("PREREAD").store(a_destination(archive.port), [a_file(tmp_path)])

    assert archive.calling == ["XRAY_AI", "PREREAD"]


def test_an_archive_that_aborts_leaves_the_rest_unsent_with_the_same_reason(tmp_path):
    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0x0000

    files = [a_file(tmp_path, name=name) for name in ("1", "2", "3")]
    with an_archive(on_store=abort) as archive:
        outcomes = Peers("PREREAD").store(a_destination(archive.port), files)

    assert [outcome.kind for outcome in outcomes] == ["not_sent"] * 3
    assert "broke the association off" in outcomes[0].problem
    assert len({outcome.problem for outcome in outcomes}) == 1


@pytest.mark.slow
def test_an_archive_that_never_answers_a_store_is_left_after_answer_seconds(tmp_path):
    release = threading.Event()

    def sleep(_event: evt.Event) -> int:
        release.wait(20)
        return 0x0000

    with an_archive(on_store=sleep) as archive:
        started = time.monotonic()
        (outcome,) = Peers("PREREAD").store(
            a_destination(archive.port, answer_seconds=0.5), [a_file(tmp_path)]
        )
        seconds = time.monotonic() - started
        release.set()

    assert outcome.kind == "not_sent"
    assert "did not answer within 0.5 s" in outcome.problem
    assert seconds < 10


@pytest.mark.slow
def test_an_archive_that_stops_reading_in_the_middle_of_an_object_is_left(tmp_path):
    path = a_file(tmp_path, text="x" * 20_000_000)
    with an_archive() as archive, stalled_after_negotiation(archive.port) as port:
        destination = a_destination(port, answer_seconds=0.5, connect_seconds=1.0)
        started = time.monotonic()
        (outcome,) = Peers("PREREAD").store(destination, [path])
        seconds = time.monotonic() - started

    assert outcome.kind == "not_sent"
    assert "did not answer within 0.5 s" in outcome.problem
    assert seconds < 10


def stalled_after_negotiation(archive_port: int):
    """Passes the negotiation on to an archive, then reads nothing more."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        with socket.create_connection(("127.0.0.1", archive_port)) as archive:
            archive.sendall(connection.recv(65536))
            connection.sendall(archive.recv(65536))
            over.wait(20)

    return a_bare_socket(talk)


def test_a_port_that_takes_connections_and_says_nothing_is_left_after_connect_seconds():
    with a_bare_socket(lambda connection, over: over.wait(20) and None) as port:
        outcome = Peers("PREREAD").echo(a_destination(port, connect_seconds=0.5))

    assert not outcome.ok
    assert "did not answer our association request within 0.5 s" in outcome.problem
    assert 0.5 <= outcome.seconds < 10


def test_a_port_that_hangs_up_at_once_is_said_so():
    with a_bare_socket(lambda connection, over: connection.recv(1) and None) as port:
        outcome = Peers("PREREAD").echo(a_destination(port))

    assert "ended the connection before it answered our association request" in outcome.problem


def test_a_port_that_speaks_no_dicom_is_no_traceback():
    with a_bare_socket(lambda connection, over: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")) as port:
        outcome = Peers("PREREAD").echo(a_destination(port, connect_seconds=2))

    assert not outcome.ok
    assert f"127.0.0.1:{port}" in outcome.problem


def test_a_thread_of_pynetdicom_that_ends_early_leaves_no_connection_open(monkeypatch: pytest.MonkeyPatch):
    was_closed = threading.Event()
    do_action = StateMachine.do_action

    def end_early(machine: StateMachine, event: str) -> None:
        if event == "Evt19":  # what came is no PDU
            machine.dul.kill_dul()
        else:
            do_action(machine, event)

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")
        while connection.recv(4096):
            pass
        was_closed.set()

    monkeypatch.setattr(StateMachine, "do_action", end_early)
    with a_bare_socket(talk) as port:
        Peers("PREREAD").echo(a_destination(port, connect_seconds=0.5))

        assert was_closed.wait(5)


def test_an_answer_is_left_for_who_asked_though_the_association_s_thread_has_just_gone_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wait, get_msg = threading.Event.wait, DIMSEServiceProvider.get_msg

    def wait_longer(checkpoint: threading.Event) -> None:
        wait(checkpoint)
        time.sleep(0.1)  # it goes on, and is still said to be paused; meanwhile the answer comes

    def get_later(dimse: DIMSEServiceProvider, block: bool = False) -> object:
        time.sleep(0.3 if block else 0.0)  # who asked is the slower one
        return get_msg(dimse, block)

    monkeypatch.setattr("agent.peers.association._Checkpoint.wait", wait_longer)
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", get_later)
    files = [a_file(tmp_path, name=str(number)) for number in range(3)]
    with an_archive() as archive:
        outcomes = Peers("PREREAD").store(a_destination(archive.port, answer_seconds=2.0), files)

    assert [outcome.kind for outcome in outcomes] == [StoreKind.TAKEN] * 3


def test_an_echo_is_answered_and_timed():
    with an_archive() as archive:
        outcome = Peers("PREREAD").echo(a_destination(archive.port))

    assert (outcome.ok, outcome.problem) == (True, None)
    assert 0 < outcome.seconds < 5


def test_a_small_object_does_not_wait_for_delayed_acknowledgements(tmp_path):
    files = [a_file(tmp_path, name=str(number)) for number in range(24)]

    with an_archive() as archive:
        Peers("PREREAD").store(a_destination(archive.port), files)

    # With Nagle's algorithm on, all gaps but a rare one are 40 ms or more.
    gaps = sorted(later - earlier for earlier, later in pairwise(archive.arrived_at))
    assert gaps[len(gaps) // 4] < 0.035


def test_a_file_that_is_no_dicom_file_is_refused_by_name_and_the_others_go(tmp_path):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"not DICOM at all")

    with an_archive() as archive:
        refused, taken = Peers("PREREAD").store(a_destination(archive.port), [broken, a_file(tmp_path)])

    assert refused.kind == "refused_for_good"
    assert str(broken) in refused.problem
    assert taken.kind == "taken"


def test_a_file_that_cannot_be_encoded_anew_is_refused_without_its_values(tmp_path):
    path = a_file(tmp_path)
    broken = (
        path.read_bytes()
        .replace(b"ISO_IR 192", b"ISO_IR 6  ")
        .replace(b"CS\x08\x00COMPLETE", b"US\x07\x00COMPLET")
    )
    path.write_bytes(broken)

    with an_archive(syntaxes=[ImplicitVRLittleEndian]) as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port), [path])

    assert outcome.kind == "refused_for_good"
    assert "cannot be encoded" in outcome.problem
    assert "Jane" not in outcome.problem


def test_more_contexts_than_one_association_can_hold_go_in_several(tmp_path):
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts[:65]]
    files = [a_file(tmp_path, sop_class=uid, name=str(number)) for number, uid in enumerate(classes)]

    with an_archive(classes=classes) as archive:
        outcomes = Peers("PREREAD").store(a_destination(archive.port), files)

    assert archive.associations == 2
    assert [outcome.sop_instance_uid for outcome in outcomes] == [dcmread(p).SOPInstanceUID for p in files]
    assert {outcome.kind for outcome in outcomes} == {"taken"}


def test_nothing_to_store_opens_no_association():
    assert Peers("PREREAD").store(a_destination(1), []) == ()


@pytest.fixture
def authority():
    return trustme.CA()


def a_server_context(
    authority: trustme.CA, *, wants_client: bool = False, not_after: datetime | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", not_after=not_after).configure_cert(context)
    if wants_client:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def tls_settings(authority: trustme.CA, folder: Path, *, client: bool = False) -> DestinationTlsSettings:
    ca, certificate, key = folder / "ca.pem", folder / "client.pem", folder / "client.key"
    authority.cert_pem.write_to_path(ca)
    ours = authority.issue_cert("preread")
    ours.cert_chain_pems[0].write_to_path(certificate)
    ours.private_key_pem.write_to_path(key)
    if client:
        return DestinationTlsSettings(ca_file=ca, certificate_file=certificate, key_file=key)
    return DestinationTlsSettings(ca_file=ca)


@pytest.mark.parametrize("wants_client", [False, True])
def test_tls_carries_an_object_with_and_without_a_certificate_of_ours(tmp_path, authority, wants_client):
    tls = tls_settings(authority, tmp_path, client=wants_client)

    with an_archive(tls=a_server_context(authority, wants_client=wants_client)) as archive:
        (outcome,) = Peers("PREREAD").store(a_destination(archive.port, tls=tls), [a_file(tmp_path)])

    assert (outcome.kind, outcome.problem) == ("taken", None)


def test_a_certificate_of_an_unknown_authority_is_not_believed(tmp_path, authority):
    tls = tls_settings(trustme.CA(), tmp_path)

    with an_archive(tls=a_server_context(authority)) as archive:
        outcome = Peers("PREREAD").echo(a_destination(archive.port, tls=tls))

    assert "showed a certificate that we do not believe" in outcome.problem
    assert "Set tls.ca_file" in outcome.problem


def test_a_certificate_that_has_ended_sends_nobody_to_our_settings(tmp_path, authority):
    ended = a_server_context(authority, not_after=datetime(2025, 1, 1, tzinfo=UTC))

    with an_archive(tls=ended) as archive:
        outcome = Peers("PREREAD").echo(a_destination(archive.port, tls=tls_settings(authority, tmp_path)))

    assert "(certificate has expired). It has to be renewed there" in outcome.problem
    assert "peers.toml" not in outcome.problem


def test_tls_to_a_port_that_speaks_none_is_said_so(tmp_path, authority):
    with an_archive() as archive:
        destination = a_destination(archive.port, tls=tls_settings(authority, tmp_path), connect_seconds=1)
        outcome = Peers("PREREAD").echo(destination)

    assert not outcome.ok
    assert "TLS" in outcome.problem or "did not answer" in outcome.problem


def test_a_tls_file_that_is_no_certificate_is_named_before_anything_is_sent(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")

    destination = a_destination(a_free_port(), tls=DestinationTlsSettings(ca_file=tmp_path / "ca.pem"))

    assert (
        "the TLS files of destination.tls in peers.toml cannot be used"
        in Peers("P").echo(destination).problem
    )


def test_outcomes_and_log_name_no_patient(tmp_path, caplog):
    with an_archive(status=0xC000) as archive:
        (outcome,) = Peers("PREREAD").store(
            a_destination(archive.port), [a_file(tmp_path, text="Secretitis")]
        )

    patient = str(dcmread(tmp_path / "1.dcm").PatientName)
    assert patient not in outcome.problem + caplog.text
    assert "Secretitis" not in outcome.problem + caplog.text


def test_kinds_compare_with_plain_words():
    assert StoreKind.TAKEN == "taken"
