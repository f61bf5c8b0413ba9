"""Where findings point at images: boxes brought inside the image and numbered, once for every output."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from agent.dicom.uids import derived_uid
from agent.outputs.normalise import sop_instance_uid
from agent.outputs.stamp import Sources
from inference.reading import Box, Finding, Reading, Status

BOX_SIDE_PX_MIN = 4
"""A smaller box shows nothing to anybody."""

BOX_SHARE_MAX = 0.98
"""A box over more of the image than this names no place."""


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """One box of one finding on one current image.

    Attributes:
        identifier: "F1" for the first finding, "F1.2" for its second box.
        tracking_uid: the same in every output and every revision of this study's draft.
        box: inside the image, at half pixels: a float32 holds these exactly, so all outputs agree.
        image: the received header.
    """

    identifier: str
    tracking_uid: str
    finding: Finding
    box: Box
    image: Dataset

    @property
    def corners(self) -> list[tuple[float, float]]:
        """(column, row) of a closed outline, clockwise from the top left, the first point repeated."""
        box = self.box
        return [
            (box.left, box.top),
            (box.right, box.top),
            (box.right, box.bottom),
            (box.left, box.bottom),
            (box.left, box.top),
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """All marks of a reading, and a sentence for each box that became none."""

    marks: tuple[Mark, ...]
    dropped: tuple[str, ...]

    def on(self, image: Dataset) -> tuple[Mark, ...]:
        """Gives the marks of one image."""
        return tuple(mark for mark in self.marks if mark.box.image_key == sop_instance_uid(image))


def marks_of(sources: Sources, reading: Reading) -> Marks:
    """Makes the marks of a reading.

    Raises:
        ValueError: if a box lies on an image that is none of the current ones.
    """
    images = {sop_instance_uid(header): header for header in sources.current}
    study_instance_uid = str(sources.current[0].StudyInstanceUID)
    marks: list[Mark] = []
    dropped: list[str] = []
    seen: Counter[tuple[str, str, str]] = Counter()
    for number, finding in enumerate(reading.findings, start=1):
        for index, box in enumerate(finding.boxes):
            if box.image_key not in images:
                raise ValueError(
                    f"a box of {finding.name} lies on {box.image_key}, which is no current image"
                )
            image = images[box.image_key]
            fitted, problem = _fitted(box, image, finding)
            if fitted is None:
                dropped.append(f"A box of {finding.name} on image {box.image_key} is not shown: {problem}.")
                continue
            place = (finding.name, finding.side or "", box.image_key)
            uid = derived_uid("tracking", study_instance_uid, *place, str(seen[place]))
            seen[place] += 1
            identifier = f"F{number}" if len(finding.boxes) == 1 else f"F{number}.{index + 1}"
            marks.append(Mark(identifier, uid, finding, fitted, image))
    return Marks(tuple(marks), tuple(dropped))


def images_of(made: Dataset) -> tuple[str, ...]:
    """Gives the SOP Instance UIDs of the images that a presentation state, segmentation or picture of ours is of;
    () for other objects."""
    if "GraphicAnnotationSequence" not in made:
        return tuple(str(image.ReferencedSOPInstanceUID) for image in made.get("SourceImageSequence") or ())
    return tuple(
        str(image.ReferencedSOPInstanceUID)
        for series in made.ReferencedSeriesSequence
        for image in series.ReferencedImageSequence
    )


def marked_images(made: Dataset) -> tuple[str, ...]:
    """Gives the SOP Instance UIDs of the images on which an object of ours marks places; () for one of words.

    Of a picture, too: what is burned into it cannot be read from it.
    """
    if any("GraphicObjectSequence" in one for one in made.get("GraphicAnnotationSequence") or ()):
        return images_of(made)
    if any("TrackingUID" in segment for segment in made.get("SegmentSequence") or ()):
        return images_of(made)
    if made.SOPClassUID == KeyObjectSelectionDocumentStorage:
        images = (item for item in made.ContentSequence if item.ValueType == "IMAGE")
        return tuple(str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for image in images)
    return tuple(
        str(item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in _regions(made)
    )


def _regions(container: Dataset) -> Iterator[Dataset]:
    """The spatial coordinates below a content item, each selected from the image in its first child."""
    for item in container.get("ContentSequence") or ():
        if item.get("ValueType") == "SCOORD":
            yield item
        else:
            yield from _regions(item)


def _fitted(box: Box, image: Dataset, finding: Finding) -> tuple[Box | None, str]:
    """Gives the box clamped to the image and rounded to half pixels, or None and why not."""
    if finding.status is Status.ABSENT:
        return None, "the finding is called absent"
    columns, rows = int(image.Columns), int(image.Rows)
    left, right = _half(min(box.left, columns)), _half(min(box.right, columns))
    top, bottom = _half(min(box.top, rows)), _half(min(box.bottom, rows))
    if right - left < BOX_SIDE_PX_MIN or bottom - top < BOX_SIDE_PX_MIN:
        return (
            None,
            f"{right - left:g} x {bottom - top:g} pixels inside the image, less than {BOX_SIDE_PX_MIN}",
        )
    if (right - left) * (bottom - top) > BOX_SHARE_MAX * columns * rows:
        return None, f"it covers more than {BOX_SHARE_MAX:.0%} of the image"
    return Box(box.image_key, left, top, right, bottom), ""


def _half(coordinate: float) -> float:
    return round(coordinate * 2) / 2
