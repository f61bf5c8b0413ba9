"""Values that no sender should send, and some do: no form of a draft may end of them."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from agent.dicom.opening import quietly
from agent.outputs import needs_pixels
from agent.outputs.normalise import normalised, pixel_aspect
from agent.outputs.presentation import first_voi
from inference.reading import Box
from tests.outputs.drafts import (
    KINDS,
    a_box,
    a_reading,
    a_source,
    an_effusion,
    as_received,
    built,
    sources_of,
    the_one,
    with_raw,
)
from tests.outputs.validators import dciodvfy_errors, written

ODD: dict[str, dict[str, bytes | None]] = {
    "one spacing": {"ImagerPixelSpacing": b"0.1"},
    "half a spacing": {"ImagerPixelSpacing": b"0.143\\"},
    "no number as spacing": {"ImagerPixelSpacing": b"abc\\def"},
    "a spacing that is not finite": {"ImagerPixelSpacing": b"nan\\inf"},
    "half a spacing on the film": {"ImagerPixelSpacing": None, "PixelSpacing": b"0.1\\"},
    "pixels like hairs": {"ImagerPixelSpacing": b"1\\0.0001"},
    "no number as aspect": {"PixelAspectRatio": b"a\\b"},
    "half a window": {"WindowCenter": b"\\2048", "WindowWidth": b"\\4096"},
    "no number as window": {"WindowCenter": b"abc"},
    "a slope without intercept": {"RescaleSlope": b"1", "RescaleIntercept": None},
    "no number as slope": {"RescaleSlope": b"abc"},
    "a slope of nothing": {"RescaleSlope": b"0", "RescaleIntercept": b"0", "RescaleType": b"US"},
    "an empty rescale type": {"RescaleSlope": b"1", "RescaleIntercept": b"0", "RescaleType": b""},
    "a window of many digits": {"WindowCenter": b"0.1234567890123456", "WindowWidth": b"1234.567890123456"},
    "one direction": {"PatientOrientation": b"L"},
    "half a pair of directions": {"PatientOrientation": b"L\\"},
    "words as directions": {"PatientOrientation": b"LEFT\\FOOT"},
    "no number as compression": {"LossyImageCompression": b"01", "LossyImageCompressionRatio": b"x"},
}
"""What was sent, by keyword."""


def an_odd_source(name: str, modality: str = "DX") -> Dataset:
    return with_raw(a_source(modality=modality), **ODD[name])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ODD)
def test_no_form_of_a_draft_ends_of_an_odd_number(name: str, kind: str, tmp_path: Path):
    made = the_one(kind, an_odd_source(name))

    assert dciodvfy_errors(written(made, tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_that_was_sent_without_an_item_is_not_sent_on(kind: str, tmp_path: Path):
    empty = {
        "ReferencedStudySequence": [],
        "ReferencedPatientSequence": [],
        "ProcedureCodeSequence": [],
        "OtherPatientIDsSequence": [],
        "RequestAttributesSequence": [],
    }

    made = the_one(kind, a_source(change=empty))

    assert dciodvfy_errors(written(made, tmp_path)) == []


@pytest.mark.parametrize("name", [name for name in ODD if "spacing" in name or name == "pixels like hairs"])
def test_pixels_whose_shape_nobody_knows_are_square(name: str):
    with quietly():
        assert pixel_aspect(an_odd_source(name)) == 1


@pytest.mark.parametrize("window", ["half a window", "no number as window"])
def test_a_window_is_taken_as_the_rendering_takes_it(window: str):
    header = an_odd_source(window, "CR")

    with quietly():
        voi = first_voi(header)
        asks_for_pixels = needs_pixels(with_raw(header, PixelData=None))

    assert voi is not None
    assert (voi.WindowCenter == 2048) is (window == "half a window")
    assert asks_for_pixels is (window == "no number as window")


def test_numbers_that_are_whole_stay_as_they_were_sent():
    header = a_source(change={"RescaleSlope": 2, "RescaleIntercept": -7, "RescaleType": "US"})

    copy = normalised(header)

    for keyword in ("ImagerPixelSpacing", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
        assert copy[keyword] == header[keyword], keyword


def a_film_in_colour() -> Dataset:
    film = a_source(modality="CR")
    film.SamplesPerPixel, film.PlanarConfiguration, film.PhotometricInterpretation = 3, 0, "RGB"
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit = 7
    grey = np.linspace(0, 255, 256 * 320).astype(np.uint8)
    film.PixelData = np.stack([grey] * 3, axis=-1).tobytes()
    return as_received(film)


def test_a_film_stored_in_colour_has_every_form_but_a_greyscale_state():
    film = a_film_in_colour()
    reading = a_reading(an_effusion(a_box(film)))

    made = {kind: built(kind, sources_of(film), reading) for kind in KINDS}

    assert [kind for kind, datasets in made.items() if not datasets] == ["presentation_state"]
    assert not needs_pixels(film)


@pytest.mark.parametrize("columns", [6, 20])
@pytest.mark.parametrize("kind", ["secondary_capture", "encapsulated_pdf"])
def test_a_film_like_a_hair_can_be_drawn(kind: str, columns: int, tmp_path: Path):
    strip = a_source(rows=3000, columns=columns)
    box = Box(str(strip.SOPInstanceUID), 0, 0, 5, 5)

    made = the_one(kind, strip, a_reading(an_effusion(box)))

    assert dciodvfy_errors(written(made, tmp_path)) == []


@pytest.mark.slow
def test_a_range_of_many_digits_fits_a_decimal_string(tmp_path: Path):
    header = a_source(modality="CR", change={"RescaleSlope": "0.333333333", "RescaleIntercept": "-1000.7"})

    state = the_one("presentation_state", with_raw(header, RescaleType=b"US"))

    assert dciodvfy_errors(written(state, tmp_path)) == []


def test_an_orientation_of_two_directions_is_copied():
    assert list(the_one("secondary_capture", a_source()).PatientOrientation) == ["L", "F"]
