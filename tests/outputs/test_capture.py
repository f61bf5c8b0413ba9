"""The picture with the boxes burned in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageColor
from pydicom import Dataset

from agent.outputs import Sources
from agent.outputs.capture import COLOURS, SIDE_PX_MAX, SIDE_PX_MIN, layout_of
from inference.case import View
from inference.reading import Box, Finding, Status
from tests.builders import chest_pixels
from tests.outputs.drafts import (
    DEMO,
    a_box,
    a_reading,
    a_source,
    an_effusion,
    built,
    sources_of,
    the_one,
)
from tests.outputs.validators import dciodvfy_errors, written

pytestmark = pytest.mark.slow

KIND = "secondary_capture"
YELLOW = (0xFF, 0xD1, 0x66)


def outline_of(capture: Dataset, header: Dataset) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (edges of pixels) of the longest yellow lines on the film."""
    layout = layout_of(header)
    film = capture.pixel_array[layout.top_px : layout.top_px + layout.film_height_px]  # (rows, columns, 3)
    yellow = (film == YELLOW).all(axis=-1)  # (rows, columns)
    in_columns, in_rows = yellow.sum(axis=0), yellow.sum(axis=1)
    columns = np.flatnonzero(in_columns > 0.9 * in_columns.max())
    rows = np.flatnonzero(in_rows > 0.9 * in_rows.max())
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize(("rows", "columns"), [(256, 320), (1000, 800), (3000, 2400)])
def test_the_burned_in_box_is_where_the_findings_document_has_it(rows: int, columns: int):
    header = a_source(rows=rows, columns=columns)
    box = a_box(header, left=columns * 0.25, top=rows * 0.5, right=columns * 0.625, bottom=rows * 0.875)

    found = outline_of(the_one(KIND, header, a_reading(an_effusion(box))), header)

    layout = layout_of(header)
    left, top, right, bottom = layout.place(box)
    expected = (left, top - layout.top_px, right, bottom - layout.top_px)
    assert found == tuple(round(edge) for edge in expected)


def test_the_box_encloses_what_it_was_drawn_around_and_nothing_else():
    pixels = np.zeros((256, 320), np.uint16)
    pixels[100:180, 60:160] = 4095
    header = a_source(pixels=pixels)

    left, top, right, bottom = outline_of(
        the_one(KIND, header, a_reading(an_effusion(a_box(header, left=60, top=100, right=160, bottom=180)))),
        header,
    )

    bright = film_of(the_one(KIND, header, a_reading()), header).min(axis=-1) > 128  # (rows, columns)
    assert bright[top + 2 : bottom - 2, left + 2 : right - 2].all()
    bright[top - 1 : bottom + 1, left - 1 : right + 1] = False
    assert not bright.any()


def film_of(capture: Dataset, header: Dataset) -> NDArray[np.uint8]:
    layout = layout_of(header)
    return capture.pixel_array[layout.top_px : layout.top_px + layout.film_height_px]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_lungs_are_dark_whatever_the_polarity_of_the_image(photometric: str):
    stored = chest_pixels(256, 320)
    header = a_source(
        photometric=photometric, pixels=4095 - stored if photometric == "MONOCHROME1" else stored
    )

    film = film_of(the_one(KIND, header, a_reading()), header)

    scale = film.shape[0] / 256
    lung = film[int(128 * scale), int(88 * scale)].mean()
    mediastinum = film[int(128 * scale), int(160 * scale)].mean()
    assert lung < mediastinum - 40


@given(st.integers(8, 5000), st.integers(8, 5000), st.sampled_from([[1, 1], [2, 1], [1, 2], [7, 5]]))
def test_a_pixel_of_the_picture_is_square_and_its_size_is_bounded(rows: int, columns: int, aspect: list[int]):
    header = Dataset()
    header.Rows, header.Columns, header.PixelAspectRatio = rows, columns, aspect

    layout = layout_of(header)

    assert max(layout.width_px, layout.film_height_px) <= SIDE_PX_MAX
    assert max(layout.width_px, layout.film_height_px) >= SIDE_PX_MIN
    # One film pixel of rounding at either side is what whole numbers cost.
    wanted_height = layout.width_px * rows * aspect[0] / (columns * aspect[1])
    per_pixel = rows * aspect[0] / (columns * aspect[1])
    assert abs(layout.film_height_px - wanted_height) <= 1 + per_pixel


def test_a_box_on_high_pixels_keeps_its_place():
    header = a_source(modality="CR", spacing_mm=None, change={"PixelAspectRatio": [2, 1]})

    left, top, right, bottom = outline_of(the_one(KIND, header), header)

    assert (right - left) / (bottom - top) == pytest.approx(100 / 200, rel=0.02)


def test_without_a_box_the_first_frontal_image_says_that_there_is_a_draft():
    lateral, frontal = a_source(view="LL"), a_source(view="PA")
    sources = sources_of(lateral, frontal)
    assert [image.view for image in sources.pixels.values()] == [View.LATERAL, View.PA]

    (capture,) = built(KIND, sources, a_reading(Finding("edema", Status.PRESENT)))

    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == frontal.SOPInstanceUID


def test_only_images_with_boxes_are_drawn_if_there_are_any():
    frontal, lateral = a_source(), a_source(view="LL")

    (capture,) = built(KIND, sources_of(frontal, lateral), a_reading(an_effusion(a_box(lateral))))

    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == lateral.SOPInstanceUID


