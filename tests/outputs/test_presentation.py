"""The overlay."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from agent.dicom.pixels import render
from agent.errors import GiveUp
from agent.outputs import Sources, needs_pixels
from agent.outputs.presentation import first_voi
from inference.reading import Finding, Status
from tests.agent.test_decoding import a_baseline_jpeg
from tests.builders import chest_pixels
from tests.outputs.drafts import (
    DEMO,
    SOURCES,
    a_box,
    a_reading,
    a_source,
    an_effusion,
    as_received,
    built,
    groups,
    named,
    sources_of,
    the_one,
)
from tests.outputs.validators import dciodvfy_errors, dcmtk, written

KIND = "presentation_state"


def labels(state: Dataset) -> list[Dataset]:
    return list(state.GraphicAnnotationSequence[0].TextObjectSequence)


def window_of(header: Dataset) -> tuple[float, float]:
    item = first_voi(header)
    assert item is not None
    return item.WindowCenter, item.WindowWidth


def test_each_image_with_a_box_has_a_state_of_its_own():
    frontal, lateral, bare = a_source(), a_source(view="LL"), a_source(number=9)
    reading = a_reading(an_effusion(a_box(frontal), a_box(lateral)))

    states = built(KIND, sources_of(frontal, lateral, bare), reading)

    referenced = [
        state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID
        for state in states
    ]
    assert referenced == [frontal.SOPInstanceUID, lateral.SOPInstanceUID]
    assert [state.InstanceNumber for state in states] == [1, 2]
    assert states[0].SeriesInstanceUID == states[1].SeriesInstanceUID


def test_without_a_box_there_is_no_state():
    assert built(KIND, sources_of(a_source()), a_reading(Finding("edema", Status.PRESENT))) == ()


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_the_polarity_is_the_images(photometric: str, shape: str):
    assert the_one(KIND, a_source(photometric=photometric)).PresentationLUTShape == shape


def shown_by_dcmtk(header: Dataset, folder: Path) -> NDArray[np.float64]:
    """The greys, 0 to 255, that dcmtk shows of an image through its state."""
    state = written(the_one(KIND, header), folder)
    header.save_as(folder / "image.dcm")
    dcmtk("dcmp2pgm", "-p", state, folder / "image.dcm", folder / "seen.pgm")
    return np.asarray(Image.open(folder / "seen.pgm")).astype(float)


@pytest.mark.peers
@pytest.mark.parametrize("modality", ["DX", "CR"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_shows_the_lungs_dark_through_the_state(photometric: str, modality: str, tmp_path: Path):
    stored = chest_pixels(256, 320)
    shown = 4095 - stored if photometric == "MONOCHROME1" else stored
    header = a_source(photometric=photometric, modality=modality, pixels=shown)

    seen = shown_by_dcmtk(header, tmp_path)  # (rows, columns)

    lung, mediastinum = seen[110:146, 70:100].mean(), seen[110:146, 150:170].mean()
    assert lung < mediastinum - 40


@pytest.mark.peers
@pytest.mark.parametrize(
    "source", [name for name in SOURCES if "Korean" not in name and "Japanese" not in name]
)
def test_dcmtk_finds_no_fault_in_a_state(source: str, tmp_path: Path):
    # A name of several bytes is a fault to dcmtk 3.6.7, which knows no UTF-8.
    header = as_received(SOURCES[source]())
    header.PatientName = "A^B"

    assert "Test passed." in dcmtk("dcmpschk", written(the_one(KIND, header), tmp_path))


def test_the_outline_is_that_of_the_findings_document_with_its_tracking_uid():
    header = a_source()
    (region,) = named(groups(the_one("findings_sr", header))[0], "111030")
    (tracking,) = named(groups(the_one("findings_sr", header))[0], "112040")

    (outline,) = the_one(KIND, header).GraphicAnnotationSequence[0].GraphicObjectSequence

    assert list(outline.GraphicData) == list(region.GraphicData)
    assert outline.TrackingUID == tracking.UID
    assert (outline.GraphicType, outline.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")


@pytest.mark.parametrize(
    "edges", [(0, 0, 60, 40), (260, 0, 320, 40), (0, 200, 60, 256), (300, 240, 320, 256)]
)
def test_labels_stay_inside_the_image(edges: tuple[int, int, int, int]):
    header = a_source()
    left, top, right, bottom = edges
    box = a_box(header, left=left, top=top, right=right, bottom=bottom)

    state = the_one(KIND, header, a_reading(an_effusion(box)))

    for text in labels(state):
        (text_left, text_top), (text_right, text_bottom) = (
            text.BoundingBoxTopLeftHandCorner,
            text.BoundingBoxBottomRightHandCorner,
        )
        assert 0 <= text_left < text_right <= 320
        assert 0 <= text_top < text_bottom <= 256


def test_findings_in_one_place_have_their_labels_one_above_the_other():
    header = a_source()
    names = ("edema", "consolidation", "pneumonia")
    findings = [Finding(name, Status.PRESENT, boxes=(a_box(header),)) for name in names]

    (_, *written_there) = labels(the_one(KIND, header, a_reading(*findings)))

    tops = [text.BoundingBoxTopLeftHandCorner[1] for text in written_there]
    assert tops == [120 - 8, 120 - 16, 120 - 24]


def test_the_overlay_says_that_it_is_a_draft_and_a_demo_that_it_is_one():
    header = a_source()
    ours = the_one(KIND, header)
    demo = the_one(KIND, header, a_reading(an_effusion(a_box(header)), engine=DEMO))

    assert [text.UnformattedTextValue for text in labels(ours)] == [
        "AI DRAFT - NOT VERIFIED",
        "F1 Pleural effusion R",
    ]
    assert all("DEMO" in text.UnformattedTextValue for text in labels(demo))
    assert (ours.ContentLabel, demo.ContentLabel) == ("AI_FINDINGS", "AI_DEMO_FINDINGS")
    assert (ours.GraphicLayerSequence[0].GraphicLayer, demo.GraphicLayerSequence[0].GraphicLayer) == (
        "AI",
        "DEMO_AI",
    )


def test_the_first_window_of_the_image_is_shown():
    header = a_source(change={"WindowCenter": [1000, 2000], "WindowWidth": [500, 600]})

    (voi,) = the_one(KIND, header).SoftcopyVOILUTSequence

    assert (voi.WindowCenter, voi.WindowWidth) == (1000, 500)


def test_a_window_that_shows_nothing_is_passed_over():
    header = a_source(change={"WindowCenter": [1000, 2000], "WindowWidth": [0, 600]})

    assert window_of(header) == (2000, 600)


def a_table(bits: int, entries: list[int]) -> Dataset:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [len(entries), 0, bits])
    table.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return table


@pytest.mark.peers
@pytest.mark.parametrize("bits", [12, 16])
def test_dcmtk_shows_through_a_voi_lut_the_greys_of_our_rendering(bits: int, tmp_path: Path):
    rising = np.rint(np.linspace(0, 1, 4096) ** 2 * (2**bits - 1)).astype(int).tolist()
    header = a_source(change={"VOILUTSequence": [a_table(bits, rising)]})

    seen = shown_by_dcmtk(header, tmp_path)  # (rows, columns)

    assert np.abs(seen - render(header).pixels / 257).max() < 2


@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_voi_lut_goes_before_a_window(transfer_syntax: str):
    table = a_table(16, [0, 65535])
    header = a_source(transfer_syntax=transfer_syntax, change={"VOILUTSequence": [table]})

    (voi,) = the_one(KIND, header).SoftcopyVOILUTSequence

    assert list(voi.VOILUTSequence[0].LUTDescriptor) == [2, 0, 16]
    assert bytes(voi.VOILUTSequence[0].LUTData) == table.LUTData
    assert "WindowCenter" not in voi


def test_a_voi_lut_of_12_bits_is_stretched_to_the_16_that_a_state_may_have(tmp_path: Path):
    header = a_source(change={"VOILUTSequence": [a_table(12, [0, 2048, 4095])]})

    state = the_one(KIND, header)

    table = state.SoftcopyVOILUTSequence[0].VOILUTSequence[0]
    assert list(table.LUTDescriptor) == [3, 0, 16]
    assert np.frombuffer(table.LUTData, "<u2").tolist() == [0, 32776, 65535]
    assert dciodvfy_errors(written(state, tmp_path)) == []


@pytest.mark.peers
def test_dcmtk_shows_through_a_modality_lut_the_greys_of_our_rendering(tmp_path: Path):
    table = a_table(16, np.rint(np.linspace(1, 0, 4096) ** 2 * 3000).astype(int).tolist())
    table.ModalityLUTType = "OD"
    window = {"WindowCenter": 1500, "WindowWidth": 2000}
    header = a_source(modality="CR", change={"ModalityLUTSequence": [table], **window})

    seen = shown_by_dcmtk(header, tmp_path)  # (rows, columns)

    assert np.abs(seen - render(header).pixels / 257).max() < 2


@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_modality_lut_goes_along_and_takes_the_place_of_a_rescale(transfer_syntax: str, tmp_path: Path):
    table = a_table(16, [65535, 300, 0])
    table.ModalityLUTType = "HU"
    rescaled = {"RescaleSlope": 2, "RescaleIntercept": 100, "RescaleType": "US"}
    header = a_source(
        modality="CR", transfer_syntax=transfer_syntax, change={"ModalityLUTSequence": [table], **rescaled}
    )

    state = the_one(KIND, header)

    (lut,) = state.ModalityLUTSequence
    assert (list(lut.LUTDescriptor), bytes(lut.LUTData)) == ([3, 0, 16], table.LUTData)
    assert lut.ModalityLUTType == "HU"
    assert not set(rescaled) & set(state.dir())
    assert window_of(header) == ((65535 + 1) / 2, 65536)
    assert dciodvfy_errors(written(state, tmp_path)) == []


def test_a_long_modality_lut_of_signed_values_is_described_as_one():
    table = Dataset()
    table.ModalityLUTType = "OD"
    table.add_new("LUTDescriptor", "SS", [40000, -2000, 16])
    table.add_new("LUTData", "OW", np.arange(40000, dtype="<u2").tobytes())
    header = a_source(modality="CR", change={"PixelRepresentation": 1, "ModalityLUTSequence": [table]})

    state = the_one(KIND, header)

    (lut,) = state.ModalityLUTSequence
    assert (lut["LUTDescriptor"].VR, list(lut.LUTDescriptor)) == ("SS", [40000, -2000, 16])
    assert len(lut.LUTData) == 80000


def test_a_modality_lut_that_is_none_leaves_the_rescale():
    header = a_source(change={"ModalityLUTSequence": [Dataset()], "RescaleSlope": 2, "RescaleIntercept": 7})

    state = the_one(KIND, header)

    assert "ModalityLUTSequence" not in state
    assert (state.RescaleSlope, state.RescaleIntercept) == (2, 7)


def test_an_image_without_a_window_is_shown_over_the_range_of_its_values():
    pixels = np.full((256, 320), 500, np.uint16)
    pixels[:128] = 1500
    header = a_source(modality="CR", pixels=pixels)
    header.RescaleSlope, header.RescaleIntercept = 2, 100

    assert window_of(header) == ((1100 + 3100 + 1) / 2, 2001)


def test_without_pixels_the_range_comes_from_the_header_or_the_pixels_are_asked_for():
    bare = a_source(modality="CR", missing=("PixelData",))
    told = a_source(modality="CR", missing=("PixelData",))
    told.SmallestImagePixelValue, told.LargestImagePixelValue = 10, 109

    assert needs_pixels(bare)
    assert not needs_pixels(told)
    assert window_of(told) == (60, 100)
    assert "SoftcopyVOILUTSequence" not in the_state_of(bare)


def the_state_of(header: Dataset) -> Dataset:
    (state,) = built(KIND, Sources((header,)), a_reading(an_effusion(a_box(header))))
    return state


def test_a_compressed_image_shows_the_range_of_the_same_values():
    plain = a_source(modality="CR")

    compressed = a_source(modality="CR", transfer_syntax="1.2.840.10008.1.2.4.80")

    assert window_of(compressed) == window_of(plain)


def test_pixels_that_kill_their_decoder_do_not_end_the_process_that_asks_for_their_range():
    with pytest.raises(GiveUp, match="the decoder died of it"):
        first_voi(a_baseline_jpeg(b"999", at=132))


def test_pixels_that_are_not_square_are_said_to_be_so():
    header = SOURCES["CR with pixels twice as high as wide, no study date"]()

    (area,) = the_one(KIND, header).DisplayedAreaSelectionSequence

    assert list(area.PresentationPixelAspectRatio) == [2, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [320, 256]
