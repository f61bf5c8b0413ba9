"""Reads the text of a radiologist's report out of a structured report of any make."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from agent.dicom.opening import (
    CONTENT_ERRORS,
    Unreadable,
    encodings_of,
    quietly,
    raw_text,
    read_whole,
    small_sequence,
)

OUR_NAME = "preread"
"""Manufacturer and device observer of what we make; by it we know our own drafts."""

REPORT_BYTES_MAX = 4 * 2**20
"""Bytes of a report's file."""

_SEQUENCE_BYTES_MAX = 2**20
_NODES_MAX = 5_000
_DEPTH_MAX = 32

# Basic Text, Enhanced, Comprehensive, Comprehensive 3D; the trial text and comprehensive classes of 1998.
_SR = "1.2.840.10008.5.1.4.1.1.88."
_REPORT_SOP_CLASSES = frozenset({_SR + end for end in ("11", "22", "33", "34", "1", "3")})

# Measurement reports and CAD results (PS3.16 TID 1500, 4000, 4100, 4120): machines' lists, nobody's words.
_TITLES_OF_NO_REPORT = frozenset({"126000", "125007", "111036", "112000", "112220"})

_FINDINGS, _IMPRESSION, _INDICATION, _OTHER = "findings", "impression", "indication", "other"

# Headings of TID 2000 by CID 7001 (LOINC), its older edition (DCM), and the items below them (CID 7002).
_SECTION_OF_CODE = {
    ("LN", "59776-5"): _FINDINGS,
    ("LN", "18782-3"): _FINDINGS,
    ("DCM", "121070"): _FINDINGS,
    ("DCM", "121071"): _FINDINGS,
    ("LN", "19005-8"): _IMPRESSION,
    ("DCM", "121072"): _IMPRESSION,
    ("DCM", "121073"): _IMPRESSION,
    ("DCM", "121076"): _IMPRESSION,
    ("DCM", "121077"): _IMPRESSION,
    ("LN", "55115-0"): _INDICATION,
    ("LN", "18785-6"): _INDICATION,
    ("LN", "11329-0"): _INDICATION,
    ("DCM", "121060"): _INDICATION,
    ("DCM", "121062"): _INDICATION,
    ("DCM", "121109"): _INDICATION,
    ("LN", "18834-2"): _OTHER,
    ("LN", "55114-3"): _OTHER,
    ("LN", "55111-9"): _OTHER,
    ("LN", "18783-1"): _OTHER,
    ("DCM", "121064"): _OTHER,
    ("DCM", "121065"): _OTHER,
    ("DCM", "121074"): _OTHER,
    ("DCM", "121075"): _OTHER,
}

