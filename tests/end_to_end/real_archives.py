"""Archives and a worklist of other makers, each a program of its own on loopback."""

import contextlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.peers import Peers
from config.settings import DestinationSettings
from tests.end_to_end.conftest import free_port, wait_for
from tests.pixelmed import JAR

STORESCU = "/usr/bin/storescu"
ORTHANC = "/usr/sbin/Orthanc"
DCMQRSCP = "/usr/bin/dcmqrscp"
WLMSCPFS = "/usr/bin/wlmscpfs"
DUMP2DCM = "/usr/bin/dump2dcm"
HSQLDB = Path("/usr/share/java/hsqldb.jar")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

# Without it each small message of dcmtk and Orthanc waits 40 ms for the other side's acknowledgement.
QUICK = {**os.environ, "TCP_NODELAY": "1"}


@dataclass
class Orthanc:
    http_port: int
    dicom_port: int

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def knows(self, ae_title: str, port: int) -> None:
        """Makes an AE a modality that may query, and that C-MOVE sends to."""
        known = {"AET": ae_title, "Host": "127.0.0.1", "Port": port}
        with contextlib.suppress(json.JSONDecodeError):  # it answers nothing
            self.ask("/modalities/preread", known, "PUT")

    def series(self, study_instance_uid: str) -> list[dict[str, Any]]:
        query = {"Level": "Series", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
        return list(self.ask("/tools/find", query))

    def modalities(self, study_instance_uid: str) -> set[str]:
        return {str(series["MainDicomTags"]["Modality"]) for series in self.series(study_instance_uid)}


@contextlib.contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """An empty Orthanc called TESTPACS; `settings` are added to its configuration."""
    running = Orthanc(free_port(), free_port())
    whole = {
        "Name": "TESTPACS",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "TESTPACS",
        "DicomPort": running.dicom_port,
        "HttpPort": running.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "OverwriteInstances": True,
        "SyncStorageArea": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(whole | settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log, env=QUICK)
    try:
        wait_for("Orthanc's REST interface", running.is_up)
        yield running
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder / "db", ignore_errors=True)


@contextlib.contextmanager
def dcmqrscp(folder: Path, preread_port: int) -> Iterator[int]:
    """An empty dcmqrscp called QRPACS that knows PREREAD; gives its port."""
    port = free_port()
    (folder / "qrdb").mkdir(parents=True)
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\npreread = (PREREAD, 127.0.0.1, {preread_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRPACS {folder / 'qrdb'} RW (500, 1024mb) ANY\nAETable END\n"
    )
    command = [DCMQRSCP, "-c", str(folder / "dcmqrscp.cfg")]
    with _running("QRPACS", port, command, folder):
        yield port


@contextlib.contextmanager
def pixelmed(folder: Path, preread_port: int) -> Iterator[int]:
    """An empty archive of PixelMed's called PIXELMED that knows PREREAD; gives its port."""
    port = free_port()
    (folder / "images").mkdir(parents=True)
    (folder / "archive.properties").write_text(
        f"Application.DatabaseFileName={folder / 'database'}\nApplication.SavedImagesFolderName={folder / 'images'}\n"
        f"Dicom.ListeningPort={port}\nDicom.CalledAETitle=PIXELMED\nDicom.CallingAETitle=PIXELMED\n"
        "Dicom.RemoteAEs=preread\nDicom.RemoteAEs.preread.CalledAETitle=PREREAD\n"
        "Dicom.RemoteAEs.preread.HostNameOrIPAddress=127.0.0.1\n"
        f"Dicom.RemoteAEs.preread.Port={preread_port}\nDicom.RemoteAEs.preread.QueryModel=STUDYROOT\n"
        f"WebServer.ListeningPort={free_port()}\nWebServer.RootURL=\nWebServer.StylesheetPath=none\n"
        "WebServer.RequestTypeRunning=WADO\n"
    )
    command = ["java", "-cp", f"{JAR}:{HSQLDB}", "com.pixelmed.server.DicomAndWebStorageServer"]
    with _running("PIXELMED", port, [*command, str(folder / "archive.properties")], folder):
        yield port


@contextlib.contextmanager
def wlmscpfs(folder: Path, *entries: str) -> Iterator[int]:
    """A worklist called RIS that holds these entries, each in the form of dcmdump; gives its port."""
    port = free_port()
    (folder / "RIS").mkdir(parents=True)
    (folder / "RIS" / "lockfile").touch()
    for number, entry in enumerate(entries):
        (folder / f"{number}.dump").write_text(entry)
        entry_file = folder / "RIS" / f"{number}.wl"
        subprocess.run([DUMP2DCM, str(folder / f"{number}.dump"), str(entry_file)], check=True)
    with _running("RIS", port, [WLMSCPFS, "-dfp", str(folder), str(port)], folder):
        yield port


@contextlib.contextmanager
def _running(ae_title: str, port: int, command: list[str], folder: Path) -> Iterator[None]:
    with (folder / f"{ae_title}.log").open("wb") as log:
        process = subprocess.Popen(command, env=QUICK, stdout=log, stderr=log)
    there = DestinationSettings(name="peer", ae_title=ae_title, host="127.0.0.1", port=port)
    try:
        wait_for(f"{ae_title} to answer an echo", lambda: Peers("PREREAD").echo(there).ok)
        yield
    finally:
        process.terminate()
        process.wait(10)


def storescu(port: int, called: str, *files: Path) -> None:
    subprocess.run(
        [STORESCU, "-R", "-aet", "MODALITY", "-aec", called, "127.0.0.1", str(port), *map(str, files)],
        check=True,
        capture_output=True,
        env=QUICK,
    )