@pytest.mark.parametrize("is_placed", [True, False])
def test_what_was_named_without_a_place_stands_below_the_film(is_placed: bool):
    header = a_source()
    placed = an_effusion(*((a_box(header),) if is_placed else ()))
    told = [Finding("pneumothorax", Status.PRESENT, side="left"), Finding("edema", Status.UNCERTAIN)]
    absent = Finding("fracture", Status.ABSENT)

    few, many = (the_one(KIND, header, a_reading(placed, absent, *more)) for more in ([], told))

    bottom_px = layout_of(header).bottom_px
    assert few.Rows == layout_of(header).height_px + (
        0 if is_placed else 18
    )  # a line of letters of 12 pixels
    assert many.Rows == layout_of(header).height_px + 18
    first_line = many.pixel_array[-bottom_px - 18 : -bottom_px]
    assert (first_line == YELLOW).all(axis=-1).any()
    assert (film_of(few, header) == film_of(many, header)).all()


def test_words_cover_nothing_of_the_film():
    header = a_source()
    capture = the_one(KIND, header, a_reading())

    layout = layout_of(header)
    film = film_of(capture, header)
    assert (film.max(axis=-1) == film.min(axis=-1)).all()
    assert (capture.pixel_array[: layout.top_px] != capture.pixel_array[0, 0]).any()
    assert (capture.pixel_array[-layout.bottom_px :] != capture.pixel_array[0, 0]).any()


def test_findings_in_one_place_have_a_label_each():
    header = a_source(rows=1500, columns=2000)
    names = ("edema", "consolidation", "pneumonia")
    findings = [Finding(name, Status.PRESENT, boxes=(a_box(header),)) for name in names]

    film = film_of(the_one(KIND, header, a_reading(*findings)), header)

    for colour in (ImageColor.getrgb(colour) for colour in COLOURS[: len(names)]):
        # Its letters alone: of the outlines, one upon another, the last one is seen.
        assert (film == colour).all(axis=-1).sum() > 500, colour


@pytest.mark.parametrize("columns", [115, 250, 380, 465])
def test_no_word_in_a_strip_is_cut_off_at_the_edge(columns: int):
    header = a_source(rows=512, columns=columns)

    capture = the_one(KIND, header, a_reading(engine=DEMO))

    layout = layout_of(header)
    for strip in (capture.pixel_array[: layout.top_px], capture.pixel_array[-layout.bottom_px :]):
        assert (strip[:, -3:] == strip[0, 0]).all()


def test_a_demo_picture_looks_different_from_a_real_one_only_by_its_words():
    header = a_source()
    ours, demo = (the_one(KIND, header, a_reading(engine=engine)) for engine in (a_reading().engine, DEMO))

    assert (film_of(ours, header) == film_of(demo, header)).all()
    banner_px = layout_of(header).top_px
    assert (ours.pixel_array[:banner_px] != demo.pixel_array[:banner_px]).any()


def test_no_name_is_in_the_pixels():
    one, other = a_source(name="Doe^Jane"), a_source(name="Wolf^Peter")

    pictures = [the_one(KIND, header).PixelData for header in (one, other)]

    assert pictures[0] == pictures[1]


def test_nobody_can_measure_on_the_picture():
    capture = the_one(KIND, a_source())

    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "WindowCenter"):
        assert keyword not in capture


def test_the_picture_says_what_it_is():
    header = a_source()

    capture = the_one(KIND, header)

    assert list(capture.ImageType) == ["DERIVED", "SECONDARY", "AI"]
    assert (capture.BurnedInAnnotation, capture.ConversionType, capture.Modality) == ("YES", "WSD", "OT")
    assert (capture.PhotometricInterpretation, capture.BitsAllocated) == ("RGB", 8)
    assert list(capture.PatientOrientation) == list(header.PatientOrientation)


def test_the_picture_of_a_film_that_lost_something_says_so(tmp_path: Path):
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 12,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }

    capture = the_one(KIND, a_source(change=lossy))

    assert {keyword: capture.get(keyword) for keyword in lossy} == lossy
    assert dciodvfy_errors(written(capture, tmp_path)) == []
    assert not set(lossy) & set(the_one(KIND, a_source(change={"LossyImageCompression": "00"})).dir())


def test_missing_pixels_are_an_error_that_names_the_image():
    header = a_source()

    with pytest.raises(ValueError, match=f"no rendered pixels for image {header.SOPInstanceUID}"):
        built(KIND, Sources((header,)), a_reading())


def test_pixels_of_another_size_are_an_error():
    header = a_source()
    sources = sources_of(header)
    key = str(header.SOPInstanceUID)
    halved = replace(sources.pixels[key], pixels=sources.pixels[key].pixels[::2])

    with pytest.raises(ValueError, match="256 x 320 pixels, rendered \\(128, 320\\)"):
        built(KIND, Sources((header,), pixels={key: halved}), a_reading())


@pytest.mark.parametrize("edge", [(0, 0, 20, 20), (300, 236, 320, 256)])
def test_a_box_in_the_corner_is_drawn_whole(edge: tuple[int, int, int, int]):
    header = a_source()
    key = str(header.SOPInstanceUID)

    found = outline_of(the_one(KIND, header, a_reading(an_effusion(Box(key, *edge)))), header)

    layout = layout_of(header)
    assert found[0] == round(edge[0] * layout.column_scale)
    assert found[3] == round(edge[3] * layout.row_scale)
