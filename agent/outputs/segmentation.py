"""The boxes as masks: Segmentation (PS3.3 A.51), BINARY, one for each current image with boxes.

For systems that take nothing else. A box is no outline of an organ or a finding, and each segment says so.
"""

from math import ceil

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from agent.dicom.uids import derived_uid
from agent.outputs.codes import finding_code, site_code
from agent.outputs.heading import finished, heading, long_string
from agent.outputs.marks import Mark, marks_of
from agent.outputs.normalise import evidence, normalised
from agent.outputs.sr import concept
from agent.outputs.stamp import Narrative, Sources, Stamp
from agent.outputs.wording import banner, label, nothing_marked_now, phrase
from inference.reading import Box, EngineIdentity, Reading

KIND = "segmentation"

NO_OUTLINE = "A box roughly around what the model named: not its outline, and nothing was segmented."
"""Segment Description of every segment."""


def build_segmentations(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one Segmentation for each current image with boxes, one segment for each box; and one for each image
    that had one before, with an empty segment that says that no place is marked any more."""
    marks = marks_of(sources, reading)
    marked = [header for header in sources.current if marks.on(header)]
    bare = [header for header in sources.images_that_had(KIND) if not marks.on(header)]
    return tuple(
        _segmentation(index, header, marks.on(header), sources, reading.engine, stamp)
        for index, header in enumerate((*marked, *bare))
    )


def mask_of(box: Box, rows: int, columns: int) -> NDArray[np.bool_]:
    """Fills a box, (rows, columns): a pixel belongs to it if its centre does."""
    mask = np.zeros((rows, columns), bool)
    # The centre of pixel n lies at n + 0.5; of two boxes that share an edge each pixel is in one.
    top, bottom = ceil(box.top - 0.5), ceil(box.bottom - 0.5)
    left, right = ceil(box.left - 0.5), ceil(box.right - 0.5)
    mask[top:bottom, left:right] = True
    return mask


def _segmentation(
    index: int,
    header: Dataset,
    marks: tuple[Mark, ...],
    sources: Sources,
    engine: EngineIdentity,
    stamp: Stamp,
) -> Dataset:
    image = evidence(header)
    # A projection lies in no space. With the UID alone highdicom would look for a position and a plane, and it
    # would copy a Pixel Spacing of 0 by 0, which real radiographs have, into a place where it is an error.
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "PixelSpacing"):
        if keyword in image:
            delattr(image, keyword)
    rows, columns = int(header.Rows), int(header.Columns)
    masks = [mask_of(mark.box, rows, columns) for mark in marks] or [np.zeros((rows, columns), bool)]
    segments = [_segment(number, mark, engine) for number, mark in enumerate(marks, start=1)]
    segmentation = Segmentation(
        [image],
        np.stack(masks, axis=-1)[np.newaxis],  # (1, rows, columns, segments)
        SegmentationTypeValues.BINARY,
        segments or [_empty_segment(engine, stamp)],
        omit_empty_frames=False,
        content_label="AI_DEMO_BOXES" if engine.is_demo else "AI_BOXES",
        content_description=f"{banner(engine)} - boxes",
        content_creator_name="AI^CXR agent",
        **heading(KIND, index, sources, engine, stamp),
    )
    _derive_dimension_uid(segmentation)
    segmentation.PatientOrientation = normalised(header).get("PatientOrientation") or ""
    segmentation.BodyPartExamined = "CHEST"
    # Type 1 here (C.7.5.2); the device's UID is as much its own as a serial number.
    segmentation.DeviceSerialNumber = segmentation.DeviceSerialNumber or stamp.device.uid
    return finished(segmentation, header, stamp)


def _segment(number: int, mark: Mark, engine: EngineIdentity) -> SegmentDescription:
    finding = mark.finding
    site = site_code(finding.name)
    segment = SegmentDescription(
        number,
        long_string(f"{label(mark.identifier, finding, engine)} (box)"),
        concept(codes.SCT.MorphologicallyAbnormalStructure),
        concept(finding_code(finding.name)),
        SegmentAlgorithmTypeValues.AUTOMATIC,
        _algorithm(engine),
        tracking_uid=mark.tracking_uid,
        tracking_id=mark.identifier,
        anatomic_regions=[concept(site)] if site is not None else None,
    )
    said = (banner(engine), phrase(finding), finding.status.value, NO_OUTLINE)
    segment.SegmentDescription = "; ".join(said)
    return segment


def _empty_segment(engine: EngineIdentity, stamp: Stamp) -> SegmentDescription:
    """A Segmentation has a segment at least (PS3.3 C.8.20.2). Without tracking: it is of no finding."""
    abnormal = concept(codes.SCT.MorphologicallyAbnormalStructure)
    words = nothing_marked_now(stamp.revision)
    segment = SegmentDescription(
        1, words, abnormal, abnormal, SegmentAlgorithmTypeValues.AUTOMATIC, _algorithm(engine)
    )
    segment.SegmentDescription = f"{banner(engine)}; {words}"
    return segment


def _algorithm(engine: EngineIdentity) -> AlgorithmIdentificationSequence:
    return AlgorithmIdentificationSequence(
        long_string(engine.name),
        codes.DCM.ArtificialIntelligence,
        long_string(engine.version),
        parameters={"model": engine.model_name, "weights": engine.weights_digest},
    )


def _derive_dimension_uid(segmentation: Dataset) -> None:
    """highdicom draws it; the same object must have the same bytes."""
    uid = derived_uid("dimension", str(segmentation.SOPInstanceUID))
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
