"""Finds the collection of real files that some tests look at and that is not part of the project."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def real_data(*parts: str) -> Path:
    """Gives the path of a real file or folder, or skips the test and says why.

    The collection is where the environment variable PREREAD_TEST_DATA says, else in `shared/data` beside the
    repository. `real_data("dicom", "cr-dx")` is a folder of it.
    """
    told = os.environ.get("PREREAD_TEST_DATA")
    folder = Path(told) if told else REPOSITORY.parent / "shared" / "data"
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there; set PREREAD_TEST_DATA to the folder of the real files")
    return path
