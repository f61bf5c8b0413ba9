"""The picture: Secondary Capture (PS3.3 A.8.1) with the boxes burned in, for systems that show no more."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from agent.outputs.heading import finished, heading, long_string
from agent.outputs.labels import Place, free_place
from agent.outputs.marks import Mark, Marks, marks_of
from agent.outputs.normalise import evidence, normalised, pixel_aspect, sop_instance_uid
from agent.outputs.sr import concept
from agent.outputs.stamp import Narrative, Sources, Stamp
from agent.outputs.wording import label, named_without_a_place, picture_banner
from inference.case import Image
from inference.reading import Box, EngineIdentity, Finding, Reading, Status

KIND = "secondary_capture"

SIDE_PX_MAX = 2048
"""Longest side of the film on a picture; 2048 x 2048 in colour are 12 MB."""

SIDE_PX_MIN = 512
"""A smaller film is enlarged, or nobody could read its labels."""

COLOURS = ("#ffd166", "#06d6a0", "#ef476f", "#4cc9f0", "#f78c6b", "#c77dff")
"""One for each box in turn; all stand out from grey."""

_PAPER, _INK = "#101010", "#ffd166"
_LOSSY_KEYWORDS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the film lies on the picture, all in pixels of the picture.

    The film has strips above and below it for words, so that they cover nothing. A point (column, row) of the
    stored image lies at (column * column_scale, top_px + row * row_scale): pixels of the picture are square.
    """

    width_px: int
    film_height_px: int
    top_px: int
    bottom_px: int
    column_scale: float
    row_scale: float

    @property
    def height_px(self) -> int:
        """Height of the whole picture."""
        return self.top_px + self.film_height_px + self.bottom_px

    def place(self, box: Box) -> tuple[float, float, float, float]:
        """Gives left, top, right, bottom of a box on the picture."""
        return (
            box.left * self.column_scale,
            self.top_px + box.top * self.row_scale,
            box.right * self.column_scale,
            self.top_px + box.bottom * self.row_scale,
        )


