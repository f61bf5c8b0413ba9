"""The boxes as masks."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import Segmentation
from hypothesis import given
from hypothesis import strategies as st

from agent.outputs.segmentation import mask_of
from inference.reading import Box, Finding, Status
from tests.outputs.drafts import (
    DEMO,
    a_box,
    a_full_reading,
    a_reading,
    a_source,
    an_effusion,
    built,
    groups,
    named,
    sources_of,
    the_one,
)
from tests.outputs.validators import dciodvfy_errors, written

KIND = "segmentation"


def test_each_image_with_a_box_has_a_segmentation_of_its_own():
    frontal, lateral = a_source(), a_source(view="LL", rows=300)
    reading = a_reading(an_effusion(a_box(frontal), a_box(lateral)))

    made = built(KIND, sources_of(frontal, lateral, a_source(number=9)), reading)

    assert [one.Rows for one in made] == [256, 300]
    sources = [one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in made]
    assert sources == [frontal.SOPInstanceUID, lateral.SOPInstanceUID]


def test_without_a_box_there_is_no_segmentation():
    assert built(KIND, sources_of(a_source()), a_reading(Finding("edema", Status.PRESENT))) == ()


def test_the_mask_is_the_box_and_nothing_else():
    header = a_source()

    made = Segmentation.from_dataset(the_one(KIND, header))

    mask = made.get_pixels_by_source_instance([header.SOPInstanceUID])[0, :, :, 0]  # (rows, columns)
    expected = np.zeros((256, 320), bool)
    expected[120:220, 40:140] = True
    assert (mask.astype(bool) == expected).all()


@given(st.integers(0, 80), st.integers(0, 60), st.integers(8, 40), st.integers(8, 40))
def test_of_two_boxes_that_touch_each_pixel_lies_in_one(left: int, top: int, width: int, height: int):
    edges = [half / 2 for half in (left, left + width, left + 2 * width)]
    rows = (top / 2, (top + height) / 2)

    first, second = (
        mask_of(Box("k", one, rows[0], other, rows[1]), 128, 128) for one, other in pairwise(edges)
    )

    assert not (first & second).any()
    both = mask_of(Box("k", edges[0], rows[0], edges[2], rows[1]), 128, 128)
    assert ((first | second) == both).all()


def test_overlapping_boxes_are_segments_of_their_own():
    header = a_source()
    two = (a_box(header), a_box(header, left=100, right=200))

    made = Segmentation.from_dataset(the_one(KIND, header, a_reading(an_effusion(*two))))

    masks = made.get_pixels_by_source_instance([header.SOPInstanceUID])[0]  # (rows, columns, segments)
    assert masks.sum(axis=(0, 1)).tolist() == [100 * 100, 100 * 100]
    assert made.SegmentsOverlap == "YES"


def test_every_segment_says_that_it_is_a_box_and_a_draft():
    header = a_source()
    made = the_one(KIND, header, a_full_reading(header, engine=DEMO))

    for segment in made.SegmentSequence:
        assert segment.SegmentLabel.endswith("(box)")
        assert "not its outline, and nothing was segmented" in segment.SegmentDescription
        assert segment.SegmentDescription.startswith("AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL; ")
    assert made.ContentDescription == "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL - boxes"
    assert made.ContentLabel == "AI_DEMO_BOXES"


def test_a_segment_is_coded_and_tracked_as_in_the_findings_document():
    header = a_source()
    (group,) = groups(the_one("findings_sr", header))

    (segment,) = the_one(KIND, header).SegmentSequence

    finding = named(group, "121071")[0].ConceptCodeSequence[0]
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == finding.CodeValue
    assert segment.TrackingUID == named(group, "112040")[0].UID
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    weights = segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert "sha256:5a" in weights


@pytest.mark.parametrize(
    "change",
    [{}, {"FrameOfReferenceUID": "1.2.3", "PositionReferenceIndicator": ""}, {"PixelSpacing": [0, 0]}],
)
def test_no_place_in_space_is_made_up_for_a_projection(change: dict[str, object], tmp_path: Path):
    made = the_one(KIND, a_source(modality="CR", change=change))

    assert dciodvfy_errors(written(made, tmp_path)) == []
    for keyword in ("FrameOfReferenceUID", "PlanePositionSequence", "PlaneOrientationSequence"):
        assert keyword not in made
    assert not any(element.keyword == "PixelMeasuresSequence" for element in made.iterall())
