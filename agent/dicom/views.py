"""Finds out which projection a radiograph is: the view, and which attribute told it."""

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

from agent.dicom.opening import raw_text, small_sequence
from inference.case import View

VIEW_KEYWORDS = frozenset(
    {
        "ViewPosition",
        "ViewCodeSequence",
        "SeriesDescription",
        "ProtocolName",
        "AcquisitionDeviceProcessingDescription",
        "PatientOrientation",
    }
)
"""The attributes looked at here; whoever reads headers must ask for them."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What the header says of the projection.

    Attributes:
        view: PA, AP, FRONTAL (one of these two, not told which), LATERAL, or UNKNOWN (obliques and decubitus
            views, too, are none of them).
        source: the attribute that told it and its value, or "" if none did.
        is_frontal: None if not known.
    """

    view: View
    source: str
    is_frontal: bool | None


# PS3.3 C.8.11.5.1.1 and C.8.7.5.1.1 give the terms; the longer ones are what senders make of them.
_POSITIONS = {
    "PA": View.PA,
    "AP": View.AP,
    "LL": View.LATERAL,
    "RL": View.LATERAL,
    "LLAT": View.LATERAL,
    "RLAT": View.LATERAL,
}
_POSITIONS_OF_NO_VIEW = frozenset({"RLD", "LLD", "RLO", "LLO", "LAO", "RAO", "LPO", "RPO"})

# PS3.16 CID 4010, in SNOMED CT and in the SNOMED RT identifiers of older devices.
_CODES = {
    "272479007": View.PA,
    "R-40888": View.PA,
    "R-10214": View.PA,
    "399348003": View.AP,
    "R-10206": View.AP,
    "399067008": View.LATERAL,
    "R-102CD": View.LATERAL,
    "399173006": View.LATERAL,
    "R-10236": View.LATERAL,
    "399198007": View.LATERAL,
    "R-10232": View.LATERAL,
}
_FRONTAL_CODES = frozenset({"399033003", "R-10202"})

_WORDS = {
    View.PA: re.compile(r"\bP\.?\s?A\b|\bPOSTERO-?\s?ANTERIOR\b"),
    View.AP: re.compile(r"\bA\.?\s?P\b|\bANTERO-?\s?POSTERIOR\b"),
    View.LATERAL: re.compile(r"\b[LR]?LAT\b|\bLATERAL\b|\bSEITLICH\b|\bPROFIL\b"),
}
_WORDS_OF_NO_VIEW = re.compile(r"OBL|DECUB|LORDOTIC")
# Descriptions of the image or its series. Not of the study: "CHEST PA AND LATERAL" is on both of its images.
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")


def projection_of(dataset: Dataset, encodings: tuple[str, ...] = ("latin_1",)) -> Projection:
    """Tells the projection by View Position, else View Code, else descriptions, else Patient Orientation.

    Never raises; what contradicts itself ("PA and LAT" in one description) tells nothing.
    """
    position = raw_text(dataset, "ViewPosition", encodings).upper()
    if position in _POSITIONS_OF_NO_VIEW:
        return Projection(View.UNKNOWN, f'ViewPosition "{position}"', False)
    view = _POSITIONS.get(position, _view_in_words(position))
    if view is not View.UNKNOWN:
        return _told(view, f'ViewPosition "{position}"')
    by_code = _by_code(dataset, encodings)
    if by_code is not None:
        return by_code
    for keyword in _DESCRIPTIONS:
        description = raw_text(dataset, keyword, encodings)
        view = _view_in_words(description.upper())
        if view is not View.UNKNOWN:
            return _told(view, f'{keyword} "{description}"')
    return _by_orientation(raw_text(dataset, "PatientOrientation", encodings).upper())


def _told(view: View, source: str) -> Projection:
    return Projection(view, source, view.is_frontal)


def _view_in_words(text: str) -> View:
    if _WORDS_OF_NO_VIEW.search(text):
        return View.UNKNOWN
    found = [view for view, words in _WORDS.items() if words.search(text)]
    return found[0] if len(found) == 1 else View.UNKNOWN


def _by_code(dataset: Dataset, encodings: tuple[str, ...]) -> Projection | None:
    for item in small_sequence(dataset, "ViewCodeSequence"):
        code = raw_text(item, "CodeValue", encodings)
        meaning = raw_text(item, "CodeMeaning", encodings)
        source = f'ViewCodeSequence {code} "{meaning}"'
        if code in _FRONTAL_CODES:
            return Projection(View.FRONTAL, source, True)
        view = _CODES.get(code, _view_in_words(meaning.upper()))
        if view is not View.UNKNOWN:
            return _told(view, source)
    return None


def _by_orientation(orientation: str) -> Projection:
    """Patient Orientation names where rows and columns run to (PS3.3 C.7.6.1.1.1); "FL" is oblique."""
    row_direction, _, column_direction = orientation.partition("\\")
    source = f"PatientOrientation {orientation}"
    if column_direction not in ("F", "H"):
        return Projection(View.UNKNOWN, "", None)
    if row_direction in ("L", "R"):
        return Projection(View.FRONTAL, source, True)
    if row_direction in ("A", "P"):
        return _told(View.LATERAL, source)
    return Projection(View.UNKNOWN, "", None)