def build_secondary_captures(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one picture for each current image with boxes; if there is none, one of the first frontal image; and
    one for each image that had one before.

    Those without boxes carry only the words: who sees nothing but pictures knows that a draft exists, and that what
    was drawn on an image does not hold any more. They come first, since viewers show the last of a series.

    Raises:
        ValueError: if the pixels of an image to be drawn are not in `sources.pixels`, or of another size.
    """
    marks = marks_of(sources, reading)
    shown = pictured(sources, marks)
    uids = {sop_instance_uid(header) for header in shown}
    again = [header for header in sources.images_that_had(KIND) if sop_instance_uid(header) not in uids]
    return tuple(
        _capture(index, header, marks, sources, reading, stamp)
        for index, header in enumerate((*again, *shown))
    )


def pictured(sources: Sources, marks: Marks) -> list[Dataset]:
    """Gives the current images of which pictures are made: those with boxes, else the first frontal one."""
    return [header for header in sources.current if marks.on(header)] or [_first_frontal(sources)]


def _first_frontal(sources: Sources) -> Dataset:
    for header in sources.current:
        image = sources.pixels.get(sop_instance_uid(header))
        if image is not None and image.view.is_frontal:
            return header
    return sources.current[0]


def _capture(
    index: int, header: Dataset, marks: Marks, sources: Sources, reading: Reading, stamp: Stamp
) -> Dataset:
    pixels = picture_of(header, marks, sources, reading, stamp)
    capture = secondary_capture(pixels, index, header, sources, reading.engine, stamp)
    _describe(capture, header, stamp)
    return finished(capture, header, stamp)


def secondary_capture(
    pixels: NDArray[np.uint8],
    index: int,
    header: Dataset,
    sources: Sources,
    engine: EngineIdentity,
    stamp: Stamp,
) -> Dataset:
    """Makes the object of a picture with words in it, (rows, columns, 3) RGB, still to be described and finished."""
    capture = SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=str(evidence(header).StudyInstanceUID),
        patient_orientation=("L", "F"),  # highdicom wants one
        **dict.fromkeys(("patient_id", "patient_name", "accession_number", "study_id"), ""),
        **heading(KIND, index, sources, engine, stamp),
    )
    capture.ImageType = ["DERIVED", "SECONDARY", "AI"]
    capture.BurnedInAnnotation = "YES"
    capture.BodyPartExamined = "CHEST"
    capture.PatientOrientation = ""
    return capture


def maker(engine: EngineIdentity, stamp: Stamp) -> str:
    """Says on a picture what made it, and when."""
    return f"{engine.model_name} {engine.version}, {stamp.now:%Y-%m-%d %H:%M %z}"


def picture_of(
    header: Dataset,
    marks: Marks,
    sources: Sources,
    reading: Reading,
    stamp: Stamp,
    *,
    side_px_max: int = SIDE_PX_MAX,
) -> NDArray[np.uint8]:
    """Draws one current image with its boxes and words, (rows, columns, 3) uint8 RGB.

    The words name the findings that have no place on any image: who sees pictures alone would take them for absent.

    Raises:
        ValueError: if the image's pixels are not in `sources.pixels`, or of another size.
    """
    uid = sop_instance_uid(header)
    image = sources.pixels.get(uid)
    if image is None:
        raise ValueError(f"no rendered pixels for image {uid}; a picture shows them")
    if (image.rows, image.columns) != (int(header.Rows), int(header.Columns)):
        raise ValueError(
            f"image {uid} has {header.Rows} x {header.Columns} pixels, rendered {image.pixels.shape}"
        )
    foot = maker(reading.engine, stamp)
    if not marks.on(header):
        foot = f"No place was marked. {foot}"
    layout = layout_of(header, side_px_max=side_px_max)
    placeless = _lines(_without_a_place(reading, marks), layout)
    layout = replace(layout, bottom_px=layout.bottom_px + len(placeless) * _leading_px(layout))
    return draw(image, layout, marks.on(header), reading.engine, "\n".join([*placeless, foot]))


def _without_a_place(reading: Reading, marks: Marks) -> tuple[Finding, ...]:
    placed = {mark.finding for mark in marks.marks}
    return tuple(one for one in reading.findings if one.status is not Status.ABSENT and one not in placed)


def _lines(placeless: tuple[Finding, ...], layout: Layout) -> list[str]:
    """Lines of about the width of the picture; `_draw_words` makes one that is longer fit."""
    characters = max(20, round(1.7 * layout.width_px / _letter_px(layout.width_px)))
    return textwrap.wrap(named_without_a_place(placeless), characters) if placeless else []


def _describe(capture: Dataset, header: Dataset, stamp: Stamp) -> None:
    known = normalised(header)
    capture.ConversionType = "WSD"
    capture.PatientOrientation = known.get("PatientOrientation") or ""
    capture.DerivationDescription = f"AI draft findings drawn on the image; {stamp.image_rendering}"[:1024]
    source = Dataset()
    source.ReferencedSOPClassUID = known.SOPClassUID
    source.ReferencedSOPInstanceUID = known.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [concept(codes.DCM.SourceImageForImageProcessingOperation)]
    capture.SourceImageSequence = [source]
    if known.get("LossyImageCompression") == "01":
        # What was lost is lost in every image made from it, and viewers must be able to say so (C.7.6.1.1.5).
        for keyword in _LOSSY_KEYWORDS:
            if keyword in known:
                capture[keyword] = known[keyword]
    view = known.get("ViewPosition")
    capture.SeriesDescription = long_string(capture.SeriesDescription)
    capture.ImageComments = f"Drawn from image {known.SOPInstanceUID}{f', view {view}' if view else ''}"


def layout_of(header: Dataset, *, side_px_max: int = SIDE_PX_MAX) -> Layout:
    """Works out the picture of one image: square pixels, its longest side within SIDE_PX_MIN..side_px_max."""
    rows, columns = int(header.Rows), int(header.Columns)
    aspect = float(pixel_aspect(header))
    # The larger pixel side is stretched, never the smaller one shrunk: that would lose detail.
    width, height = (columns, rows * aspect) if aspect >= 1 else (columns / aspect, rows)
    longest = max(width, height)
    scale = min(side_px_max / longest, max(1.0, SIDE_PX_MIN / longest))
    width_px, film_height_px = max(1, round(width * scale)), max(1, round(height * scale))
    strip_px = 2 * _letter_px(width_px)
    return Layout(width_px, film_height_px, strip_px, strip_px, width_px / columns, film_height_px / rows)


def draw(
    image: Image, layout: Layout, marks: tuple[Mark, ...], engine: EngineIdentity, foot: str
) -> NDArray[np.uint8]:
    """Draws film, boxes, labels and words; (rows, columns, 3) uint8 RGB. No patient's name is ever in it."""
    grey = Picture.fromarray((image.pixels >> 8).astype(np.uint8))  # (rows, columns)
    film = grey.resize((layout.width_px, layout.film_height_px), Picture.Resampling.BILINEAR)
    picture = Picture.new("RGB", (layout.width_px, layout.height_px), _PAPER)
    picture.paste(film.convert("RGB"), (0, layout.top_px))
    pen = ImageDraw.Draw(picture)
    letter_px = _letter_px(layout.width_px)
    coloured = [(mark, COLOURS[number % len(COLOURS)]) for number, mark in enumerate(marks)]
    for mark, colour in coloured:
        _draw_outline(pen, mark, layout, colour)
    taken: list[Place] = []
    for mark, colour in coloured:
        taken.append(
            _draw_label(pen, label(mark.identifier, mark.finding, engine), mark, layout, colour, taken)
        )
    _draw_words(pen, picture_banner(engine), letter_px // 2, layout, letter_px)
    foot_top_px = layout.top_px + layout.film_height_px + letter_px // 2
    for number, line in enumerate(foot.encode("ascii", "replace").decode().split("\n")):
        _draw_words(pen, line, foot_top_px + number * _leading_px(layout), layout, letter_px)
    return np.asarray(picture)


def _draw_outline(pen: ImageDraw.ImageDraw, mark: Mark, layout: Layout, colour: str) -> None:
    left, top, right, bottom = layout.place(mark.box)
    # Corners are edges of pixels; the pen counts pixels, and its last one lies inside the box.
    left_px, top_px = round(left), round(top)
    edges = (left_px, top_px, max(left_px, round(right) - 1), max(top_px, round(bottom) - 1))
    pen.rectangle(edges, outline=colour, width=_thickness_px(layout))


def _draw_label(
    pen: ImageDraw.ImageDraw, words: str, mark: Mark, layout: Layout, colour: str, taken: Sequence[Place]
) -> Place:
    """Writes the label above its box, or below its upper edge, or where the next line is free; gives its place."""
    left, top, _, _ = layout.place(mark.box)
    font = ImageFont.load_default(size=_letter_px(layout.width_px))
    width, height = pen.textlength(words, font=font), 1.2 * _letter_px(layout.width_px)
    above = top - height
    line_top = above if above >= layout.top_px else top + _thickness_px(layout)
    line_left = max(0.0, min(left, layout.width_px - width))
    wish = (line_left, line_top, line_left + width, line_top + height)
    place = free_place(wish, taken, layout.top_px, layout.top_px + layout.film_height_px)
    pen.rectangle((place[0], place[1], place[2], place[3] - 1), fill=_PAPER)
    pen.text((place[0], place[1]), words, fill=colour, font=font)
    return place


def _thickness_px(layout: Layout) -> int:
    return max(2, layout.width_px // 400)


def _draw_words(pen: ImageDraw.ImageDraw, words: str, top_px: int, layout: Layout, letter_px: int) -> None:
    """Writes one line in a strip, as large as fits the width."""
    room_px = layout.width_px - 8
    size = float(letter_px)
    # Step by step: letters lie on whole pixels, so half the size is seldom half the width.
    while size > 1 and pen.textlength(words, font=ImageFont.load_default(size=size)) > room_px:
        size -= 0.25
    pen.text((4, top_px), words, fill=_INK, font=ImageFont.load_default(size=size))


def _leading_px(layout: Layout) -> int:
    return _letter_px(layout.width_px) * 3 // 2


def _letter_px(width_px: int) -> int:
    return max(12, width_px // 50)
