"""The overlay: one Grayscale Softcopy Presentation State (PS3.3 A.33.1) for each current image with boxes."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from highdicom import PresentationLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from agent.dicom.greyscale import first_lut, levels_of, numbers
from agent.dicom.pixels import MONOCHROME, photometric_interpretation, stored_values
from agent.outputs.heading import finished, heading
from agent.outputs.labels import Place, free_place
from agent.outputs.marks import Mark, marks_of
from agent.outputs.normalise import evidence, normalised, pixel_aspect
from agent.outputs.stamp import Narrative, Sources, Stamp
from agent.outputs.wording import banner, label, nothing_marked_now
from inference.reading import EngineIdentity, Reading

KIND = "presentation_state"

LABEL_SHARE = 0.03
"""Height of a label over the height of the image."""

_PIXEL = AnnotationUnitsValues.PIXEL
_VOI_KEYWORDS = (
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "VOILUTSequence",
)
_RESCALE_KEYWORDS = ("RescaleSlope", "RescaleIntercept", "RescaleType")


def build_presentation_states(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one presentation state for each current image with boxes, and for each that had one before.

    That says that no place is marked any more: of a series, viewers go on drawing the last state of each image.
    One each, since polarity is of the whole state. None for priors: a presentation state names no study, so
    it can only point into its own. None for a film that is stored in colour: this one is for monochrome images.
    """
    marks = marks_of(sources, reading)
    marked = [header for header in sources.current if _is_monochrome(header) and marks.on(header)]
    bare = [header for header in sources.images_that_had(KIND) if not marks.on(header)]
    return tuple(
        _state(index, header, marks.on(header), sources, reading.engine, stamp)
        for index, header in enumerate((*marked, *bare))
    )


def _state(
    index: int,
    header: Dataset,
    marks: tuple[Mark, ...],
    sources: Sources,
    engine: EngineIdentity,
    stamp: Stamp,
) -> Dataset:
    image = evidence(header)
    modality_lut = _modality_lut(header)
    # highdicom would copy every window, and we show the image as it first opens; and the rescale beside a table.
    for keyword in (*_VOI_KEYWORDS, *(_RESCALE_KEYWORDS if modality_lut is not None else ())):
        if keyword in image:
            delattr(image, keyword)
    layer = GraphicLayer("DEMO_AI" if engine.is_demo else "AI", 1, f"{banner(engine)} - AI findings")
    annotation = GraphicAnnotation(
        [image],
        layer,
        graphic_objects=[_outline(mark) for mark in marks] or None,
        text_objects=[
            _banner_text(header, engine),
            *_label_texts(marks, engine),
            *([] if marks else [_second_line(nothing_marked_now(stamp.revision), header)]),
        ],
    )
    state = GrayscaleSoftcopyPresentationState(
        [image],
        content_label="AI_DEMO_FINDINGS" if engine.is_demo else "AI_FINDINGS",
        content_description=banner(engine),
        content_creator_name="AI^CXR agent",
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        presentation_lut_transformation=PresentationLUTTransformation(_shape(header)),
        **heading(KIND, index, sources, engine, stamp),
    )
    if modality_lut is not None:
        state.ModalityLUTSequence = [modality_lut]
    voi = first_voi(header)
    if voi is not None:
        state.SoftcopyVOILUTSequence = [voi]
    aspect = pixel_aspect(header)
    area = state.DisplayedAreaSelectionSequence[0]
    area.PresentationPixelAspectRatio = [aspect.numerator, aspect.denominator]
    # Without it the state seems to lack a Laterality, which a chest has not.
    state.BodyPartExamined = "CHEST"
    return finished(state, header, stamp)


def _is_monochrome(header: Dataset) -> bool:
    return photometric_interpretation(header) in MONOCHROME


def _shape(header: Dataset) -> str:
    """With IDENTITY, highdicom's default, viewers show a MONOCHROME1 image inverted."""
    return "INVERSE" if photometric_interpretation(header) == "MONOCHROME1" else "IDENTITY"


def first_voi(header: Dataset) -> Dataset | None:
    """Gives the Softcopy VOI LUT item (PS3.3 C.11.8) that shows the image as on first opening.

    The image's first VOI LUT, else its first window that is one, else a window over the range of its values,
    or of its Modality LUT if it has one: a state without VOI would show the full range of bits, which is nearly
    black. None if the range is not known.

    Raises:
        GiveUp: if the range must be found in the pixels and they cannot be decoded.
    """
    image = normalised(header)
    item = Dataset()
    lut = _voi_lut(image, is_big_endian=header.original_encoding[1] is False)
    if lut is not None:
        item.VOILUTSequence = [lut]
        return item
    function = str(image.get("VOILUTFunction") or "LINEAR")
    width_min = 1 if function == "LINEAR" else 0
    for center, width in zip(numbers(image, "WindowCenter"), numbers(image, "WindowWidth"), strict=False):
        if width > width_min:
            item.WindowCenter, item.WindowWidth = _decimal(center), _decimal(width)
            if function != "LINEAR":
                item.VOILUTFunction = function
            return item
    shown = _range_to_show(header)
    if shown is None:
        return None
    low, high = shown
    # LINEAR runs from center - 0.5 - (width - 1) / 2 to center - 0.5 + (width - 1) / 2 (C.11.2.1.2.1).
    item.WindowCenter, item.WindowWidth = _decimal((low + high + 1) / 2), _decimal(high - low + 1)
    return item


