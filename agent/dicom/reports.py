"""Reads the text of a radiologist's report out of a structured report of any make."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from agent.dicom.charsets import text_encodings
from agent.dicom.opening import (
    CONTENT_ERRORS,
    Unreadable,
    quietly,
    raw_text,
    read_whole,
    small_sequence,
)
from agent.sections import Passage, ReportText, Section, find_sections, report_text, section_of_heading, tidy

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

# Headings of TID 2000 by CID 7001 (LOINC), its older edition (DCM), and the items below them (CID 7002).
_SECTION_OF_CODE = {
    ("LN", "59776-5"): Section.FINDINGS,
    ("LN", "18782-3"): Section.FINDINGS,
    ("DCM", "121070"): Section.FINDINGS,
    ("DCM", "121071"): Section.FINDINGS,
    ("LN", "19005-8"): Section.IMPRESSION,
    ("DCM", "121072"): Section.IMPRESSION,
    ("DCM", "121073"): Section.IMPRESSION,
    ("DCM", "121076"): Section.IMPRESSION,
    ("DCM", "121077"): Section.IMPRESSION,
    ("LN", "55115-0"): Section.INDICATION,
    ("LN", "18785-6"): Section.INDICATION,
    ("LN", "11329-0"): Section.INDICATION,
    ("DCM", "121060"): Section.INDICATION,
    ("DCM", "121062"): Section.INDICATION,
    ("DCM", "121109"): Section.INDICATION,
    ("LN", "18834-2"): Section.COMPARISON,
    ("LN", "55114-3"): Section.COMPARISON,
    ("LN", "55111-9"): Section.TECHNIQUE,
    ("DCM", "121064"): Section.TECHNIQUE,
    ("DCM", "121065"): Section.TECHNIQUE,
    ("LN", "55107-7"): Section.ADDENDUM,
    ("LN", "18783-1"): Section.OTHER,
    ("DCM", "121074"): Section.OTHER,
    ("DCM", "121075"): Section.OTHER,
}


@dataclass(frozen=True, slots=True)
class StructuredReport:
    """A report that came as a DICOM object.

    Attributes:
        is_verified: somebody put a name to it (Verification Flag, PS3.3 C.17.2).
        written_at: Content Date and Time, "YYYYMMDDHHMMSS" or less, local as sent; "" if absent.
    """

    text: ReportText
    is_verified: bool
    written_at: str


class _TooLarge(Exception):
    pass


def load_report(path: Path, *, assume_charset: str | None = None) -> StructuredReport | None:
    """Reads a file and gives its report; None if it is no report, unreadable, or above REPORT_BYTES_MAX.

    Args:
        assume_charset: as `agent.dicom.headers.read_headers`.

    Raises:
        OSError: if the disk fails.
    """
    try:
        return report_of(read_whole(path, bytes_max=REPORT_BYTES_MAX), assume_charset=assume_charset)
    except Unreadable:
        return None


def report_of(dataset: Dataset, *, assume_charset: str | None = None) -> StructuredReport | None:
    """Gives the text of a structured report that a person wrote; None if it is none, or holds no text.

    Sections are told by the codes of their headings (PS3.16 TID 2000, today's LOINC and the older DCM ones),
    else by the words of the headings, else by words within one long text. None also for measurement and CAD
    reports, for our own drafts, and for what a device observed and nobody verified.
    """
    try:
        with quietly():
            return _report_of(dataset, assume_charset)
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


def _report_of(dataset: Dataset, assume_charset: str | None) -> StructuredReport | None:
    encodings, _ = text_encodings(dataset, assume_charset)
    title = _code(dataset, "ConceptNameCodeSequence", encodings)
    if (
        raw_text(dataset, "SOPClassUID", encodings) not in _REPORT_SOP_CLASSES
        or title[1] in _TITLES_OF_NO_REPORT
    ):
        return None
    if _is_draft_of_ours(dataset) or (_is_of_a_device(dataset, encodings) and not _is_verified(dataset)):
        return None
    passages = [passage for passage in _passages(dataset, encodings) if passage.text]
    is_plain = all(passage.section in (Section.OTHER, Section.ADDENDUM) for passage in passages)
    passages = [part for passage in passages for part in _cut(passage, is_plain)]
    text = report_text(passages)
    if text is None:
        return None
    written = "".join(raw_text(dataset, f"Content{part}", encodings) for part in ("Date", "Time"))
    return StructuredReport(text, _is_verified(dataset), written.partition(".")[0])


def _cut(passage: Passage, is_plain: bool) -> list[Passage]:
    """A text cut at its own headings, if no code tells any section, or if an addendum was written into it.

    What precedes the first heading keeps the one that the passage stands under, and its section.
    """
    parts = find_sections(passage.text)
    has_addendum = any(part.section is Section.ADDENDUM for part in parts)
    if not has_addendum and not (is_plain and passage.section is Section.OTHER):
        return [passage]
    return [
        part._replace(
            section=part.section if part.heading or part.section is not Section.OTHER else passage.section,
            heading=part.heading or passage.heading,
        )
        for part in parts
    ]


def _passages(dataset: Dataset, encodings: tuple[str, ...]) -> Iterator[Passage]:
    """The text of the content tree, top to bottom, each line with the section and heading it stands under."""
    nodes = 0
    waiting = [(item, Section.OTHER, "", 1) for item in reversed(_items(dataset))]
    while waiting:
        item, section, heading, depth = waiting.pop()
        nodes += 1
        if nodes > _NODES_MAX or depth > _DEPTH_MAX:
            raise _TooLarge
        if raw_text(item, "RelationshipType", encodings) not in ("CONTAINS", "HAS PROPERTIES", ""):
            continue  # context, modifiers and inferences are about the words, not of them
        scheme, code, meaning = _code(item, "ConceptNameCodeSequence", encodings)
        own = _SECTION_OF_CODE.get((scheme, code)) or section_of_heading(meaning)
        section = own or section
        kind = raw_text(item, "ValueType", encodings)
        if kind == "CONTAINER":
            heading = meaning or heading
        else:
            over_it = heading or (meaning if kind == "TEXT" else "")
            yield Passage(section, over_it, _words_of(item, meaning, own, encodings))
        waiting += [(child, section, heading, depth + 1) for child in reversed(_items(item))]


def _words_of(item: Dataset, meaning: str, own_section: Section | None, encodings: tuple[str, ...]) -> str:
    """The words of one content item: a text as it is, a code or number after its name."""
    kind = raw_text(item, "ValueType", encodings)
    if kind == "TEXT":
        return tidy(raw_text(item, "TextValue", encodings, keep_lines=True))
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
    encodings, _ = text_encodings(dataset, None)
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