# Words of headings, where a code is private or the whole report is one text: English, and some neighbours'.
_HEADING_WORDS = {
    _FINDINGS: ("findings", "finding", "befund", "befunde", "resultats", "hallazgos", "소견"),
    _IMPRESSION: (
        "impression",
        "impressions",
        "conclusion",
        "conclusions",
        "beurteilung",
        "conclusión",
        "결론",
    ),
    _INDICATION: (
        "clinical indication",
        "indication",
        "indications",
        "reason for exam",
        "reason for examination",
        "reason for study",
        "clinical history",
        "clinical information",
        "history",
        "request",
    ),
    _OTHER: (
        "examination",
        "exam",
        "procedure",
        "technique",
        "comparison",
        "comparisons",
        "recommendation",
        "recommendations",
        "addendum",
        "notification",
    ),
}
_SECTION_OF_WORDS = {word: section for section, words in _HEADING_WORDS.items() for word in words}
_ALL_WORDS = "|".join(sorted(map(re.escape, _SECTION_OF_WORDS), key=len, reverse=True))
_ALL_WORDS_UPPER = _ALL_WORDS.upper()
# A heading stands alone on its line, or before a colon: at the start of a line in any case of letters, within
# a line in capitals only.
_HEADING = re.compile(
    rf"^[ \t]*(?P<line>(?i:{_ALL_WORDS}))[ \t]*(?::|$)|(?<=\s)(?P<inside>{_ALL_WORDS_UPPER})[ \t]*:",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class ReportText:
    """What somebody wrote about a study, in plain text with line feeds.

    Attributes:
        findings, impression, indication: a section each, or None if the report does not set it apart.
        whole: every section in order, each after its heading.
        is_verified: somebody put a name to it (Verification Flag, PS3.3 C.17.2).
    """

    findings: str | None
    impression: str | None
    indication: str | None
    whole: str
    is_verified: bool


class _Line(NamedTuple):
    section: str
    heading: str
    text: str


class _TooLarge(Exception):
    pass


def load_report(path: Path) -> ReportText | None:
    """Reads a file and gives its report; None if it is no report, unreadable, or above REPORT_BYTES_MAX.

    Raises:
        OSError: if the disk fails.
    """
    try:
        return report_of(read_whole(path, bytes_max=REPORT_BYTES_MAX))
    except Unreadable:
        return None


def report_of(dataset: Dataset) -> ReportText | None:
    """Gives the text of a structured report that a person wrote; None if it is none, or holds no text.

    Sections are told by the codes of their headings (PS3.16 TID 2000, today's LOINC and the older DCM ones),
    else by the words of the headings, else by words within one long text. None also for measurement and CAD
    reports, for our own drafts, and for what a device observed and nobody verified.
    """
    try:
        with quietly():
            return _report_of(dataset)
    except (OSError, _TooLarge, *CONTENT_ERRORS):
        return None


def is_draft_of_ours(dataset: Dataset) -> bool:
    """True if preread made this object and no radiologist has verified it since.

    Told by Manufacturer, Contributing Equipment, or the device observer in the content, whichever a PACS left
    alone; verified is what has Verification Flag VERIFIED and is not marked preliminary.
    """
    try:
        with quietly():
            return _is_draft_of_ours(dataset)
    except (OSError, *CONTENT_ERRORS):
        return False


def _report_of(dataset: Dataset) -> ReportText | None:
    encodings, _ = encodings_of(dataset, None)
    title = _code(dataset, "ConceptNameCodeSequence", encodings)
    if (
        raw_text(dataset, "SOPClassUID", encodings) not in _REPORT_SOP_CLASSES
        or title[1] in _TITLES_OF_NO_REPORT
    ):
        return None
    if _is_draft_of_ours(dataset) or (_is_of_a_device(dataset, encodings) and not _is_verified(dataset)):
        return None
    lines = [line for line in _lines(dataset, encodings) if line.text]
    if all(line.section == _OTHER for line in lines):
        lines = [part for line in lines for part in _split_by_words(line)]
    if not lines:
        return None
    return ReportText(
        findings=_section(lines, _FINDINGS),
        impression=_section(lines, _IMPRESSION),
        indication=_section(lines, _INDICATION),
        whole=_whole(lines),
        is_verified=_is_verified(dataset),
    )


def _lines(dataset: Dataset, encodings: tuple[str, ...]) -> Iterator[_Line]:
    """The text of the content tree, top to bottom, each line with the section and heading it stands under."""
    nodes = 0
    waiting = [(item, _OTHER, "", 1) for item in reversed(_items(dataset))]
    while waiting:
        item, section, heading, depth = waiting.pop()
        nodes += 1
        if nodes > _NODES_MAX or depth > _DEPTH_MAX:
            raise _TooLarge
        if raw_text(item, "RelationshipType", encodings) not in ("CONTAINS", "HAS PROPERTIES", ""):
            continue  # context, modifiers and inferences are about the words, not of them
        scheme, code, meaning = _code(item, "ConceptNameCodeSequence", encodings)
        own = _SECTION_OF_CODE.get((scheme, code)) or _SECTION_OF_WORDS.get(meaning.casefold())
        section = own or section
        kind = raw_text(item, "ValueType", encodings)
        if kind == "CONTAINER":
            heading = meaning or heading
        else:
            over_it = heading or (meaning if kind == "TEXT" else "")
            yield _Line(section, over_it, _words_of(item, meaning, own, encodings))
        waiting += [(child, section, heading, depth + 1) for child in reversed(_items(item))]


def _words_of(item: Dataset, meaning: str, own_section: str | None, encodings: tuple[str, ...]) -> str:
    """The words of one content item: a text as it is, a code or number after its name."""
    kind = raw_text(item, "ValueType", encodings)
    if kind == "TEXT":
        return _tidy(raw_text(item, "TextValue", encodings, keep_lines=True))
    if kind == "CODE":
        value = _code(item, "ConceptCodeSequence", encodings)[2]
    elif kind == "NUM":
        value = _measured(item, encodings)
    else:
        return ""
    return value if own_section or not meaning or not value else f"{meaning}: {value}"


def _measured(item: Dataset, encodings: tuple[str, ...]) -> str:
    for measured in small_sequence(item, "MeasuredValueSequence"):
        unit = _code(measured, "MeasurementUnitsCodeSequence", encodings)[1]
        return f"{raw_text(measured, 'NumericValue', encodings)} {unit}".strip()
    return ""


def _split_by_words(line: _Line) -> list[_Line]:
    """Cuts one long text at its headings; what precedes the first one stays without a section."""
    headings = list(_HEADING.finditer(line.text))
    if not headings:
        return [line]
    parts = [_Line(_OTHER, line.heading, line.text[: headings[0].start()].strip())]
    ends = [heading.start() for heading in headings[1:]] + [len(line.text)]
    for heading, end in zip(headings, ends, strict=True):
        words = heading["line"] or heading["inside"]
        parts.append(
            _Line(
                _SECTION_OF_WORDS[words.casefold()],
                words.capitalize(),
                line.text[heading.end() : end].strip(),
            )
        )
    return [part for part in parts if part.text]


def _section(lines: list[_Line], section: str) -> str | None:
    return "\n".join(line.text for line in lines if line.section == section) or None


def _whole(lines: list[_Line]) -> str:
    paragraphs = []
    heading_before = ""
    for line in lines:
        if line.heading and line.heading != heading_before:
            paragraphs.append(f"{line.heading}:")
        heading_before = line.heading
        paragraphs.append(line.text)
    return "\n".join(paragraphs)


def _tidy(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in lines)).strip()


