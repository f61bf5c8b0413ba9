"""Runs the programs of others that judge our objects."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import Dataset

from agent.outputs import encode
from tests import pixelmed


def written(dataset: Dataset, folder: Path) -> Path:
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    path.write_bytes(encode(dataset))
    return path


def dciodvfy_errors(path: Path) -> list[str]:
    """What dciodvfy (dicom3tools) calls an error in one file."""
    program = Path(sys.executable).with_name("dciodvfy")
    ran = subprocess.run([program, "-new", path], capture_output=True, timeout=60, check=False)
    told = (ran.stdout + ran.stderr).decode("utf-8", "replace").splitlines()
    assert len(told) > 0, "it names the IOD at least"
    return [line for line in told if line.startswith("Error")]


def dcmtk(program: str, *arguments: str | Path) -> str:
    """Runs a program of Debian's dcmtk and gives what it said; skips without it. Fails if the program does."""
    path = f"/usr/bin/{program}"  # pynetdicom installs scripts of some of the same names
    if shutil.which(path) is None:
        pytest.skip(f"{path} is not there; install the package dcmtk")
    ran = subprocess.run(
        [path, *map(str, arguments)],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    told = (ran.stdout + ran.stderr).decode("utf-8", "replace")
    assert ran.returncode == 0, f"{program}: {told}"
    return told


_NO_LIMITS = [f"-Djdk.xml.xpath{of}Limit=0" for of in ("ExprOp", "TotalOp", "ExprGrp")]
"""Java 17 has limits that the templates' own expressions pass, and the packaged script fails at."""


def template_errors(path: Path) -> tuple[str, list[str]]:
    """The root template that PixelMed's DicomSRValidator finds in a structured report, and what it calls an error."""
    if not pixelmed.IS_THERE:
        pytest.skip(
            "PixelMed's validator is not there; install the packages pixelmed-apps and default-jre-headless"
        )
    command = ["java", *_NO_LIMITS, "-cp", pixelmed.JAR, "com.pixelmed.validate.DicomSRValidator", path]
    ran = subprocess.run(command, capture_output=True, timeout=120, check=False)
    told = (ran.stdout + ran.stderr).decode("utf-8", "replace").splitlines()
    assert told[-1] == "IOD validation complete"
    (template,) = [line.split()[3] for line in told if line.startswith("Found Root Template")]
    return template, [line for line in told if line.startswith("Error")]
