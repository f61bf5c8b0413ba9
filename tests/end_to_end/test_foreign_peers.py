"""The whole line between programs of other makers: dcmtk sends, Orthanc routes to us and takes what we make."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.records import Stage
from tests.builders import a_radiograph, a_report_sr, write
from tests.end_to_end import real_archives
from tests.end_to_end.conftest import Running, free_port
from tests.end_to_end.real_archives import ORTHANC, STORESCU, Orthanc, storescu

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


@pytest.fixture(scope="module")
def preread_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, preread_port: int) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    (folder / "autoroute.lua").write_text(AUTOROUTE)
    preread = {"AET": "PREREAD", "Host": "127.0.0.1", "Port": preread_port}
    with real_archives.orthanc(
        folder,
        DicomModalities={"preread": preread},
        LuaScripts=[str(folder / "autoroute.lua")],
        StableAge=1,
    ) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def preread(
    tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc, preread_port: int
) -> Iterator[Running]:
    running = Running(
        tmp_path_factory.mktemp("preread"), orthanc.dicom_port, port=preread_port, settle_seconds=0.5
    )
    yield running.start()
    running.stop()


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
