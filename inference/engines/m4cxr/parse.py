"""What M4CXR's answers say, read strictly: what is not understood is kept as a sentence, and nothing raises.

An answer names what is positive; training left uncertain, negative and unmentioned findings out alike. So a
finding that is not named is not called absent here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from inference.engines.m4cxr.prompts import FINDING_NAMES, MEASUREMENT, remove_structure
from inference.geometry import MODEL_UNITS
from inference.reading import Change

ModelBox = tuple[int, int, int, int]
"""Left, top, right, bottom in 0..MODEL_UNITS of the middle square of the image."""

_QUOTED_CHARACTERS_MAX = 80
_BOX = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]", re.ASCII)

_MENTIONS: Mapping[str, str] = {
    "enlarged cardiomediastinum": r"cardiomediastin\w+|mediastin\w+",
    "cardiomegaly": r"cardiomegaly|heart|cardiac (?:silhouette|enlargement|size)",
    "lung opacity": r"opacit\w+|opacification\w*|infiltrat\w+",
    "lung lesion": r"lesions?|nodul\w+|mass(?:es)?",
    "edema": r"o?edema|vascular congestion",
    "consolidation": r"consolidation\w*|airspace disease",
    "pneumonia": r"pneumonia\w*",
    "atelectasis": r"atelecta\w+|collapse",
    "pneumothorax": r"(?:hydro)?pneumothora\w+",
    "pleural effusion": r"effusions?|pleural fluid",
    "pleural other": r"pleural (?:thickening|scarring|plaques?|calcification\w*)",
    "fracture": r"fractures?",
    "support devices": r"devices?|tubes?|catheters?|lines?|picc|pacemakers?|leads?|ports?|drains?",
}
"""How reports mention each finding."""

_MIDLINE = frozenset({"enlarged cardiomediastinum", "cardiomegaly", "support devices"})
"""Findings that have no side, or more than a report's adjective can settle."""

_CHANGES: Mapping[Change, str] = {
    Change.NEW: r"new|newly|(?:has|have) (?:developed|appeared|been placed)|interval development",
    Change.LARGER: r"increas(?:ed?|ing)|larger|worse|worsen(?:ed|ing)|progress(?:ed|ion)",
    Change.SMALLER: r"decreas(?:ed?|ing)|smaller|improv(?:ed|ing|ement)|regress(?:ed|ion)|resolving"
    r"|(?:partial|partially|nearly|almost) (?:resolved|resolution)",
    Change.UNCHANGED: r"unchanged|stable|similar",
    Change.RESOLVED: r"(?<!partially )(?<!nearly )(?<!almost )resolved|(?<!partial )resolution"
    r"|cleared|removed|no longer (?:seen|present|visible)",
}
_SIDES: Mapping[str, str] = {
    "left": r"left(?:-sided)?",
    "right": r"right(?:-sided)?",
    "bilateral": r"bilateral|bilaterally|both",
}
_COMPARISON = re.compile(
    r"\b(?:compar(?:ed|ison|ing)|prior|previous(?:ly)?|unchanged|stable|new|newly|interval(?:ly)?|again"
    r"|increas(?:ed?|ing)|decreas(?:ed?|ing)|worsen(?:ed|ing)|improv(?:ed|ing|ement)|resolv(?:ed|ing)"
    r"|no longer)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?:\s+|$)|\n")
_CLAUSE_END = re.compile(r";|\bwhile\b|\bbut\b|\bwhereas\b|\balthough\b|\bwith\b", re.IGNORECASE)
_PART_END = re.compile(r",|\band\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:no|not|without|free of|negative for|absence of)\b(?! longer)", re.IGNORECASE)
_NEGATION_END = re.compile(r"\band\b", re.IGNORECASE)
_IN_OTHER_WORDS = (
    (
        re.compile(
            r"\b(?:no|not|without)(?: (?:interval|significant|substantial))* changed?\b", re.IGNORECASE
        ),
        "unchanged",
    ),
    (re.compile(r"\b(?:left and (?:the )?right|right and (?:the )?left)\b", re.IGNORECASE), "bilateral"),
)
_Said = TypeVar("_Said", bound=str)


