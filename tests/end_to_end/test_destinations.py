"""Drafts on their way to programs of other makers: Orthanc commits and takes STOW-RS, dcmtk's storescp misbehaves.

The line is that of tests/agent, in this process and with a scripted model: what is tried here lies behind the model.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from agent.peers import Peers
from config.settings import DestinationSettings
from storage.records import Stage
from tests.agent.archives import Archive, a_free_port
from tests.agent.line import Line
from tests.builders import a_radiograph
from tests.end_to_end import real_archives
from tests.end_to_end.conftest import wait_for
from tests.end_to_end.real_archives import DICOMWEB, ORTHANC, QUICK

STORESCP = "/usr/bin/storescp"
FORMS = ("report_sr", "findings_sr", "presentation_state", "secondary_capture")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path(STORESCP).exists(), reason="dcmtk is not installed"),
]
needs_orthanc = pytest.mark.skipif(not Path(ORTHANC).exists(), reason="orthanc is not installed")


def a_line(folder: Path, port: int, *, outputs: tuple[str, ...] = FORMS, **destination: object) -> Line:
    peer = Archive()
    peer.port = port
    return Line(folder, peer, outputs=outputs, destination=destination)


def delivered(line: Line) -> str:
    """Lets a study walk the line; gives its UID."""
    study = line.arrive(a_radiograph(rows=200, columns=180))
    line.wait(60)
    line.run()
    return study


def made(line: Line, study: str) -> list[str]:
    return sorted(one.sop_instance_uid for one in line.tools.jobs.results_of_job(line.job(study).number))


def arrived(folder: Path) -> list[str]:
    return sorted(str(dcmread(file).SOPInstanceUID) for file in folder.iterdir())


@needs_orthanc
def test_orthanc_commits_to_what_it_took_on_an_association_of_its_own(tmp_path: Path):
    with real_archives.orthanc(tmp_path) as orthanc:
        line = a_line(tmp_path, orthanc.dicom_port, commitment=True)
        line.listener.start()
        orthanc.knows("PREREAD", line.listener.port)

        study = delivered(line)
        wait_for("Orthanc's report", lambda: line.job(study).stage is not Stage.DELIVER, 30)
        line.listener.stop(5)

    assert line.job(study).stage is Stage.DONE
    told = [event.text for event in line.tools.jobs.events_of_study(study)]
    assert sum("committed to by pacs: done" in text for text in told) == len(FORMS)


@needs_orthanc
@pytest.mark.skipif(not DICOMWEB.exists(), reason="orthanc-dicomweb is not installed")
def test_orthanc_takes_every_form_by_stow_once(tmp_path: Path):
    plugin = {"Plugins": [str(DICOMWEB)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
    with real_archives.orthanc(tmp_path, **plugin) as orthanc:
        url = f"http://127.0.0.1:{orthanc.http_port}/dicom-web"
        line = a_line(tmp_path, orthanc.dicom_port, protocol="dicomweb", url=url)

        study = delivered(line)

        assert line.job(study).stage is Stage.DONE, line.job(study).problem
        assert len(orthanc.series(study)) == len(FORMS)
        assert orthanc.modalities(study) == {"SR", "PR", "OT"}


@contextlib.contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[None]:
    """A storescp on this port, for as long as this is open."""
    folder.mkdir(exist_ok=True)
    command = [STORESCP, *options, "-od", str(folder), str(port)]
    process = subprocess.Popen(command, env=QUICK, stderr=subprocess.DEVNULL)
    there = DestinationSettings(name="there", ae_title="TESTPACS", host="127.0.0.1", port=port)
    try:
        wait_for(
            "storescp", lambda: "cannot be connected" not in (Peers("PREREAD").echo(there).problem or "")
        )
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    "misbehaving",
    [("--refuse",), ("--abort-after",), ("--abort-during",), ("--sleep-after", "3"), ("--sleep-during", "3")],
    ids=lambda options: options[0],
)
def test_a_storescp_that_misbehaves_gets_everything_once_when_it_is_well_again(
    tmp_path: Path, misbehaving: tuple[str, ...]
):
    port = a_free_port()
    line = a_line(tmp_path, port, answer_seconds=1.0, failures_max=1)
    with storescp(tmp_path / "in", port, *misbehaving):
        study = delivered(line)
        assert line.job(study).stage is Stage.DELIVER
        waiting = [one for one in line.tools.jobs.deliveries.of_job(1) if one.done_at is None]
        assert all("AE title TESTPACS at 127.0.0.1" in (one.problem or "") for one in waiting)

    with storescp(tmp_path / "in", port):
        line.wait(60)
        line.run()

    assert line.job(study).stage is Stage.DONE
    assert arrived(tmp_path / "in") == made(line, study)
    assert line.tools.jobs.deliveries.troubles() == ()


def test_a_storescp_that_knows_no_reports_gets_one_picture(tmp_path: Path):
    port = a_free_port()
    (tmp_path / "pictures.cfg").write_text(PICTURES_ONLY)
    line = a_line(tmp_path, port, outputs=("report_sr", "findings_sr", "presentation_state"))
    with storescp(tmp_path / "in", port, "-xf", str(tmp_path / "pictures.cfg"), "Pictures"):
        study = delivered(line)

    assert line.job(study).stage is Stage.DONE, line.job(study).problem
    assert [str(dcmread(file).Modality) for file in (tmp_path / "in").iterdir()] == ["OT"]


PICTURES_ONLY = """
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LocalEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[PicturesOnly]
PresentationContext1 = SecondaryCaptureImageStorage\\Uncompressed
PresentationContext2 = VerificationSOPClass\\Uncompressed
[[Profiles]]
[Pictures]
PresentationContexts = PicturesOnly
"""
