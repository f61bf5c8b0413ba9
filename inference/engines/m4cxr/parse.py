"""What M4CXR's answers say, read strictly: what is not understood is kept as a sentence, and nothing raises.

An answer names what is positive; training left uncertain, negative and unmentioned findings out alike. So a
finding that is not named is not called absent here.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from inference.engines.listed import before_denial, listed
from inference.engines.m4cxr.prompts import remove_structure
from inference.engines.report_words import FINDING_NAMES, FindingList, quoted
from inference.geometry import MODEL_UNITS

ModelBox = tuple[int, int, int, int]
"""Left, top, right, bottom in 0..MODEL_UNITS of the middle square of the image."""

_BOX = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]", re.ASCII)
_SENTENCE_END = re.compile(r"\.\s")
_Said = TypeVar("_Said")


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
class Places:
    """The boxes of an answer that holds nothing else, in its order."""

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
    bare = text.rstrip(". \n").lower()
    if bare == "not found":
        return FindingList()
    sentences = [[entry.strip() for entry in sentence.split(",")] for sentence in _SENTENCE_END.split(bare)]
    return listed(sentences, text)


def parse_grounding(answer: str, finding: str) -> Grounding:
    """Reads `Yes. [0,63,25,90], [57,66,90,98].` or `Not present.`; behind what denies no box is kept."""
    text = tidy(answer)
    boxes, problems = _boxes(text)
    rest = _BOX.sub("", text).strip(" ,.\n").lower()
    is_present = {"yes": True, "not present": False}.get(rest)
    if is_present is None or is_present != bool(boxes or problems):
        problems += (f"The answer to where {finding} is could not be read: {quoted(text)}.",)
    return Grounding(is_present, _boxes(before_denial(text))[0], problems)


def parse_places(answer: str, what: str) -> Places:
    """Reads `[57,66,90,98], [0,63,25,90].`, one box or more and nothing else; behind what denies no box is kept.

    Args:
        what: what the boxes are of, for the sentence if they cannot be read.
    """
    text = tidy(answer)
    boxes, problems = _boxes(text)
    if _BOX.sub("", text).strip(" ,.\n") or not (boxes or problems):
        problems += (f"The answer to where {what} is could not be read: {quoted(text)}.",)
    return Places(_boxes(before_denial(text))[0], problems)


def parse_placed_findings(answer: str, names: Collection[str] = FINDING_NAMES) -> PlacedFindings:
    """Reads `consolidation [57,66,90,98], atelectasis [0,63,25,90], [6,12,25,31].` or `Not found.`

    A name belongs to the box after it and to those that follow without a name.

    Args:
        names: those that were asked for, in lower case; a box of any other is refused and told.
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
        if name in names:
            placed[name] = _each_once((*placed.get(name, ()), *boxes))
        else:
            problems += (f"A box stands behind what was not asked for: {quoted(name)}.",)
    rest = text[end:].strip(" ,.\n")
    if rest or not (placed or problems):
        problems += (f"The answer with places could not be read to its end: {quoted(rest)}.",)
    return PlacedFindings(tuple(placed.items()), problems)


def _boxes(text: str) -> tuple[tuple[ModelBox, ...], tuple[str, ...]]:
    """Reads every box of a text, each once, and says which were none."""
    boxes: list[ModelBox] = []
    problems: list[str] = []
    for match in _BOX.finditer(text):
        # Longer digits are refused before they are numbers: int() refuses thousands of them by an exception.
        numbers = [int(digits) if len(digits) <= 3 else MODEL_UNITS + 1 for digits in match.groups()]
        left, top, right, bottom = numbers
        if max(numbers) > MODEL_UNITS or right <= left or bottom <= top:
            problems.append(f"The model gave a place that is none: {quoted(match[0])}.")
        else:
            boxes.append((left, top, right, bottom))
    return _each_once(boxes), _each_once(problems)


def _each_once(said: Iterable[_Said]) -> tuple[_Said, ...]:
    """Leaves out what was said before: a model that repeats itself shows one place, not many upon each other."""
    return tuple(dict.fromkeys(said))
