"""What a toolkit of another maker draws from our presentation states, pixel by pixel. `make screenshots` runs it.

larvitar 3.8.7 draws every outline and every text where the state puts them (PS3.3 C.10.5). Some habits are its own:

- It frames each text by its bounding box, writes all text ten pixels high, and strokes outlines in the colour that its
  canvas happens to have: black, or that of the frames.
- It inverts for a Presentation LUT Shape of INVERSE, and for IDENTITY leaves what it made of the image. So a
  MONOCHROME1 film shows here that our INVERSE does no harm, and not that it is needed; dcmtk shows that
  (tests/outputs/test_presentation.py).
- It takes the VOI LUT of a state for a Modality LUT (`setLUT`), with entries that it has not read, and shows black.
  dcmtk shows the same state right (same file); so the films here have windows.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from agent.dicom.pixels import render
from inference.reading import Box, Finding, Reading, Status
from tests.builders import chest_pixels
from tests.outputs.drafts import a_box, a_reading, a_source, an_effusion, the_one
from tests.viewers.chromium import CHROMIUM, picture_path
from tests.viewers.larvitar import DIST, SIDE_PX, Shown, shown

pytest.importorskip("playwright.sync_api", reason="needs playwright: make screenshots")
_MISSING = [str(path) for path in (DIST, Path(CHROMIUM)) if not path.exists()]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.skipif(bool(_MISSING), reason=f"not here: {', '.join(_MISSING)} (make screenshots)"),
]

NEAR_PX = 2
"""A line is one pixel wide, and the toolkit rounds its place to whole pixels of the screen."""

FILMS: dict[str, Callable[[], Dataset]] = {
    "portrait": lambda: a_source(rows=1250, columns=1000),
    "landscape": lambda: a_source(rows=1000, columns=1250),
    "monochrome1": lambda: a_source(
        photometric="MONOCHROME1", rows=320, columns=256, pixels=4095 - chest_pixels(320, 256)
    ),
    "pixels-twice-as-high-as-wide": lambda: a_source(
        modality="CR", spacing_mm=None, window=(2048, 4096), change={"PixelAspectRatio": [2, 1]}
    ),
}


@dataclass(frozen=True, slots=True)
class Film:
    """A film with two boxes, one of them in a corner, and what the toolkit shows by our state."""

    image: Dataset
    reading: Reading
    state: Dataset
    with_drawing: Shown
    without_drawing: Shown

    @property
    def changed(self) -> NDArray[np.bool_]:
        """(SIDE_PX, SIDE_PX): what the annotations of the state changed in the viewport."""
        return np.any(self.with_drawing.pixels != self.without_drawing.pixels, axis=2)

    @property
    def boxes(self) -> list[Box]:
        return [box for finding in self.reading.findings for box in finding.boxes]

    def on_screen(self, column: float, row: float) -> tuple[float, float]:
        """Where a point of the image, 0.0\\0.0 at its top left corner, is in the viewport: (x, y).

        As SCALE TO FIT and the aspect of the pixels demand (PS3.3 C.10.4), with the image in the middle.
        """
        high, wide = (int(part) for part in self.image.get("PixelAspectRatio", (1, 1)))
        width, height = self.image.Columns * wide, self.image.Rows * high
        scale = SIDE_PX / max(width, height)
        left, top = (SIDE_PX - width * scale) / 2, (SIDE_PX - height * scale) / 2
        return left + column * wide * scale, top + row * high * scale

    def places_of_words(self) -> dict[str, tuple[float, ...]]:
        """Each text of the state, and its bounding box in the viewport: left, top, right, bottom."""
        return {
            text.UnformattedTextValue: (
                *self.on_screen(*text.BoundingBoxTopLeftHandCorner),
                *self.on_screen(*text.BoundingBoxBottomRightHandCorner),
            )
            for text in self.state.GraphicAnnotationSequence[0].TextObjectSequence
        }


@pytest.fixture(scope="module", params=FILMS)
def film(request: pytest.FixtureRequest, browser: Any) -> Film:
    image = FILMS[request.param]()
    columns, rows = image.Columns, image.Rows
    effusion = a_box(image, left=columns * 0.1, top=rows * 0.55, right=columns * 0.45, bottom=rows * 0.9)
    corner = a_box(image, left=columns * 0.7, top=0, right=columns, bottom=rows * 0.3)
    reading = a_reading(
        an_effusion(effusion), Finding("lung lesion", Status.UNCERTAIN, side="left", boxes=(corner,))
    )
    state = the_one("presentation_state", image, reading)
    bare = deepcopy(state)
    del bare.GraphicAnnotationSequence, bare.GraphicLayerSequence
    return Film(
        image,
        reading,
        state,
        shown(browser, image, state, picture_path(f"larvitar-{request.param}")),
        shown(browser, image, bare),
    )


def area(left: float, top: float, right: float, bottom: float) -> NDArray[np.bool_]:
    """(SIDE_PX, SIDE_PX): the pixels that are in this part of the viewport, or NEAR_PX from it."""
    columns, rows = np.meshgrid(np.arange(SIDE_PX), np.arange(SIDE_PX))
    across = (columns >= left - NEAR_PX - 0.5) & (columns <= right + NEAR_PX - 0.5)
    along = (rows >= top - NEAR_PX - 0.5) & (rows <= bottom + NEAR_PX - 0.5)
    return np.asarray(across & along)


def edges(box: Box, film: Film) -> dict[str, NDArray[np.bool_]]:
    left, top = film.on_screen(box.left, box.top)
    right, bottom = film.on_screen(box.right, box.bottom)
    return {
        "left": area(left, top, left, bottom),
        "right": area(right, top, right, bottom),
        "top": area(left, top, right, top),
        "bottom": area(left, bottom, right, bottom),
    }


def test_every_edge_of_every_box_is_drawn_where_the_finding_is(film: Film):
    for box in film.boxes:
        for name, edge in edges(box, film).items():
            across = 1 if name in ("left", "right") else 0

            is_drawn = (film.changed & edge).any(axis=across)[edge.any(axis=across)]

            assert is_drawn[NEAR_PX:-NEAR_PX].all(), f"{name} edge of {box}"


def test_nothing_is_drawn_beside_the_boxes_and_our_words(film: Film):
    allowed = np.zeros_like(film.changed)
    for box in film.boxes:
        allowed |= np.logical_or.reduce(list(edges(box, film).values()))
    for place in film.places_of_words().values():
        allowed |= area(*place)

    assert not np.argwhere(film.changed & ~allowed).tolist()


def test_the_banner_and_the_label_of_each_box_are_written_in_their_places(film: Film):
    places = film.places_of_words()

    assert "AI DRAFT - NOT VERIFIED" in places
    assert set(film.with_drawing.words) == set(places)
    for words, (x, y) in film.with_drawing.words.items():
        left, top, right, bottom = places[words]
        assert left - NEAR_PX <= x < right, words
        assert top - NEAR_PX <= y < bottom, words
        inside = film.changed[round(top) + 3 : round(bottom) - 2, round(left) + 3 : round(right) - 2]
        assert inside.sum() >= 10 * len(words), f"{words}: only {inside.sum()} pixels of letters"


def test_through_the_state_the_greys_are_those_of_our_rendering(film: Film):
    ours = render(film.image).pixels / 65535 * 255  # (rows, columns)
    rows = np.linspace(2, film.image.Rows - 3, 25).astype(int)
    columns = np.linspace(2, film.image.Columns - 3, 25).astype(int)

    for row, column in np.stack(np.meshgrid(rows, columns), axis=-1).reshape(-1, 2):
        x, y = film.on_screen(column + 0.5, row + 0.5)
        grey = film.without_drawing.pixels[int(y), int(x), 0]
        assert abs(float(grey) - ours[row, column]) <= 4, f"row {row}, column {column}"


def test_the_toolkit_meets_no_error_in_a_state(film: Film):
    assert film.with_drawing.faults == ()
