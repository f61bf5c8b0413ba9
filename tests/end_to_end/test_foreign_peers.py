"""The whole line between programs of other makers: dcmtk sends, Orthanc routes to us and takes what we make."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.records import Stage
from tests.builders import a_radiograph, a_report_sr, write
from tests.end_to_end.conftest import Running, free_port, wait_for

STORESCU = "/usr/bin/storescu"
ORTHANC = "/usr/sbin/Orthanc"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path(STORESCU).exists(), reason="dcmtk is not installed"),
    pytest.mark.skipif(not Path(ORTHANC).exists(), reason="orthanc is not installed"),
]

# Sends the radiographs of a study on as soon as it has been stable: what a PACS routing rule does, also after
# our own objects have made the study change again.
AUTOROUTE = """
function OnStableStudy(studyId, tags, metadata)
  local ids = {}
  for i, s in ipairs(ParseJson(RestApiGet('/studies/' .. studyId .. '/series'))) do
    table.insert(ids, s['ID'])
  end
  RestApiPost('/modalities/preread/store', DumpJson({ Resources = ids, Synchronous = false, Permissive = true }), true)
end
"""


@dataclass
class Orthanc:
    http_port: int
    dicom_port: int

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", data, timeout=10) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def series(self, study_instance_uid: str) -> list[dict[str, Any]]:
        query = {"Level": "Series", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
        return list(self.ask("/tools/find", query))

    def modalities(self, study_instance_uid: str) -> set[str]:
        return {str(series["MainDicomTags"]["Modality"]) for series in self.series(study_instance_uid)}


@pytest.fixture(scope="module")
def ports() -> tuple[int, int, int]:
    return free_port(), free_port(), free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int, int]) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    dicom_port, http_port, preread_port = ports
    (folder / "autoroute.lua").write_text(AUTOROUTE)
    settings = {
        "Name": "TESTPACS",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "TESTPACS",
        "DicomPort": dicom_port,
        "DicomModalities": {"preread": {"AET": "PREREAD", "Host": "127.0.0.1", "Port": preread_port}},
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "LuaScripts": [str(folder / "autoroute.lua")],
        "StableAge": 1,
        "OverwriteInstances": True,
        "SyncStorageArea": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [ORTHANC, str(folder / "orthanc.json")],
            stdout=log,
            stderr=log,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
    orthanc = Orthanc(http_port, dicom_port)
    wait_for("Orthanc's REST interface", orthanc.is_up)
    yield orthanc
    process.terminate()
    process.wait(30)
    shutil.rmtree(folder / "db", ignore_errors=True)


@pytest.fixture(scope="module")
def preread(
    tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc, ports: tuple[int, int, int]
) -> Iterator[Running]:
    running = Running(
        tmp_path_factory.mktemp("preread"), orthanc.dicom_port, port=ports[2], settle_seconds=0.5
    )
    yield running.start()
    running.stop()


def storescu(port: int, called: str, *files: Path) -> None:
    subprocess.run(
        [STORESCU, "-R", "-aet", "MODALITY", "-aec", called, "127.0.0.1", str(port), *map(str, files)],
        check=True,
        capture_output=True,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def test_a_study_that_orthanc_routes_to_us_comes_back_into_orthanc_and_does_not_go_round(
    preread: Running, orthanc: Orthanc, tmp_path: Path
):
    prior = [
        write(a_radiograph(patient_id="O1", days_ago=40, rows=300, columns=280), tmp_path / "1.dcm"),
        write(a_report_sr(patient_id="O1", days_ago=40), tmp_path / "2.dcm"),
    ]
    current = a_radiograph(patient_id="O1", rows=300, columns=280)
    study = str(current.StudyInstanceUID)

    storescu(orthanc.dicom_port, "TESTPACS", *prior)
    storescu(orthanc.dicom_port, "TESTPACS", write(current, tmp_path / "3.dcm"))
    jobs = preread.wait_for_jobs(study)

    assert jobs[0].stage is Stage.DONE, jobs[0].problem
    assert {"DX", "SR"} <= orthanc.modalities(study)
    time.sleep(4)  # two of Orthanc's stable ages: our own objects have been routed to us by now
    assert len(preread.jobs(study)) == 1
    assert "SR" in orthanc.modalities(study)


def test_a_study_that_storescu_sends_directly_comes_back_into_orthanc(
    preread: Running, orthanc: Orthanc, tmp_path: Path
):
    current = a_radiograph(patient_id="O2", rows=300, columns=280)
    study = str(current.StudyInstanceUID)

    storescu(preread.port, "PREREAD", write(current, tmp_path / "1.dcm"))
    jobs = preread.wait_for_jobs(study)

    assert jobs[0].stage is Stage.DONE, jobs[0].problem
    assert "SR" in orthanc.modalities(study)
