"""What OHIF shows of a draft: every word, every box, and never a broken page. `make screenshots` runs it."""

import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from agent.demo.studies import demo_patient
from inference.reading import Change, Finding, Reading, Status
from tests.end_to_end import real_archives
from tests.end_to_end.real_archives import DICOMWEB, ORTHANC, Orthanc
from tests.outputs.drafts import DEMO, KINDS, a_box, a_reading, an_effusion, as_received, built, sources_of
from tests.viewers.chromium import CHROMIUM, picture_path
from tests.viewers.ohif import DIST, Reader, served

pytest.importorskip("playwright.sync_api", reason="needs playwright: make screenshots")
_NEEDED = (DIST, Path(CHROMIUM), Path(ORTHANC), DICOMWEB)
_MISSING = [str(path) for path in _NEEDED if not path.exists()]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.skipif(bool(_MISSING), reason=f"not here: {', '.join(_MISSING)} (make screenshots)"),
]

NOT_FOR_OHIF = {"segmentation"}
"""OHIF goes black on a segmentation without frame of reference; docs/settings.md says so."""
MEASUREMENTS = '[data-cy="trackedMeasurements-btn"]'
TITLES = {
    "report_sr": "AI DRAFT report",
    "findings_sr": "AI CXR findings",
    "presentation_state": "AI findings overlay",
}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    web = {"DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "Plugins": [str(DICOMWEB)]}
    with real_archives.orthanc(tmp_path_factory.mktemp("orthanc"), **web) as running:
        yield running


@pytest.fixture
def read(orthanc: Orthanc, browser: Any) -> Iterator[Callable[..., Reader]]:
    """Puts a study with the draft's objects of these kinds into Orthanc, and opens it."""
    with served(orthanc) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 900})

        def _read(position: int, *kinds: str) -> Reader:
            image, reading = a_film(position)
            for dataset in (
                image,
                *(one for kind in kinds for one in built(kind, sources_of(image), reading)),
            ):
                put(dataset, orthanc)
            return Reader(page, address, str(image.StudyInstanceUID))

        yield _read
        page.close()


def a_film(position: int) -> tuple[Dataset, Reading]:
    """A synthetic film, and a reading with two boxes."""
    person = demo_patient(position, datetime(2026, 3, 2, 9, tzinfo=UTC), rows=512, columns=512)
    image = as_received(person.current_objects[0])
    effusion = an_effusion(
        a_box(image, left=90, top=280, right=200, bottom=420), change=Change.LARGER, score=0.9
    )
    heart = Finding(
        "cardiomegaly", Status.PRESENT, boxes=(a_box(image, left=180, top=250, right=400, bottom=430),)
    )
    return image, a_reading(effusion, heart, Finding("pneumothorax", Status.ABSENT), engine=DEMO)


def put(dataset: Dataset, orthanc: Orthanc) -> None:
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    address = f"http://127.0.0.1:{orthanc.http_port}/instances"
    urllib.request.urlopen(urllib.request.Request(address, content.getvalue()), timeout=10).close()


def picture(reader: Reader, name: str) -> None:
    reader.page.screenshot(path=picture_path(f"ohif-{name}"))


def test_the_text_report_is_shown_word_for_word(read: Callable[..., Reader]):
    reader = read(0, "report_sr", "findings_sr", "presentation_state")

    reader.open(TITLES["report_sr"])

    assert reader.sees("AI DRAFT - NOT VERIFIED")
    assert reader.sees("There is a right pleural effusion.")
    assert reader.sees("How this AI draft came about")
    picture(reader, "report")
    assert reader.faults == []


def test_every_box_of_the_findings_becomes_a_measurement_of_the_viewer(read: Callable[..., Reader]):
    reader = read(1, "report_sr", "findings_sr")

    reader.open(TITLES["findings_sr"])
    assert reader.sees("Do you want to continue tracking measurements for this study?")
    picture(reader, "findings")
    reader.page.get_by_text("Yes", exact=True).click()

    reader.page.locator(MEASUREMENTS).click()

    assert reader.sees("Measurements (2)")
    assert reader.sees("Pleural effusion")
    assert reader.sees("Cardiomegaly")
    picture(reader, "hydrated")
    assert reader.faults == []


@pytest.mark.parametrize(("position", "kind"), list(enumerate(sorted(set(KINDS) - NOT_FOR_OHIF), start=2)))
def test_no_object_of_ours_breaks_the_viewer(read: Callable[..., Reader], position: int, kind: str):
    reader = read(position, kind)

    for title in reader.series()[1:]:
        reader.open(title.split("\n")[1])
    reader.open(reader.series()[0].split("\n")[1])

    assert reader.has_an_image()
    picture(reader, kind)
    assert reader.faults == []
