"""Senders that share no code with dcmtk, pynetdicom or Orthanc: CTN, odil, PixelMed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread

from tests import pixelmed
from tests.builders import a_radiograph, write
from tests.listener.conftest import Inbox

pytestmark = pytest.mark.peers

SENDERS = {
    "ctn": "send_image -q -r -a OTHER -c PREREAD 127.0.0.1 {port} {files}",
    "odil": "odil store 127.0.0.1 {port} OTHER PREREAD {files}",
    # Its last two arguments: no compression, no debugging.
    "pixelmed-apps": f"java -cp {pixelmed.JAR} com.pixelmed.network.StorageSOPClassSCU 127.0.0.1 {{port}} "
    "PREREAD OTHER {file} 0 0",
}
"""By Debian's package; what takes one file only has {file}."""


@pytest.mark.parametrize("package", SENDERS)
def test_what_a_sender_of_another_maker_sends_is_stored(inbox: Inbox, tmp_path: Path, package: str):
    program = SENDERS[package].partition(" ")[0]
    if shutil.which(program) is None or (program == "java" and not pixelmed.IS_THERE):
        pytest.skip(f"{package} is not installed")
    images = [a_radiograph(number=number, rows=600, columns=500) for number in (1, 2)]
    paths = [write(image, tmp_path / f"{number}.dcm") for number, image in enumerate(images)]
    if "{file}" in SENDERS[package]:
        del images[1:]
    command = SENDERS[package].format(port=inbox.port, file=paths[0], files=" ".join(map(str, paths)))

    sent = subprocess.run(command.split(), capture_output=True, timeout=60, check=False)

    assert sent.returncode == 0, sent.stderr
    for image in images:
        instance = inbox.index.known(str(image.SOPInstanceUID))
        assert instance is not None
        # Not byte for byte: some read a file and write it anew.
        assert list(dcmread(inbox.files.absolute(instance.path))) == list(image)
