"""Reads what rules ask of an image: attributes by keyword, inside sequences too, and its view."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset

from agent.dicom.charsets import TELLING_KEYWORDS, text_encodings
from agent.dicom.opening import (
    CONTENT_ERRORS,
    quietly,
    raw_text,
    read_header_elements,
    small_sequence,
    tag_of,
)
from agent.dicom.views import VIEW_KEYWORDS, projection_of

_ALWAYS_READ = VIEW_KEYWORDS | TELLING_KEYWORDS | {"PatientAge"}
_BINARY_NUMBERS = ("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")
_NEVER_SEVERAL = ("LT", "ST", "UR", "UT")  # a backslash is part of these texts (PS3.5 Table 6.2-1)


@cache
def vr_by_keyword() -> Mapping[str, str]:
    """Gives the VR of each keyword of PS3.6, "US or SS" where there are two."""
    return {keyword: dictionary_VR(tag) for keyword, tag in keyword_dict.items() if keyword}


def read_attributes(
    path: Path, names: Collection[str], *, assume_charset: str | None = None
) -> dict[str, tuple[str, ...]]:
    """Reads attributes of one file.

    Args:
        names: keywords; "ProcedureCodeSequence.CodeValue" for an attribute of the items of a sequence.
        assume_charset: as `agent.dicom.headers.read_headers`.

    Returns:
        for each name the values that were sent, text decoded and numbers written out; of a sequence its items'
        numbers. Always with "PatientAge", and "view": a value of `inference.case.View`, and "FRONTAL" beside
        PA and AP.

    Raises:
        Unreadable: if the file asks for more than the limits of `agent.dicom.opening` allow.
        OSError: if the disk fails.
    """
    keywords = {name.partition(".")[0] for name in names}
    dataset = read_header_elements(path, _ALWAYS_READ | keywords)
    with quietly():
        encodings, _ = text_encodings(dataset, assume_charset)
        projection = projection_of(dataset, encodings)
        found = {name: tuple(_values(dataset, name.split("."), encodings)) for name in {*names, "PatientAge"}}
    groups = ("FRONTAL",) if projection.is_frontal else ()
    return found | {"view": tuple(dict.fromkeys((projection.view.value, *groups)))}


def _values(dataset: Dataset, keywords: list[str], encodings: tuple[str, ...]) -> Iterator[str]:
    keyword, *inside = keywords
    vr = vr_by_keyword()[keyword].partition(" ")[0]
    if vr == "SQ":
        for number, item in enumerate(small_sequence(dataset, keyword), start=1):
            yield from _values(item, inside, encodings) if inside else (str(number),)
    elif vr in _BINARY_NUMBERS:
        yield from _numbers(dataset, keyword)
    else:
        text = raw_text(dataset, keyword, encodings)
        values = [text] if vr in _NEVER_SEVERAL else text.split("\\")
        yield from (value.strip() for value in values if value.strip())


def _numbers(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    try:
        value = dataset[tag_of(keyword)].value
    except (OSError, *CONTENT_ERRORS):
        return ()
    values = value if hasattr(value, "append") else (value,)
    return tuple(str(one) for one in values if isinstance(one, int | float))
