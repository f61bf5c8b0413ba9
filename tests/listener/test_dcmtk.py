"""dcmtk's storescu and echoscu as the senders."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.builders import a_radiograph, write
from tests.listener.conftest import Inbox, StartListener, dataset_of

# By full path: pynetdicom installs scripts of the same names.
STORESCU, ECHOSCU, DCMCRLE, DCMCJPEG = (
    f"/usr/bin/{name}" for name in ("storescu", "echoscu", "dcmcrle", "dcmcjpeg")
)

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not os.access(STORESCU, os.X_OK), reason="dcmtk is not installed (apt install dcmtk)"),
]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def images(folder: Path, count: int) -> list[Path]:
    """Distinct images of one study, on disk."""
    folder.mkdir()
    return [
        write(a_radiograph(number=number, rows=600, columns=500), folder / f"{number}.dcm")
        for number in range(1, count + 1)
    ]


def test_an_echo_is_answered(inbox: Inbox) -> None:
    assert run(ECHOSCU, "-aec", "PREREAD", "127.0.0.1", inbox.port).returncode == 0


@pytest.mark.parametrize("pdu_bytes", [16_384, 131_072])
def test_what_storescu_sends_is_stored_byte_for_byte(inbox: Inbox, tmp_path: Path, pdu_bytes: int) -> None:
    paths = images(tmp_path / "images", 6)

    sent = run(
        STORESCU, "-R", "-aec", "PREREAD", "--max-send-pdu", pdu_bytes, "127.0.0.1", inbox.port, *paths
    )  # fmt: skip

    assert sent.returncode == 0, sent.stderr
    kept = {inbox.dataset_bytes(str(a_radiograph(number=number).SOPInstanceUID)) for number in range(1, 7)}
    assert kept == {dataset_of(path.read_bytes()) for path in paths}


@pytest.mark.parametrize(("program", "option"), [(DCMCRLE, "-xr"), (DCMCJPEG, "-xs")])
def test_what_storescu_sends_compressed_is_stored_compressed(
    inbox: Inbox, tmp_path: Path, program: str, option: str
) -> None:
    [path] = images(tmp_path / "images", 1)
    compressed = tmp_path / "compressed.dcm"
    assert run(program, "+un", path, compressed).returncode == 0

    sent = run(STORESCU, option, "-aec", "PREREAD", "127.0.0.1", inbox.port, compressed)

    assert sent.returncode == 0, sent.stderr
    [instance] = inbox.stored
    assert inbox.dataset_bytes(instance.sop_instance_uid) == dataset_of(compressed.read_bytes())


def test_a_sender_that_is_killed_in_mid_object_leaves_nothing_behind(inbox: Inbox, tmp_path: Path) -> None:
    [path] = images(tmp_path / "images", 1)

    run(STORESCU, "-R", "--abort", "-aec", "PREREAD", "127.0.0.1", inbox.port, path)

    assert inbox.part_files() == []
    assert len(inbox.stored) == 1, "storescu aborts after the answer"


def test_storescu_hears_why_an_image_was_not_taken(start: StartListener, tmp_path: Path) -> None:
    inbox = start(instance_bytes_max=500_000)
    [path] = images(tmp_path / "images", 1)

    sent = run(STORESCU, "-v", "-R", "-aec", "PREREAD", "127.0.0.1", inbox.port, path)

    assert "OutOfResources" in sent.stdout + sent.stderr
