"""A rendered radiograph looks as on a viewer: dense bright, windowed, padding dark; or it says why not."""

import csv
import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing, pixel_array
from pydicom.sequence import Sequence

from agent.dicom.greyscale import window
from agent.dicom.opening import quietly, read_whole
from agent.dicom.pixels import declared_size, load, render
from agent.errors import GiveUp
from inference.case import View
from tests.builders import a_radiograph, as_bytes, mutilated, write
from tests.real_data import real_data

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
"""(16, 16) stored values from dark to bright, of 12 bits."""


def a_lut(first: int, entries: list[int], bits: int = 16) -> Dataset:
    """A Modality or VOI LUT (PS3.3 C.11.1.1.1, C.11.2.1.1)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def test_the_window_of_a_dx_is_what_is_seen():
    image = render(a_radiograph(pixels=RAMP, window=(2048, 1024)))

    assert image.pixels.dtype == np.uint16
    assert image.pixels[RAMP <= 1535].max() == 0
    assert image.pixels[RAMP >= 2560].min() == 65535
    assert abs(int(image.pixels[8, 0]) - 32767) < 100  # stored 2048, the window's middle


def test_without_a_window_the_full_range_is_seen():
    image = render(a_radiograph(modality="CR", pixels=RAMP + 100))

    assert (image.pixels.min(), image.pixels.max()) == (0, 65535)


def test_a_window_that_shows_nothing_is_not_believed():
    image = render(a_radiograph(modality="CR", pixels=RAMP, window=(30_000, 10)))

    assert (image.pixels.min(), image.pixels.max()) == (0, 65535)


@pytest.mark.parametrize("window", [(0, 0), (100, -5)])
def test_a_window_without_width_is_not_believed(window: tuple[float, float]):
    image = render(a_radiograph(modality="CR", pixels=RAMP, window=window))

    assert (image.pixels.min(), image.pixels.max()) == (0, 65535)


def test_the_first_of_several_windows_is_seen():
    several = a_radiograph(modality="CR", pixels=RAMP)
    several.WindowCenter, several.WindowWidth = [1024, 3000], [512, 100]
    first = a_radiograph(modality="CR", pixels=RAMP, window=(1024, 512))

    assert np.array_equal(render(several).pixels, render(first).pixels)


@pytest.mark.parametrize("rendering", ["voi", "minmax", "equalised"])
def test_dense_is_bright_whichever_the_polarity(rendering: Any):
    upright = render(a_radiograph(pixels=RAMP), rendering=rendering)
    inverted = render(a_radiograph(pixels=4095 - RAMP, photometric="MONOCHROME1"), rendering=rendering)

    assert upright.pixels[0, 0] < upright.pixels[-1, -1]
    assert np.abs(upright.pixels.astype(int) - inverted.pixels.astype(int)).max() <= 257


def test_a_presentation_lut_shape_that_contradicts_the_photometric_interpretation_is_not_asked():
    wrong = a_radiograph(pixels=RAMP)
    wrong.PresentationLUTShape = "INVERSE"

    assert np.array_equal(render(wrong).pixels, render(a_radiograph(pixels=RAMP)).pixels)


def test_the_rescale_comes_before_the_window():
    image = a_radiograph(modality="CR", pixels=RAMP, window=(2048 * 2 - 1000, 1024 * 2))
    image.RescaleSlope, image.RescaleIntercept = 2, -1000

    plain = render(a_radiograph(modality="CR", pixels=RAMP, window=(2048, 1024)))
    assert np.abs(render(image).pixels.astype(int) - plain.pixels.astype(int)).max() <= 64


def test_a_modality_lut_comes_before_the_window():
    image = a_radiograph(modality="CR", pixels=RAMP, window=(2048, 1024))
    image.ModalityLUTSequence = Sequence([a_lut(0, [4095 - value for value in range(4096)])])

    rendered = render(image).pixels

    assert rendered[0, 0] == 65535
    assert rendered[-1, -1] == 0


def test_a_voi_lut_goes_before_a_window_and_its_greatest_entry_is_white():
    image = a_radiograph(pixels=RAMP, window=(0, 1))
    image.VOILUTSequence = Sequence([a_lut(1024, [0] * 1024 + [4095] * 1024)])

    rendered = render(image).pixels

    assert set(np.unique(rendered)) == {0, 65535}
    assert np.array_equal(rendered == 65535, RAMP >= 2048)


def test_padding_is_dark_and_does_not_stretch_the_picture():
    padded = RAMP.copy()
    padded[:, :2] = 65535
    image = a_radiograph(modality="CR", pixels=padded, bits=16)
    image.add_new("PixelPaddingValue", "US", 65535)

    rendered = render(image).pixels

    assert rendered[:, :2].max() == 0
    assert rendered[:, 2:].max() == 65535


def test_padding_of_an_inverted_picture_is_dark_too():
    padded = RAMP.copy()
    padded[:, :2] = 0
    image = a_radiograph(modality="CR", pixels=padded, photometric="MONOCHROME1")
    image.add_new("PixelPaddingValue", "US", 0)
    image.add_new("PixelPaddingRangeLimit", "US", 10)

    assert render(image).pixels[:, :2].max() == 0


def test_signed_pixels_are_seen_as_they_are_meant():
    image = a_radiograph(modality="CR", pixels=(RAMP.astype(np.int16) - 2048).view(np.uint16), bits=16)
    image.PixelRepresentation = 1

    assert np.array_equal(render(image).pixels, render(a_radiograph(modality="CR", pixels=RAMP)).pixels)


def test_equalised_gives_each_grey_level_its_share():
    skewed = (np.linspace(0, 1, 256) ** 4 * 4095).astype(np.uint16).reshape(16, 16)

    rendered = render(a_radiograph(pixels=skewed), rendering="equalised").pixels

    assert rendered.min() == 0
    assert rendered.max() == 65535
    assert set(np.unique(rendered % 257)) == {0}, "256 levels, as an 8-bit picture has"
    assert np.median(rendered) > 2 * np.median(render(a_radiograph(pixels=skewed), rendering="minmax").pixels)


def test_an_equalised_picture_is_the_one_of_the_textbook_formula():
    levels = np.repeat(np.array([10, 20, 30, 255], dtype=np.uint16), [100, 50, 50, 56]).reshape(16, 16)
    levels[0, 0] = 0  # so that the full range is 0..255 and stays as it is in 8 bits

    rendered = render(a_radiograph(pixels=levels, bits=8), rendering="equalised").pixels // 257

    # round((pixels at or below the level - those of the darkest) * 255 / (all - those of the darkest))
    assert {int(rendered[levels == level][0]) for level in (0, 10, 20, 30, 255)} == {0, 99, 149, 199, 255}


def test_the_image_knows_its_key_view_and_spacing():
    dataset = a_radiograph(view="LL", spacing_mm=(0.14, 0.15))
    image = render(dataset)

    assert image.key == dataset.SOPInstanceUID
    assert render(dataset, key="k").key == "k"
    assert image.view is View.LATERAL
    assert (image.row_spacing_mm, image.column_spacing_mm) == (0.14, 0.15)
    assert (image.rows, image.columns) == (64, 48)


def test_without_spacing_nobody_may_measure():
    image = render(a_radiograph(spacing_mm=None))

    assert image.row_spacing_mm is None
    assert image.column_spacing_mm is None


@pytest.mark.parametrize(
    "transfer_syntax",
    [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
    ],
)
def test_a_lossless_transfer_syntax_changes_no_pixel(transfer_syntax: str, tmp_path: Path):
    coded = load(write(a_radiograph(transfer_syntax=transfer_syntax), tmp_path / "coded.dcm"))

    assert np.array_equal(coded.pixels, render(a_radiograph()).pixels)


def in_colour(colour: NDArray[np.uint8]) -> Dataset:
    image = a_radiograph(bits=8, pixels=colour[..., 0])
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.PixelData = colour.tobytes()
    return image


def test_a_grey_film_in_colour_is_seen_in_grey():
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)

    rendered = render(in_colour(grey)).pixels

    assert np.array_equal(rendered, np.arange(256).reshape(16, 16) * 257)


def changed(**values: Any) -> Dataset:
    image = a_radiograph(pixels=RAMP)
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image


def lying_jpeg2000() -> Dataset:
    image = a_radiograph(transfer_syntax="1.2.840.10008.1.2.4.90")
    size = image.PixelData.index(b"\xff\x4f\xff\x51") + 8
    image.PixelData = image.PixelData[:size] + (60_000).to_bytes(4) * 2 + image.PixelData[size + 8 :]
    return image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (a_radiograph(missing=["PixelData"]), "it has no pixels"),
        (changed(NumberOfFrames=2), "it has 2 frames; a radiograph has one"),
        (changed(Rows=17), "17 x 16 pixels need 544 bytes; the file holds 512"),
        (changed(Rows=0), "Rows is 0 and Columns is 16"),
        (changed(Rows=65535, Columns=65535), "65535 x 65535 pixels; the limit is 67108864"),
        (changed(BitsAllocated=32), "32 bits allocated"),
        (changed(BitsStored=17), "cannot be decoded"),
        (changed(PhotometricInterpretation="YBR_ICT"), "cannot be decoded|one sample per pixel"),
        (a_radiograph(pixels=np.full((16, 16), 7)), "every pixel of the picture has the same value"),
        (in_colour(np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8)), "are coloured"),
        (lying_jpeg2000(), "the pixel data hold 60000 x 60000 pixels"),
    ],
)
def test_what_cannot_be_seen_is_given_up_with_the_reason(image: Dataset, reason: str):
    with pytest.raises(GiveUp, match=reason) as refusal:
        render(image)

    assert refusal.value.reason.startswith(f"image {image.SOPInstanceUID}: ")
    assert not refusal.value.is_skip


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.4.55"]
)
def test_a_transfer_syntax_without_decoder_is_named(syntax: str):
    image = a_radiograph()
    image.file_meta.TransferSyntaxUID = syntax

    with pytest.raises(GiveUp, match=syntax):
        render(image)


def test_no_transfer_syntax_at_all_is_given_up():
    image = a_radiograph()
    del image.file_meta.TransferSyntaxUID

    with pytest.raises(GiveUp, match="it names no transfer syntax"):
        render(image)


def test_the_limits_can_be_set(tmp_path: Path):
    path = write(a_radiograph(), tmp_path / "image.dcm")

    with pytest.raises(GiveUp, match="64 x 48 pixels; the limit is 1000"):
        load(path, pixels_max=1000)
    with pytest.raises(GiveUp, match="bytes; the limit is 100"):
        load(path, bytes_max=100)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"\xff\xd8\x00\x00\x00\x00", b"\xff\x4f\xff\x51\0", b"GIF89a"]
)
def test_a_codestream_of_no_kind_has_no_size(content: bytes):
    assert declared_size(content) is None


@given(st.binary(max_size=64))
def test_a_codestream_of_any_bytes_gives_a_size_or_none(content: bytes):
    said = declared_size(b"\xff\xd8" + content)

    assert said is None or len(said) == 2


@given(st.floats(-5000, 5000), st.floats(1, 10_000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
def test_a_window_is_pydicoms_window(center: float, width: float, function: str):
    values = np.arange(4096, dtype=np.uint16)
    header = Dataset()
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 12, 0
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function

    with quietly(), np.errstate(over="ignore"):
        theirs = apply_windowing(values, header) / 4095

    assert np.allclose(
        window(values.astype(np.float64), header.WindowCenter, header.WindowWidth, function), theirs
    )


FILES = [
    as_bytes(a_radiograph(window=(2000, 3000), transfer_syntax=syntax))
    for syntax in (
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
    )
]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.sampled_from(FILES),
    bites=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
    cut=st.floats(0, 0.5),
)
def test_a_mutilated_file_gives_an_image_or_a_reason(
    content: bytes, bites: list[tuple[float, int]], cut: float, tmp_path: Path
):
    path = tmp_path / "image.dcm"
    path.write_bytes(mutilated(content, bites, cut))

    try:
        said: object = load(path).pixels.size
    except GiveUp as refusal:
        said = refusal.reason
    assert said


@pytest.mark.data
def test_every_real_file_is_rendered_or_refused_in_time():
    for path in sorted(path for path in real_data("dicom").glob("*/*") if path.is_file()):
        started = time.process_time()
        try:
            image = load(path)
        except GiveUp as refusal:
            said: object = refusal.reason
        else:
            said = image.pixels.dtype == np.uint16 and np.ptp(image.pixels) > 0
        assert said, path
        assert time.process_time() - started < 15, path


def a_row_we_must_decode(row: dict[str, str]) -> bool:
    """Radiographs and the like that the reference decoded with a decoder that we have, too."""
    is_jpeg_lossy = row["transfer_syntax_uid"].endswith(("4.50", "4.51"))  # the reference used another one
    is_single = row["frames"] in ("", "1")
    return row["pixel_result"].startswith("decoded") and not is_jpeg_lossy and is_single


@pytest.mark.data
def test_real_pixels_are_decoded_to_the_very_values_of_the_reference():
    with (real_data("dicom") / "manifest.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if a_row_we_must_decode(row)]

    assert len(rows) > 40
    for row in rows:
        dataset = read_whole(real_data("dicom", *row["file"].split("/")), bytes_max=2**25)
        with quietly():
            decoded = pixel_array(dataset)
        assert (
            hashlib.sha256(np.ascontiguousarray(decoded).tobytes()).hexdigest() == row["pixel_array_sha256"]
        ), row


@pytest.mark.data
@pytest.mark.parametrize("name", ["plj-966_fixed", "dtf-RG1_J2KI", "dwv-gdcm-CR-MONO1-10-chest"])
def test_a_real_chest_of_monochrome1_has_a_bright_spine_and_dark_lungs(name: str):
    pixels = load(real_data("dicom", "cr-dx", f"{name}.dcm")).pixels
    rows, columns = pixels.shape
    middle = slice(int(rows * 0.25), int(rows * 0.5))

    spine = pixels[middle, int(columns * 0.47) : int(columns * 0.53)].mean()
    right_lung = pixels[middle, int(columns * 0.15) : int(columns * 0.35)].mean()

    assert spine > right_lung