@dataclass(frozen=True, slots=True)
class FindingList:
    """The findings an answer names, in its order, each once, and what else it held."""

    names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grounding:
    """Where an answer sees a finding.

    Attributes:
        is_present: what it says to "is it present"; None if it does not say.
        boxes: in its order.
    """

    is_present: bool | None = None
    boxes: tuple[ModelBox, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedFindings:
    """An answer of the several-findings form: each name with its boxes, in order."""

    findings: tuple[tuple[str, tuple[ModelBox, ...]], ...] = ()
    problems: tuple[str, ...] = ()


def tidy(answer: str) -> str:
    """Takes the conversation's structure off an answer, and spaces at its ends."""
    return remove_structure(answer).strip()


def parse_findings(answer: str) -> FindingList:
    """Reads `cardiomegaly, pleural effusion.` or `Not found.`"""
    text = tidy(answer)
    if not text:
        return FindingList(problems=("The model gave no answer to the question for findings.",))
    pieces = [piece.strip().lower() for piece in text.rstrip(". \n").split(",")]
    if pieces == ["not found"]:
        return FindingList()
    names = tuple(dict.fromkeys(piece for piece in pieces if piece in FINDING_NAMES))
    unknown = [piece for piece in pieces if piece not in FINDING_NAMES]
    problems: tuple[str, ...] = ()
    if unknown:
        problems = (f"The list of findings holds what is no finding: {_quoted(', '.join(unknown))}.",)
    return FindingList(names, problems)


def parse_grounding(answer: str, finding: str) -> Grounding:
    """Reads `Yes. [0,63,25,90], [57,66,90,98].` or `Not present.`"""
    text = tidy(answer)
    boxes, problems = _boxes(text)
    rest = _BOX.sub("", text).strip(" ,.\n").lower()
    is_present = {"yes": True, "not present": False}.get(rest)
    if is_present is None or is_present != bool(boxes or problems):
        problems += (f"The answer to where {finding} is could not be read: {_quoted(text)}.",)
    return Grounding(is_present, boxes if is_present is not False else (), problems)


def parse_placed_findings(answer: str) -> PlacedFindings:
    """Reads `consolidation [57,66,90,98], atelectasis [0,63,25,90], [6,12,25,31].` or `Not found.`

    A name belongs to the box after it and to those that follow without a name.
    """
    text = tidy(answer)
    if text.lower().rstrip(".") == "not found":
        return PlacedFindings()
    placed: dict[str, tuple[ModelBox, ...]] = {}
    problems: tuple[str, ...] = ()
    name = ""
    end = 0
    for match in _BOX.finditer(text):
        name = text[end : match.start()].strip(" ,.\n").lower() or name
        end = match.end()
        boxes, refused = _boxes(match[0])
        problems += refused
        if name in FINDING_NAMES:
            placed[name] = placed.get(name, ()) + boxes
        else:
            problems += (f"A box stands behind what is no finding: {_quoted(name)}.",)
    rest = text[end:].strip(" ,.\n")
    if rest or not (placed or problems):
        problems += (f"The answer with places could not be read to its end: {_quoted(rest)}.",)
    return PlacedFindings(tuple(placed.items()), problems)


def change_of(finding: str, report: str) -> Change | None:
    """Tells what a report says of a finding against the prior exam, or None if it says nothing or two things.

    A word of change counts for a finding of the same clause: one that follows its findings ("effusion and
    edema are unchanged") for all of them, one that comes before ("new effusion and edema") for those of its
    own part. Negated mentions ("no new effusion") say nothing.
    """
    return _only(_said(finding, report, _CHANGES))


def side_of(finding: str, report: str) -> str | None:
    """Tells where a report sees a finding, by the rule of `change_of`; with both it is "bilateral"."""
    if finding in _MIDLINE:
        return None
    sides = _said(finding, report, _SIDES)
    return "bilateral" if {"left", "right"} <= sides else _only(sides)


def resolved_findings(report: str) -> tuple[str, ...]:
    """Lists the findings of which a report says that they have gone."""
    return tuple(name for name in FINDING_NAMES if change_of(name, report) is Change.RESOLVED)


def comparison_words(report: str) -> tuple[str, ...]:
    """Lists the words by which a report compares with an earlier exam, each once, in lower case."""
    return tuple(dict.fromkeys(match[0].lower() for match in _COMPARISON.finditer(report)))


def measurements(text: str) -> tuple[str, ...]:
    """Lists the numbers with a unit in a text; training deleted decimal points, so none can be trusted."""
    return tuple(dict.fromkeys(match[0].strip() for match in MEASUREMENT.finditer(text)))


def _boxes(text: str) -> tuple[tuple[ModelBox, ...], tuple[str, ...]]:
    """Reads every box of a text, and says which were none."""
    boxes: list[ModelBox] = []
    problems: list[str] = []
    for match in _BOX.finditer(text):
        # Longer digits are refused before they are numbers: int() refuses thousands of them by an exception.
        numbers = [int(digits) if len(digits) <= 3 else MODEL_UNITS + 1 for digits in match.groups()]
        left, top, right, bottom = numbers
        if max(numbers) > MODEL_UNITS or right <= left or bottom <= top:
            problems.append(f"The model gave a place that is none: {_quoted(match[0])}.")
        else:
            boxes.append((left, top, right, bottom))
    return tuple(boxes), tuple(problems)


def _said(finding: str, report: str, words: Mapping[_Said, str]) -> set[_Said]:
    """Collects the kinds of `words` that a report says of a finding."""
    for pattern, instead in _IN_OTHER_WORDS:
        report = pattern.sub(instead, report)
    said: set[_Said] = set()
    for sentence in _SENTENCE_END.split(report):
        for clause in _CLAUSE_END.split(sentence):
            for place in _places(_MENTIONS[finding], clause):
                said |= _said_at(place, clause, words)
    return said


def _said_at(place: int, clause: str, words: Mapping[_Said, str]) -> set[_Said]:
    """Collects the kinds of `words` that a clause says of what it mentions at `place`."""
    hits = [(at, kind) for kind, pattern in words.items() for at in _places(pattern, clause)]
    own = {kind for at, kind in hits if _part(at, clause) == _part(place, clause)}
    if own:
        return own
    findings = [at for pattern in _MENTIONS.values() for at in _places(pattern, clause)]
    after = [(at, kind) for at, kind in hits if at > place]
    if not after:
        return set()
    at, kind = min(after)
    is_predicate = not any(_part(other, clause) == _part(at, clause) and other > at for other in findings)
    return {kind} if is_predicate else set()


def _places(pattern: str, clause: str) -> list[int]:
    """Finds where `pattern` stands in a clause as whole words and is not negated there."""
    found = re.finditer(rf"\b(?:{pattern})\b", clause, re.IGNORECASE)
    return [match.start() for match in found if not _is_negated(clause[: match.start()])]


def _is_negated(before: str) -> bool:
    """Tells whether a "no" reaches to the end of `before`: over "or" and commas it does, over "and" not."""
    return _NEGATION.search(_NEGATION_END.split(before)[-1]) is not None


def _part(place: int, clause: str) -> int:
    """Numbers the parts of a clause between commas and "and"."""
    return len(_PART_END.findall(clause[:place]))


def _only(said: Iterable[_Said]) -> _Said | None:
    every = tuple(said)
    return every[0] if len(every) == 1 else None


def _quoted(text: str) -> str:
    """Puts a piece of an answer into a sentence, on one line and cut to a readable length."""
    line = " ".join(text.split())
    return f'"{line[:_QUOTED_CHARACTERS_MAX]}..."' if len(line) > _QUOTED_CHARACTERS_MAX else f'"{line}"'
