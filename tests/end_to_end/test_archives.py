"""Priors and orders from programs of other makers: Orthanc, dcmtk's dcmqrscp and wlmscpfs."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from pydicom import Dataset

from agent import manifest as manifests
from agent.manifest import Manifest
from tests.builders import a_radiograph, a_report_sr, write
from tests.end_to_end import real_archives
from tests.end_to_end.conftest import Running, free_port, wait_for
from tests.end_to_end.real_archives import DCMQRSCP, DICOMWEB, ORTHANC, STORESCU, WLMSCPFS, Orthanc, storescu

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path(STORESCU).exists(), reason="dcmtk is not installed"),
    pytest.mark.skipif(not Path(ORTHANC).exists(), reason="orthanc is not installed"),
]

Start = Callable[..., Running]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    web = {"DicomWeb": {"Enable": True, "Root": "/dicom-web/"}} if DICOMWEB.exists() else {}
    plugins = [str(DICOMWEB)] if DICOMWEB.exists() else []
    with real_archives.orthanc(tmp_path_factory.mktemp("orthanc"), Plugins=plugins, **web) as orthanc:
        yield orthanc


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts preread with tables for peers.toml; its drafts go to nobody who listens."""
    started: list[Running] = []

    def start(peers: str, **ways: object) -> Running:
        folder = tmp_path / "preread"
        folder.mkdir()
        started.append(Running(folder, free_port(), senders=peers, settle_seconds=0.5, **ways))
        return started[0].start()

    yield start
    for running in started:
        running.stop()


def an_archive(ae_title: str, port: int, **more: object) -> str:
    table = {
        "name": "arch",
        "ae_title": ae_title,
        "host": "127.0.0.1",
        "port": port,
        "connect_seconds": 2.0,
    } | more
    lines = (
        f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in table.items()
    )
    return "[[archive]]\n" + "\n".join(lines) + "\n"


def a_prior(patient_id: str, folder: Path) -> list[Path]:
    """A radiograph and its report, 40 days old, as files."""
    objects = (
        a_radiograph(patient_id=patient_id, days_ago=40, rows=300, columns=280),
        a_report_sr(patient_id=patient_id, days_ago=40, findings="Small left effusion."),
    )
    return [write(one, folder / f"{patient_id}-{number}.dcm") for number, one in enumerate(objects)]


def read(preread: Running, current: Dataset, folder: Path) -> Manifest:
    """Sends a study to preread and waits until the model has been shown it."""
    storescu(preread.port, "PREREAD", write(current, folder / "current.dcm"))

    def shown() -> str | None:
        return next((job.manifest_json for job in preread.jobs(current.StudyInstanceUID)), None)

    return manifests.load_manifest(str(wait_for("the manifest", shown)))


def orders_known(preread: Running, accession: str) -> int:
    store = preread.store()
    try:
        return len(store.orders.of_study("", accession))
    finally:
        store.database.close()


@pytest.mark.parametrize("retrieve", ["c-move", "c-get", "dicomweb"])
@pytest.mark.parametrize("model", ["study", "patient"])
def test_a_prior_that_orthanc_has_is_fetched_with_its_report_and_not_read(
    orthanc: Orthanc, start: Start, tmp_path: Path, retrieve: str, model: str
):
    if retrieve == "dicomweb" and (not DICOMWEB.exists() or model == "patient"):
        pytest.skip("orthanc-dicomweb is not installed, or the model says nothing to it")
    patient = f"A-{retrieve}-{model}"
    storescu(orthanc.dicom_port, "TESTPACS", *a_prior(patient, tmp_path))
    url = f"http://127.0.0.1:{orthanc.http_port}/dicom-web"
    preread = start(
        an_archive("TESTPACS", orthanc.dicom_port, retrieve=retrieve, information_model=model, url=url)
    )
    orthanc.knows("PREREAD", preread.port)

    manifest = read(preread, a_radiograph(patient_id=patient, rows=300, columns=280), tmp_path)

    assert manifest.notes == (), manifest.passed_over
    (prior,) = manifest.priors
    assert prior.report.text == "Small left effusion."
    assert preread.jobs(prior.study_instance_uid) == ()


