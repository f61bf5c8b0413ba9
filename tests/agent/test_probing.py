"""`preread probe`: what a destination takes, found out by asking it."""

import tomllib
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
)
from typer.testing import CliRunner

from agent.cli import app
from agent.demo.pacs import MiniPacs
from agent.outputs import OUTPUTS
from agent.probing import proposal
from config.settings import Settings
from tests.agent.archives import a_free_port, an_archive
from tests.agent.test_peers_stow import a_service


def a_config(folder: Path, port: int, more: str = "") -> Path:
    for name in ("agent", "reading"):
        (folder / f"{name}.toml").write_text("")
    (folder / "peers.toml").write_text(
        '[[destination]]\nname = "pacs"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\n'
        f"port = {port}\nconnect_seconds = 2.0\n{more}"
    )
    return folder


def probe(config: Path, *options: str, name: str = "pacs") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["probe", name, "--config", str(config), *options])
    return result.exit_code, result.output


def test_a_destination_that_takes_everything_gets_marked_objects_and_the_default(tmp_path: Path):
    pacs = MiniPacs("ARCHIVE", tmp_path / "pacs")

    code, said = probe(a_config(tmp_path, pacs.port))
    pacs.close()

    assert (code, tomllib.loads(said)) == (0, {"profile": "default"})
    objects = [dcmread(file) for file in (tmp_path / "pacs").iterdir()]
    assert len(objects) == len(OUTPUTS)
    assert {(str(one.PatientName), one.PatientID, one.StudyDescription) for one in objects} == {
        ("TEST^NO PATIENT", "PREREAD-TEST", "TEST, no patient")
    }
    assert all(f"# {kind} (1.2.840." in said for kind in OUTPUTS)


def test_without_objects_the_contexts_decide_and_nothing_is_sent(tmp_path: Path):
    classes = [BasicTextSRStorage, ComprehensiveSRStorage, StorageCommitmentPushModel]

    with an_archive(classes=classes) as archive:
        code, said = probe(a_config(tmp_path, archive.port), "--no-objects")

    assert (code, tomllib.loads(said), archive.received) == (0, {"profile": "ohif"}, [])
    assert "# storage commitment: offered" in said
    assert "# report_sr (1.2.840.10008.5.1.4.1.1.88.11): Explicit VR, Implicit VR" in said
    assert "# segmentation (1.2.840.10008.5.1.4.1.1.66.4): not accepted" in said


def test_an_object_that_is_refused_counts_more_than_the_context_that_was_accepted(tmp_path: Path):
    classes = [BasicTextSRStorage, SecondaryCaptureImageStorage]

    def store(event) -> int:
        return 0xA900 if event.request.AffectedSOPClassUID == BasicTextSRStorage else 0x0000

    with an_archive(classes=classes, on_store=store) as archive:
        code, said = probe(a_config(tmp_path, archive.port))

    assert (code, tomllib.loads(said)) == (0, {"profile": "sc_only"})
    assert "test object refused for good" in said


def test_a_web_destination_is_probed_by_its_answers(tmp_path: Path):
    with a_service(lambda _: (200, b"")) as service:
        web = f'protocol = "dicomweb"\nurl = "http://127.0.0.1:{service.port}/dicom-web"\n'
        config = a_config(tmp_path, service.port, web)
        code, said = probe(config)
        without = probe(config, "--no-objects")

    assert (code, tomllib.loads(said)) == (0, {"profile": "default"})
    assert without[0] == 1
    assert "tells nothing before objects are sent" in without[1]


def test_what_cannot_be_probed_is_said_in_a_sentence(tmp_path: Path):
    config = a_config(tmp_path, a_free_port())

    unreachable, unknown = probe(config), probe(config, name="nobody")

    assert (unreachable[0], unknown[0]) == (1, 1)
    assert "cannot be connected" in unreachable[1]
    assert 'destination "nobody" is not in peers.toml; there: pacs' in unknown[1]


@pytest.mark.parametrize(
    ("takes", "line"),
    [
        (("report_sr", "findings_sr", "presentation_state"), 'profile = "default"'),
        (("report_sr", "secondary_capture"), 'profile = "legacy_pacs"'),
        (("findings_sr_air",), 'profile = "strict_air"'),
        (("report_sr", "encapsulated_pdf"), 'outputs = ["report_sr", "encapsulated_pdf"]'),
        ((), "# It takes none of our objects: nothing to propose."),
    ],
)
def test_the_richest_profile_that_fits_is_proposed(takes: tuple, line: str):
    assert proposal(takes, Settings()) == line
