"""Brings a received header into a form to build from: what is missing is empty, what is no number is missing."""

import re
from copy import deepcopy
from fractions import Fraction

from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr

from agent.dicom.greyscale import numbers
from agent.dicom.opening import raw_text

TYPE_2_KEYWORDS = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Present in every object, if empty (PS3.3 C.7.1.1, C.7.2.1); highdicom reads them unguarded."""

ASPECT_MAX = 10
"""More oblong pixels than this has no detector and no scanner: such a ratio is a mistake in the header."""

_SPACINGS = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_WINDOW = ("WindowCenter", "WindowWidth")
_RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")
_ORIENTATION = re.compile(r"[LRAPHF]+ *\\[LRAPHF]+ *")  # PS3.3 C.7.6.1.1.1
_SEXES = ("M", "F", "O", "")
_FIRST_GROUP_OF_PIXELS = 0x7FE0
_OVERLAY_AND_CURVE_GROUPS = frozenset(range(0x5000, 0x5100)) | frozenset(range(0x6000, 0x6100))


def normalised(header: Dataset) -> Dataset:
    """Gives a copy of a received header without pixels, overlays and private attributes.

    Missing type 2 attributes of patient and study are empty; a Patient's Sex other than M, F, O is empty
    (PS3.3 C.7.1.1); so is a Patient Orientation that does not name two directions (C.7.6.1.1.1). Sequences without
    an item are left out: what patient and study have of them is optional and holds one at least. Spacing,
    aspect ratio, window, rescale and compression ratio are left out where they are no whole pair of finite
    numbers, as the rendering passes over them, and so is a rescale by 0. Every other value is as sent. The
    copy shares nothing with `header`.
    """
    copy = Dataset()
    for tag in sorted(header.keys()):
        group = tag >> 16
        if group < _FIRST_GROUP_OF_PIXELS and not group % 2 and group not in _OVERLAY_AND_CURVE_GROUPS:
            element = header[tag]
            if element.VR != "SQ" or element.value:
                copy.add(deepcopy(element))
    # A file in Implicit VR leaves "US or SS" open (LUT Descriptor); what we build has no Pixel
    # Representation to decide it by.
    correct_ambiguous_vr(copy, is_little_endian=True)
    for keyword in TYPE_2_KEYWORDS:
        if copy.get(keyword) is None:
            setattr(copy, keyword, "")
    if copy.PatientSex not in _SEXES:
        copy.PatientSex = ""
    orientation = raw_text(copy, "PatientOrientation", ("latin_1",))
    if orientation and _ORIENTATION.fullmatch(orientation) is None:
        copy.PatientOrientation = ""
    _leave_out_what_is_no_number(copy)
    return copy


def _leave_out_what_is_no_number(copy: Dataset) -> None:
    """highdicom takes these as they are, and one odd value would end the object, or be an error in it."""
    for keyword in _SPACINGS:
        if _lengths(copy, keyword) is None:
            _leave_out(copy, keyword)
    if not (numbers(copy, "WindowCenter") and numbers(copy, "WindowWidth")):
        _leave_out(copy, *_WINDOW)
    slope, intercept = numbers(copy, "RescaleSlope"), numbers(copy, "RescaleIntercept")
    if len(slope) != 1 or len(intercept) != 1 or slope[0] == 0:
        _leave_out(copy, *_RESCALE)
    elif not copy.get("RescaleType"):
        copy.RescaleType = "US"  # unspecified; type 1C (C.11.1)
    if not numbers(copy, "LossyImageCompressionRatio"):
        _leave_out(copy, "LossyImageCompressionRatio")


def _lengths(header: Dataset, keyword: str) -> tuple[float, float] | None:
    """Gives height and width, or what they are to one another; None if they are no pair of positive numbers."""
    pair = numbers(header, keyword)
    return (pair[0], pair[1]) if len(pair) == 2 and min(pair) > 0 else None


def _leave_out(copy: Dataset, *keywords: str) -> None:
    for keyword in keywords:
        if keyword in copy:
            delattr(copy, keyword)


def evidence(header: Dataset) -> Dataset:
    """Gives a normalised header for constructors only: no name and no date in it.

    highdicom refuses dates that it cannot parse and warns, with the name, of names without "^"; patient and
    study are copied unparsed afterwards (`agent.outputs.heading.finished`).
    """
    copy = normalised(header)
    for keyword in TYPE_2_KEYWORDS:
        setattr(copy, keyword, "")
    return copy


def pixel_aspect(header: Dataset) -> Fraction:
    """Gives height over width of one pixel: by Pixel Aspect Ratio, else by spacing, else 1 (C.7.6.3.1.7)."""
    for keyword in ("PixelAspectRatio", "ImagerPixelSpacing", "PixelSpacing"):
        lengths = _lengths(header, keyword)
        if lengths is None:
            continue
        aspect = Fraction(str(lengths[0])) / Fraction(str(lengths[1]))
        if 1 / ASPECT_MAX <= aspect <= ASPECT_MAX:
            return aspect.limit_denominator(1000)
    return Fraction(1)


def sop_instance_uid(header: Dataset) -> str:
    """Gives the SOP Instance UID as a plain string, the key of an image everywhere else."""
    return str(header.SOPInstanceUID)
