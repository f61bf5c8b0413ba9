"""Our sending side against dcmtk's storescp: other people's code, and it can misbehave on purpose."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from pydicom import dcmread

from agent.peers import Peers
from config.settings import DestinationTlsSettings
from tests.agent.archives import a_destination, a_free_port
from tests.builders import a_report_sr, a_uid, write

STORESCP = "/usr/bin/storescp"
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not shutil.which(STORESCP), reason="dcmtk's storescp is not installed"),
]


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    port = a_free_port()
    folder.mkdir(exist_ok=True)
    command = [STORESCP, *options, "-od", str(folder), str(port)]
    process = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 10
    listening = f":{port:04X} "
    while time.monotonic() < deadline:
        # Looked up, not tried: storescp takes each connection for an association.
        tables = [Path(name).read_text() for name in ("/proc/net/tcp", "/proc/net/tcp6")]
        if any(listening in line and " 0A " in line for table in tables for line in table.splitlines()):
            return
        assert process.poll() is None, "storescp ended"
        time.sleep(0.02)
    raise AssertionError(f"storescp does not listen on {port}")


def some_reports(folder: Path, count: int = 1) -> list[Path]:
    reports = []
    for number in range(1, count + 1):
        report = a_report_sr(number=number)
        report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = a_uid("dcmtk", number)
        reports.append(write(report, folder / f"{number}.dcm"))
    return reports


def received(folder: Path) -> dict[str, str]:
    return {
        str(ds.SOPInstanceUID): str(ds.file_meta.TransferSyntaxUID) for ds in map(dcmread, folder.iterdir())
    }


def test_storescp_takes_reports_in_one_association(tmp_path):
    files = some_reports(tmp_path, 3)

    with storescp(tmp_path / "in") as port:
        outcomes = Peers("PREREAD").store(a_destination(port), files)

    assert [outcome.kind for outcome in outcomes] == ["taken"] * 3
    assert set(received(tmp_path / "in")) == {outcome.sop_instance_uid for outcome in outcomes}


def test_storescp_that_wants_implicit_vr_gets_it(tmp_path):
    with storescp(tmp_path / "in", "+xi") as port:
        (outcome,) = Peers("PREREAD").store(a_destination(port), some_reports(tmp_path))

    assert outcome.kind == "taken"
    assert set(received(tmp_path / "in").values()) == {"1.2.840.10008.1.2"}


def test_storescp_answers_an_echo(tmp_path):
    with storescp(tmp_path / "in") as port:
        assert Peers("PREREAD").echo(a_destination(port)).ok


def test_a_refused_association_leaves_everything_for_later(tmp_path):
    with storescp(tmp_path / "in", "--refuse") as port:
        outcomes = Peers("PREREAD").store(a_destination(port), some_reports(tmp_path, 2))

    assert [(outcome.kind, outcome.status) for outcome in outcomes] == [("not_sent", None)] * 2
    assert "rejected the association of PREREAD" in outcomes[0].problem


@pytest.mark.parametrize("when", ["--abort-after", "--abort-during"])
def test_an_abort_leaves_what_was_not_answered_for_later(tmp_path, when):
    with storescp(tmp_path / "in", when) as port:
        outcomes = Peers("PREREAD").store(a_destination(port), some_reports(tmp_path, 2))

    assert [outcome.kind for outcome in outcomes] == ["not_sent", "not_sent"]
    assert "broke the association off while we sent" in outcomes[0].problem


def test_a_storescp_that_falls_asleep_is_left_after_answer_seconds(tmp_path):
    with storescp(tmp_path / "in", "--sleep-during", "3") as port:
        started = time.monotonic()
        (outcome,) = Peers("PREREAD").store(a_destination(port, answer_seconds=0.5), some_reports(tmp_path))

    assert outcome.kind == "not_sent"
    assert "did not answer within 0.5 s" in outcome.problem
    assert time.monotonic() - started < 20


def tls_files(folder: Path) -> DestinationTlsSettings:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("127.0.0.1", "client"):
        certificate = authority.issue_cert(name)
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
    ours = {"certificate_file": folder / "client.pem", "key_file": folder / "client.key"}
    return DestinationTlsSettings(ca_file=folder / "ca.pem", **ours)


def test_tls_with_certificates_on_both_sides(tmp_path):
    tls = tls_files(tmp_path)
    key, certificate = str(tmp_path / "127.0.0.1.key"), str(tmp_path / "127.0.0.1.pem")

    with storescp(tmp_path / "in", "+tls", key, certificate, "-pw", "+cf", str(tls.ca_file)) as port:
        (taken,) = Peers("PREREAD").store(a_destination(port, tls=tls), some_reports(tmp_path))
        without_ours = DestinationTlsSettings(ca_file=tls.ca_file)
        refused = Peers("PREREAD").echo(a_destination(port, tls=without_ours, connect_seconds=2))

    assert (taken.kind, taken.problem) == ("taken", None)
    assert not refused.ok


def test_no_tls_to_a_storescp_that_wants_it_ends_with_a_sentence(tmp_path):
    tls = tls_files(tmp_path)
    key, certificate = str(tmp_path / "127.0.0.1.key"), str(tmp_path / "127.0.0.1.pem")

    with storescp(tmp_path / "in", "+tls", key, certificate, "-pw", "+cf", str(tls.ca_file)) as port:
        outcome = Peers("PREREAD").echo(a_destination(port, connect_seconds=1))

    assert not outcome.ok
    assert f"127.0.0.1:{port}" in outcome.problem