def _range_to_show(header: Dataset) -> tuple[float, float] | None:
    """Lowest and highest value after the modality transformation; None if neither header nor pixels tell."""
    lut = first_lut(header, "ModalityLUTSequence")
    if lut is not None:
        return float(lut[1].min()), float(lut[1].max())
    value_range = _value_range(header)
    if value_range is None:
        return None
    image = normalised(header)
    slope, intercept = float(image.get("RescaleSlope") or 1), float(image.get("RescaleIntercept") or 0)
    low, high = sorted(slope * value + intercept for value in value_range)
    return low, high


def _modality_lut(header: Dataset) -> Dataset | None:
    """Gives the image's Modality LUT (C.11.1) with entries of 16 bits, or None if it has none that can be read.

    highdicom copies a rescale only, and a state without either shows the stored values as they are (PS3.4 N.2),
    through a window that was meant for those of the table.
    """
    lut = first_lut(header, "ModalityLUTSequence")
    if lut is None:
        return None
    first, table = lut
    item = Dataset()
    # The first stored value may be negative; 0 entries are 65536.
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [table.size % 65536, first, 16])
    item.ModalityLUTType = str(header.ModalityLUTSequence[0].get("ModalityLUTType") or "US")
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return item


def _decimal(number: float) -> DSfloat:
    """A Decimal String has 16 characters at most (PS3.5 6.2); a float may have 24."""
    return DSfloat(number, auto_format=True)


def _voi_lut(image: Dataset, *, is_big_endian: bool) -> Dataset | None:
    """Gives the image's first VOI LUT with entries of 8 or 16 bits, or None if there is none that is whole.

    Many DX have tables of 12 bits; a presentation state may not (dciodvfy counts it as an error), so those are
    stretched to 16.
    """
    tables = image.get("VOILUTSequence")
    # The bytes of a big endian table would need turning; such files are rare, and a window does as well.
    if not tables or is_big_endian or len(tables[0].get("LUTDescriptor") or ()) != 3:
        return None
    if not tables[0].get("LUTData"):
        return None
    table = deepcopy(tables[0])
    entries, first, bits = table.LUTDescriptor
    if bits in (8, 16):
        return table
    words = table.LUTData
    values = np.frombuffer(words, "<u2") if isinstance(words, bytes) else np.asarray(words)  # (entries,)
    stretched = np.rint(np.clip(values / (2**bits - 1), 0, 1) * 65535).astype("<u2")
    table.LUTDescriptor = [entries, first, 16]
    table.add_new("LUTData", "OW", stretched.tobytes())
    return table


def _value_range(header: Dataset) -> tuple[int, int] | None:
    """Lowest and highest stored value of the picture, padding left out; None if the header does not tell."""
    if "PixelData" in header:
        levels = levels_of(header, stored_values(header))
        used = levels.stored[levels.used]
        return int(used[0]), int(used[-1])
    low, high = header.get("SmallestImagePixelValue"), header.get("LargestImagePixelValue")
    return (low, high) if isinstance(low, int) and isinstance(high, int) and low < high else None


def _outline(mark: Mark) -> GraphicObject:
    return GraphicObject(
        GraphicTypeValues.POLYLINE,
        np.array(mark.corners),
        _PIXEL,
        tracking_id=mark.identifier,
        tracking_uid=mark.tracking_uid,
    )


def _label_texts(marks: Sequence[Mark], engine: EngineIdentity) -> list[TextObject]:
    """Each label stands above its box, or below the box's upper edge and the banner, or where the next line is free;
    always in the image."""
    texts: list[TextObject] = []
    taken: list[Place] = []
    for mark in marks:
        columns, rows = int(mark.image.Columns), int(mark.image.Rows)
        height = _label_height(rows)
        words = label(mark.identifier, mark.finding, engine)
        top = mark.box.top - height if mark.box.top >= 2 * height else max(mark.box.top, height)
        top = min(top, rows - height)
        width = _label_width(words, rows, columns)
        left = max(0.0, min(mark.box.left, columns - width))
        place = free_place((left, top, left + width, top + height), taken, height, rows)
        taken.append(place)
        texts.append(_text(words, place[0], place[1], rows, columns, mark))
    return texts


def _banner_text(header: Dataset, engine: EngineIdentity) -> TextObject:
    return _text(banner(engine), 0.0, 0.0, int(header.Rows), int(header.Columns))


def _second_line(words: str, header: Dataset) -> TextObject:
    rows, columns = int(header.Rows), int(header.Columns)
    height = _label_height(rows)
    return _text(words, 0.0, max(0.0, min(height, rows - height)), rows, columns)


def _text(
    words: str, left: float, top: float, rows: int, columns: int, mark: Mark | None = None
) -> TextObject:
    right = min(float(columns), left + _label_width(words, rows, columns))
    return TextObject(
        words,
        _PIXEL,
        bounding_box=(left, top, right, min(float(rows), top + _label_height(rows))),
        text_justification=TextJustificationValues.LEFT,
        tracking_id=mark.identifier if mark else None,
        tracking_uid=mark.tracking_uid if mark else None,
    )


def _label_height(rows: int) -> float:
    return max(2.0, round(rows * LABEL_SHARE))


def _label_width(words: str, rows: int, columns: int) -> float:
    """Room for the words: letters are on average some 0.6 times as wide as high."""
    return min(float(columns), round(0.6 * _label_height(rows) * len(words)) + 1.0)


def needs_pixels(header: Dataset) -> bool:
    """True if the presentation state of this image can tell its window only from the pixels.

    So with many CR, which send no window; then `Sources.current` should hold the whole object.
    """
    return _is_monochrome(header) and first_voi(header) is None
