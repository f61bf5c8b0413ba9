"""The whole line with an archive of PixelMed's, which is neither of dcmtk's family nor Orthanc's."""

from pathlib import Path

import pytest

from agent import manifest as manifests
from storage.records import Stage
from tests import pixelmed
from tests.builders import a_radiograph, a_report_sr, write
from tests.end_to_end import real_archives
from tests.end_to_end.conftest import Running
from tests.end_to_end.real_archives import HSQLDB, STORESCU, storescu

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path(STORESCU).exists(), reason="dcmtk is not installed"),
    pytest.mark.skipif(
        not (pixelmed.IS_THERE and HSQLDB.exists()),
        reason="pixelmed-apps, libhsqldb-java or default-jre-headless is not installed",
    ),
]


@pytest.mark.parametrize("retrieve", ["c-move", "c-get"])
def test_a_prior_comes_from_there_with_its_report_and_the_draft_goes_there(retrieve: str, tmp_path: Path):
    folder = tmp_path / "preread"
    folder.mkdir()
    preread = Running(folder, 0, destination_ae_title="PIXELMED", settle_seconds=0.5)
    prior = a_radiograph(patient_id="P1", days_ago=40, rows=300, columns=280)
    report = a_report_sr(patient_id="P1", days_ago=40, findings="Small left effusion.")
    current = a_radiograph(patient_id="P1", rows=300, columns=280)
    files = [write(one, tmp_path / f"{number}.dcm") for number, one in enumerate((prior, report, current))]

    with real_archives.pixelmed(tmp_path / "pixelmed", preread.port) as port:
        preread.destination_port = port
        preread.senders = (
            f'[[archive]]\nname = "a"\nae_title = "PIXELMED"\nhost = "127.0.0.1"\nport = {port}\n'
            f'retrieve = "{retrieve}"\n'
        )
        storescu(port, "PIXELMED", *files[:2])
        try:
            storescu(preread.start().port, "PREREAD", files[2])
            (job,) = preread.wait_for_jobs(str(current.StudyInstanceUID))
        finally:
            preread.stop()

    assert job.stage is Stage.DONE, job.problem
    manifest = manifests.load_manifest(str(job.manifest_json))
    assert [exam.study_instance_uid for exam in manifest.priors] == [str(prior.StudyInstanceUID)]
    assert manifest.priors[0].report is not None
    assert manifest.priors[0].report.text == "Small left effusion."