def test_a_prior_that_dcmqrscp_has_is_fetched(start: Start, tmp_path: Path):
    if not Path(DCMQRSCP).exists():
        pytest.skip("dcmqrscp is not installed")
    port = free_port()

    with real_archives.dcmqrscp(tmp_path / "qr", port) as archive_port:
        storescu(archive_port, "QRPACS", *a_prior("Q1", tmp_path))
        preread = start(an_archive("QRPACS", archive_port), port=port)
        manifest = read(preread, a_radiograph(patient_id="Q1", rows=300, columns=280), tmp_path)

    found = [prior.report.text for prior in manifest.priors]
    assert found == ["Small left effusion."], (manifest.notes, manifest.passed_over)


def test_an_archive_that_is_down_costs_the_wait_and_the_draft_says_so(start: Start, tmp_path: Path):
    preread = start(an_archive("GONE", free_port()), wait_for_priors_seconds=1.5)

    manifest = read(preread, a_radiograph(patient_id="D1", rows=300, columns=280), tmp_path)

    assert len(manifest.notes) == 1
    assert manifest.notes[0].startswith("arch ")
    wait_for("the draft", lambda: preread.jobs(manifest.current.study_instance_uid)[0].reading_json)


def test_an_archive_that_does_not_know_us_refuses_and_the_draft_says_so(
    orthanc: Orthanc, start: Start, tmp_path: Path
):
    unknown = an_archive("TESTPACS", orthanc.dicom_port, calling_ae_title="STRANGER")
    preread = start(unknown, wait_for_priors_seconds=1.5)

    manifest = read(preread, a_radiograph(patient_id="R1", rows=300, columns=280), tmp_path)

    assert manifest.notes != ()
    assert manifest.priors == ()


def an_entry(patient_id: str, accession: str, indication: str) -> str:
    """A worklist entry for today in the form of dcmdump."""
    return f"""
(0008,0005) CS [ISO_IR 100]
(0008,0050) SH [{accession}]
(0010,0010) PN [Doe^Jane]
(0010,0020) LO [{patient_id}]
(0010,0030) DA [19500101]
(0010,0040) CS [F]
(0020,000d) UI [1.2.3.{accession}]
(0032,1060) LO [XR CHEST]
(0040,1002) LO [{indication}]
(0040,1001) SH [RP{accession}]
(0040,0100) SQ
(fffe,e000) na
(0008,0060) CS [DX]
(0040,0001) AE [XRAY1]
(0040,0002) DA [{date.today():%Y%m%d}]
(0040,0003) TM [083000]
(0040,0006) PN
(0040,0007) LO [CHEST PA]
(0040,0009) SH [SPS{accession}]
(fffe,e00d) na
(fffe,e0dd) na
"""


def test_an_order_of_wlmscpfs_brings_priors_ahead_and_the_indication_for_the_model(
    orthanc: Orthanc, start: Start, tmp_path: Path
):
    if not Path(WLMSCPFS).exists():
        pytest.skip("wlmscpfs is not installed")
    prior = a_prior("W1", tmp_path)
    storescu(orthanc.dicom_port, "TESTPACS", *prior)
    port = free_port()
    orthanc.knows("PREREAD", port)
    current = a_radiograph(patient_id="W1", accession="77", rows=300, columns=280)

    with real_archives.wlmscpfs(
        tmp_path / "wl", an_entry("W1", "77", "Cough for two weeks.")
    ) as worklist_port:
        worklist = (
            f'[[worklist]]\nname = "ris"\nae_title = "RIS"\nhost = "127.0.0.1"\nport = {worklist_port}\n'
        )
        preread = start(an_archive("TESTPACS", orthanc.dicom_port) + worklist, port=port)
        wait_for("the order", lambda: orders_known(preread, "77"))
        store = preread.store()
        wait_for("the prior ahead of the exam", lambda: len(store.index.recent_studies(5)) == 1)
        store.database.close()
        manifest = read(preread, current, tmp_path)

    assert manifest.indication == "Cough for two weeks."
    assert [prior.report.text for prior in manifest.priors] == ["Small left effusion."]
    assert manifest.notes == ("the indication is that of the order, told by ris; no image has one",)
