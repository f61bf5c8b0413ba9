"""A box is in one place, whichever form shows it: read back from each object and laid on the same film."""

from typing import Any

import numpy as np
import pytest
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom import Dataset

from agent.outputs.capture import layout_of
from agent.outputs.encapsulated_pdf import PICTURE_SIDE_PX_MAX
from inference.reading import Box
from tests.outputs.drafts import a_reading, a_source, an_effusion, groups, named, the_one
from tests.outputs.test_encapsulated_pdf import pictures_of

Edges = tuple[float, float, float, float]
"""Left, top, right, bottom in stored pixels of the film."""

YELLOW = (0xFF, 0xD1, 0x66)


def of_points(points: list[float]) -> Edges:
    columns, rows = points[::2], points[1::2]
    return min(columns), min(rows), max(columns), max(rows)


def of_mask(mask: NDArray[np.bool_]) -> Edges:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def of_picture(pixels: NDArray[np.uint8], header: Dataset, side_px_max: int = 2048) -> Edges:
    """Looks for the yellow outline on the film of a picture and lays it back on the stored pixels."""
    layout = layout_of(header, side_px_max=side_px_max)
    assert pixels.shape[:2] == (layout.height_px, layout.width_px)
    film = pixels[layout.top_px : layout.top_px + layout.film_height_px]
    yellow = (film == YELLOW).all(axis=-1)  # (rows, columns)
    in_columns, in_rows = yellow.sum(axis=0), yellow.sum(axis=1)
    # The longest lines; the label's letters are yellow, too.
    columns, rows = (np.flatnonzero(each > 0.9 * each.max()) for each in (in_columns, in_rows))
    return (
        columns[0] / layout.column_scale,
        rows[0] / layout.row_scale,
        (columns[-1] + 1) / layout.column_scale,
        (rows[-1] + 1) / layout.row_scale,
    )


def places_of(header: Dataset, box: Box) -> dict[str, Edges]:
    """Where each form has the box, read back from its bytes."""
    kinds = ("findings_sr", "findings_sr_air", "presentation_state", "segmentation", "secondary_capture")
    made = {kind: the_one(kind, header, a_reading(an_effusion(box))) for kind in (*kinds, "encapsulated_pdf")}
    outline = made["presentation_state"].GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    masks = Segmentation.from_dataset(made["segmentation"]).get_pixels_by_source_instance(
        [header.SOPInstanceUID]
    )
    (page,) = pictures_of(made["encapsulated_pdf"])
    regions = {kind: named(groups(made[kind])[0], "111030")[0] for kind in kinds[:2]}
    return {
        **{kind: of_points(list(region.GraphicData)) for kind, region in regions.items()},
        "presentation_state": of_points(list(outline.GraphicData)),
        "segmentation": of_mask(masks[0, :, :, 0].astype(bool)),
        "secondary_capture": of_picture(made["secondary_capture"].pixel_array, header),
        "encapsulated_pdf": of_picture(page, header, PICTURE_SIDE_PX_MAX),
    }


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "about",
    [
        {"rows": 256, "columns": 320},
        {"rows": 1500, "columns": 1200},
        {"modality": "CR", "spacing_mm": None, "change": {"PixelAspectRatio": [2, 1]}},
    ],
    ids=["small", "larger than the page", "pixels twice as high as wide"],
)
def test_the_bright_square_is_enclosed_by_every_form(about: dict[str, Any], photometric: str):
    rows, columns = about.get("rows", 256), about.get("columns", 320)
    left, top, right, bottom = columns // 4, rows // 4, columns // 2, 3 * rows // 4
    pixels = np.full((rows, columns), 0 if photometric == "MONOCHROME2" else 4095, np.uint16)
    pixels[top:bottom, left:right] = 4095 - pixels[0, 0]
    header = a_source(**{**about, "pixels": pixels, "photometric": photometric})

    places = places_of(header, Box(str(header.SOPInstanceUID), left, top, right, bottom))

    for kind, edges in places.items():
        # A picture may be smaller than the film: then its edges are whole pixels of the picture.
        exact = 0 if kind not in ("secondary_capture", "encapsulated_pdf") else max(rows, columns) / 512
        assert edges == pytest.approx((left, top, right, bottom), abs=exact + 1e-6), kind
