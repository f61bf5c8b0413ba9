"""Outputs of real radiographs and real names, which are odder than what we think of."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from agent.dicom.headers import Unreadable
from agent.dicom.opening import read_header_dataset, read_whole
from agent.dicom.pixels import FILE_BYTES_MAX, render
from agent.errors import GiveUp
from agent.outputs import Sources, build, encode
from inference.reading import Box
from tests.builders import a_radiograph
from tests.outputs.drafts import KINDS, a_narrative, a_reading, a_stamp, an_effusion
from tests.outputs.validators import dciodvfy_errors, written
from tests.real_data import real_data

pytestmark = pytest.mark.data

NAMES = (
    "fo-chrArab.dcm",
    "fo-chrGerm.dcm",
    "fo-chrGreek.dcm",
    "fo-chrH31.dcm",
    "fo-chrI2.dcm",
    "fo-chrJapMulti.dcm",
    "fo-chrKoreanMulti.dcm",
    "fo-chrRuss.dcm",
    "fo-chrX1.dcm",
    "fo-chrX2.dcm",
    "pd-chrFrenMulti.dcm",
)


def readable_radiographs() -> list[Dataset]:
    """Every grey radiograph of the collection that can be rendered, pixels and all."""
    radiographs = []
    for path in sorted(real_data("dicom", "cr-dx").glob("*.dcm")):
        try:
            header = read_whole(path, bytes_max=FILE_BYTES_MAX)
            render(header)
        except (Unreadable, GiveUp):
            continue
        if header.get("SamplesPerPixel") == 1 and "StudyInstanceUID" in header:
            radiographs.append(header)
    return radiographs


def drafts_of(header: Dataset) -> list[Dataset]:
    """Every kind, from one image with a box in its middle."""
    image = render(header)
    columns, rows = image.columns, image.rows
    box = Box(image.key, columns * 0.3, rows * 0.3, columns * 0.6, rows * 0.6)
    sources = Sources((header,), pixels={image.key: image})
    reading = a_reading(an_effusion(box, score=0.5))
    return [dataset for kind in KINDS for dataset in build(kind, sources, reading, a_narrative(), a_stamp())]


@pytest.mark.slow
def test_real_radiographs_get_an_object_of_every_kind_in_their_own_study():
    radiographs = readable_radiographs()
    assert len(radiographs) >= 5

    for header in radiographs:
        made = [dcmread(BytesIO(encode(dataset))) for dataset in drafts_of(header)]

        assert len(made) == len(KINDS)
        assert {dataset.StudyInstanceUID for dataset in made} == {header.StudyInstanceUID}
        assert {str(dataset.PatientName) for dataset in made} == {str(header.get("PatientName") or "")}


@pytest.mark.parametrize("file", NAMES)
def test_a_real_name_is_the_same_in_our_object(file: str, tmp_path: Path):
    header = read_header_dataset(real_data("dicom", "charset", file))
    for element in a_radiograph():
        if element.tag not in header and element.keyword != "PixelData":
            header.add(element)
    header.SOPClassUID = a_radiograph().SOPClassUID

    (made,) = build("report_sr", Sources((header,)), a_reading(), a_narrative(), a_stamp())

    path = written(made, tmp_path)
    assert str(dcmread(path).PatientName) == str(header.PatientName)
    assert dciodvfy_errors(path) == []
