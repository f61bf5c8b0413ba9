"""A list of findings, once it is cut into entries, and what denies in it. Pure, and nothing raises."""

import re
from collections.abc import Iterable, Sequence

from inference.engines.report_words import FINDING_NAMES, FindingList, quoted

_DENIES = re.compile(
    r"n['’]t\b|\b(?:no|not|none|nothing|nil|never|cannot|without|absent|absence|negative|neither|nor|except|exclud\w+"
    r"|rul(?:e|ed|es|ing) out|free of|clear of|unlikely|resolved|cleared|gone)\b",
    re.IGNORECASE,
)
_DOUBTS = (
    r"\b(?:possib\w+|probab\w+|likely|may|might|could|potential\w*|suspect\w*|suspicio\w+|question\w*|uncertain"
    r"|equivocal|concern\w*|consider\w*|differential|history)\b|\?"
)
_DENIES_OR_DOUBTS = re.compile(rf"{_DENIES.pattern}|{_DOUBTS}", re.IGNORECASE)
_REMARK = re.compile(rf"(?:{'|'.join(FINDING_NAMES)}) \(.*\)")
"""A name with a remark of its own: "edema (possible)" says nothing of the others."""

_OF_THOSE_BEFORE = re.compile(
    r"(?:(?:is|are|was|were|all|both|have|been) )*(?:not \w+|absent|excluded|ruled out|unlikely|possible|probable"
    r"|likely|resolved|none of (?:these|them|the above))"
)
_NAME = re.compile(rf"\b(?:{'|'.join(FINDING_NAMES)})\b")


def listed(sentences: Iterable[Sequence[str]], answer: str) -> FindingList:
    """Takes the findings out of a list's entries, and keeps what is none as a problem.

    Nothing after an entry that denies, doubts or holds a colon is taken for present: "no edema, pneumonia",
    "Unlikely: edema". Nor is what stands before it in its sentence, if it is said of that: "edema, pneumonia are
    not present".

    Args:
        sentences: of the list, each in its entries, in lower case and without marks around them.
        answer: the whole, for the problem if there is no entry.
    """
    names: list[str] = []
    refused: list[str] = []
    has_turned = False
    for sentence in sentences:
        entries = [entry for entry in sentence if entry]
        end = next((place for place, entry in enumerate(entries) if _turns_round(entry)), len(entries))
        if has_turned or any(_is_of_those_before(entry) for entry in entries):
            end = 0
        has_turned = has_turned or any(_turns_round(entry) for entry in entries)
        names += [entry for entry in entries[:end] if entry in FINDING_NAMES]
        refused += [entry for entry in entries[:end] if entry not in FINDING_NAMES] + entries[end:]
    found = tuple(dict.fromkeys(names))
    if found and not refused:
        return FindingList(found)
    problem = f"The list of findings holds what is no finding: {quoted(', '.join(refused) or answer)}."
    return FindingList(found, (problem,))


def before_denial(text: str) -> str:
    """Cuts a text where it begins to deny."""
    denial = _DENIES.search(text)
    return text if denial is None else text[: denial.start()]


def _turns_round(entry: str) -> bool:
    """Tells whether the entries that follow may be there or not."""
    if _REMARK.fullmatch(entry):
        return False
    return ":" in entry or _DENIES_OR_DOUBTS.search(entry) is not None


def _is_of_those_before(entry: str) -> bool:
    """Tells whether an entry denies or doubts what was named before that word."""
    denial = None if _REMARK.fullmatch(entry) else _DENIES_OR_DOUBTS.search(entry)
    if denial is None:
        return False
    return _OF_THOSE_BEFORE.fullmatch(entry) is not None or _NAME.search(entry[: denial.start()]) is not None