def _items(dataset: Dataset) -> list[Dataset]:
    return small_sequence(dataset, "ContentSequence", _SEQUENCE_BYTES_MAX)


def _code(dataset: Dataset, keyword: str, encodings: tuple[str, ...]) -> tuple[str, str, str]:
    """(scheme designator, value, meaning) of the first code of a sequence; "" for what is absent."""
    for code in small_sequence(dataset, keyword):
        value = raw_text(code, "CodeValue", encodings) or raw_text(code, "LongCodeValue", encodings)
        scheme = raw_text(code, "CodingSchemeDesignator", encodings)
        return scheme, value, raw_text(code, "CodeMeaning", encodings)
    return "", "", ""


def _is_verified(dataset: Dataset) -> bool:
    flag = raw_text(dataset, "VerificationFlag", ("latin_1",)).upper()
    return flag == "VERIFIED" and raw_text(dataset, "PreliminaryFlag", ("latin_1",)).upper() != "PRELIMINARY"


def _is_of_a_device(dataset: Dataset, encodings: tuple[str, ...]) -> bool:
    """True if the observers named in the content are devices only (TID 1001, 1002)."""
    kinds = {
        _code(item, "ConceptCodeSequence", encodings)[1]
        for item in _items(dataset)
        if _code(item, "ConceptNameCodeSequence", encodings)[1] == "121005"
    }
    return kinds == {"121007"}


def _is_draft_of_ours(dataset: Dataset) -> bool:
    encodings, _ = encodings_of(dataset, None)
    makers = [raw_text(dataset, "Manufacturer", encodings)]
    makers += [
        raw_text(device, "Manufacturer", encodings)
        for device in small_sequence(dataset, "ContributingEquipmentSequence")
    ]
    makers += [
        raw_text(item, "TextValue", encodings)
        for item in _items(dataset)
        if _code(item, "ConceptNameCodeSequence", encodings)[1] in ("121013", "121014", "121015")
    ]
    return any(OUR_NAME in maker.casefold().split() for maker in makers) and not _is_verified(dataset)
