"""What the words of a radiology report say of a finding: changed, on which side, measured. Read strictly, never raises.

Every engine's answers are read by these rules; what a model was asked, and in which form it answers, is its own.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from inference.reading import Change

FINDING_NAMES = (
    "enlarged cardiomediastinum",
    "cardiomegaly",
    "lung opacity",
    "lung lesion",
    "edema",
    "consolidation",
    "pneumonia",
    "atelectasis",
    "pneumothorax",
    "pleural effusion",
    "pleural other",
    "fracture",
    "support devices",
)
"""CheXbert's labels but "no finding", in the order and letter case of training."""


MEASUREMENT = re.compile(
    r"""
    [ ]?(?<![\w.])                                   # not the 10 of T10
    (?:\d+(?:[.,]\d+)?|\.\d+)                        # 35, 3.5, .5
    (?:\s*(?:x|×|by|to|-|–)\s*\d+(?:[.,]\d+)?)*      # 2 x 3, 3 to 4
    \s*-?\s*
    (?:mm|cm|ml|cc|millimet(?:er|re)s?|centimet(?:er|re)s?|inch(?:es)?)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""A number with its unit of length or volume, and the space before it."""

_QUOTED_CHARACTERS_MAX = 80

_MENTIONS: Mapping[str, str] = {
    "enlarged cardiomediastinum": r"cardiomediastin\w+|mediastin\w+",
    "cardiomegaly": r"cardiomegaly|heart(?! failure)|cardiac (?:silhouette|enlargement|size)",
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

_NEVER_GONE = frozenset({"enlarged cardiomediastinum", "support devices"})
"""What no report calls gone: a tube that was removed leaves the others, and "mediastinal" is said of drains."""

_NOT_WHOLLY = (
    r"almost|near|nearly|largely|mostly|mainly|partly|partial|partially|incomplete|incompletely|substantial"
    r"|substantially|significant|significantly|essentially|virtually|practically"
)
_CHANGES: Mapping[Change, str] = {
    Change.NEW: r"new|newly|(?:has|have) (?:developed|appeared|been placed)|interval development",
    Change.LARGER: r"increas(?:ed?|ing)|larger|worse|worsen(?:ed|ing)|progress(?:ed|ion)",
    Change.SMALLER: r"decreas(?:ed?|ing)|smaller|improv(?:ed|ing|ement)|regress(?:ed|ion)|resolving"
    rf"|(?:{_NOT_WHOLLY})[ -](?:(?:complete|completely|full|fully|interval)[ -])*"
    r"(?:resolved|resolution|cleared|clearing)",
    Change.UNCHANGED: r"unchanged|stable|similar",
    Change.RESOLVED: r"resolved|resolution|cleared|no longer (?:seen|present|visible)",
}
_CHANGES_OF_DEVICES: Mapping[Change, str] = {
    **_CHANGES,
    Change.RESOLVED: r"removed|no longer (?:seen|present|visible)",
}
_NOT_PLAINLY = re.compile(
    rf"\b(?:{_NOT_WHOLLY}|minimal|minimally|some|trace|residual|remain\w*|persist\w*|recurr\w*|except"
    r"|(?<!compared )(?<!comparison )to|for|until|ensure|confirm\w*|document\w*|follow\w*|recommend\w*"
    r"|suggest\w*|consider\w*|advis\w*|evaluat\w*|assess\w*|monitor\w*|repeat\w*|await\w*|pending|expect\w*"
    r"|if|unless|whether|should|will|would|can|could|may|might|appears?|seems?|possib\w+|probab\w+|likely"
    r"|presum\w+|suspect\w*|question\w*|history)\b|\?",
    re.IGNORECASE,
)
"""Words of degree, purpose and doubt: in their clause nothing is called resolved."""

_SIDES: Mapping[str, str] = {
    "left": r"left(?:-sided)?",
    "right": r"right(?:-sided)?",
    # "Both on PA and lateral views" counts views, "both in the upper and lower lobe" lobes.
    "bilateral": r"bi(?:lateral|basilar|basal|apical)(?:ly)?"
    r"|both(?! (?:on|in|pa|ap|frontal|lateral|views|films|projections)\b)",
}
_NO_CHANGE = (
    r"(?:no|not|without)(?: (?:acute|appreciabl[ey]|interim|interval|significant(?:ly)?|substantial(?:ly)?))*"
    " changed?"
)
_COMPARISON = re.compile(
    "|".join(
        (
            r"\b(?:compar(?:ed|ison|ing)|prior|previous(?:ly)?|interim|interval(?:ly)?|again|since|earlier|no longer",
            *_CHANGES.values(),
            r"(?:as|from|noted|present|seen|than) before|removed",
            rf"{_NO_CHANGE}|chang(?:ed|ing)|persist\w*|remain(?:s|ed)?|redemonstrat\w*",
            r"last (?:exam\w*|study|film|radiograph|x-ray))\b",
        )
    ),
    re.IGNORECASE,
)
_NOT_YET_RESOLVED = re.compile(
    r"\b(?:to|until|for|ensure|document|confirm|high)[ -](?:complete )?resolution\b", re.IGNORECASE
)
"""What only a later film can show, and a kind of CT."""

_SENTENCE_END = re.compile(r"\.(?:\s+|$)|\n")
_CLAUSE_END = re.compile(
    r"(?:;|\b(?:while|but|whereas|although|with)\b)"
    r"(?! (?:(?:it|is|still|an?|some|small|minimal) )*(?:persists?|remains?|(?:persistent|residual) (?:on|in|at))\b)",
    re.IGNORECASE,
)
"""Where something else begins; but "has resolved on the right but persists on the left" goes on about the same."""
_PART_END = re.compile(r",|\band\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:no|not|without|free of|negative for|absence of)\b(?! longer)", re.IGNORECASE)
_OTHER_SUBJECT = re.compile(
    r"\b(?:left|right)(?:-sided)?(?: \w+){1,4}? (?:is|are|was|were|has|have|appears?|remains?)\b",
    re.IGNORECASE,
)
"""A side of something that has a verb of its own: "the right lung is", "the left effusion has"."""

_OTHER_THING = re.compile(
    r"\b(?:none|hemi-?diaphragms?|diaphragm\w*|trachea\w*|costophrenic|shift\w*|displac\w+|deviat\w+|rotat\w+"
    r"|volume loss|elevat\w+|\w+(?:ectomy|ectomies|otomy|ostomy|plasty|centesis|desis)|surg\w+|resect\w+|removal"
    r"|replacement|prosthe\w+|implants?|clips?|shoulders?|breasts?)\b",
    re.IGNORECASE,
)
"""What is no finding and has a side of its own: "left pneumothorax, status post right lobectomy"."""

_NORMAL = re.compile(r"\b(?:normal|clear|unremarkable)\b", re.IGNORECASE)
_NEGATION_END = re.compile(r"\band\b", re.IGNORECASE)
_BETWEEN_SIDES = re.compile(
    r" (?:greater|larger|smaller|bigger|worse|more|less)(?: (?:severe|prominent|pronounced|extensive|marked))?"
    r"(?: (?:on|at|in) the( left| right))? than(?: (?:on|at|in))?(?: the)?( left| right)\b",
    re.IGNORECASE,
)
"""A comparison of one side with the other, and not with a prior exam."""


def _pair(one: str, other: str) -> str:
    """Matches two sides of the same: "left and right", "on the left and on the right", "left, small right"."""
    size = "(?:tiny|trace|small|mild|minimal|moderate|large|severe|massive)"
    # "Atelectasis on the left and small right effusion" is two things.
    sized = rf"(?<!the ){one}(?:-sided)?(?:,| and|, and) (?:an? )?{size}(?: to {size})? {other}"
    return rf"{one}(?:-sided)?(?: and(?: (?:on|at|in))?(?: the)?)? {other}|{sized}"


_IN_OTHER_WORDS = (
    (_BETWEEN_SIDES, r"\1\2"),
    (
        re.compile(rf"\b{_NO_CHANGE}\b", re.IGNORECASE),
        "unchanged",
    ),
    (
        re.compile(
            r"\b(?:no|without)(?: \w+)? (?:resolution|improvement|decrease|increase|worsening|progression) (?:in|of)\b",
            re.IGNORECASE,
        ),
        "still",
    ),
    (re.compile(rf"\b(?:{_pair('left', 'right')}|{_pair('right', 'left')})\b", re.IGNORECASE), "bilateral"),
)
_Said = TypeVar("_Said", bound=str)


@dataclass(frozen=True, slots=True)
class FindingList:
    """The findings an answer names, in its order, each once, and what else it held."""

    names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def change_of(finding: str, report: str) -> Change | None:
    """Tells what a report says of a finding against the prior exam, or None if it says nothing or two things.

    A word of change counts for a finding of the same clause: one that follows its findings ("effusion and
    edema are unchanged") for all of them, one that comes before ("new effusion and edema") for those of its
    own part. Negated mentions ("no new effusion") say nothing.

    Resolved is what every mention calls so plainly: a finding that has gone on one side, or almost, is there.
    """
    words = _CHANGES_OF_DEVICES if finding == "support devices" else _CHANGES
    said = [
        kinds for clause, places in _mentions(finding, report) for kinds in _said_at(places, clause, words)
    ]
    change = _only(set().union(*said))
    if change is Change.RESOLVED and (finding in _NEVER_GONE or not all(said)):
        return None
    return change


def side_of(finding: str, report: str) -> str | None:
    """Tells where a report sees a finding, by the rule of `change_of`; with both it is "bilateral".

    A clause with both sides and nothing else that has a side is about both; with something else, both sides in
    one part say nothing. Where it has gone does not count while it is elsewhere.
    """
    if finding in _MIDLINE:
        return None
    every: list[set[str]] = []
    still: list[set[str]] = []
    for clause, places in _mentions(finding, report):
        sides = _sides_at(finding, places, clause)
        changes = _said_at(places, clause, _CHANGES)
        every += sides
        still += [side for side, change in zip(sides, changes, strict=True) if change != {Change.RESOLVED}]
    told = set().union(*(still or every))
    return "bilateral" if "bilateral" in told or {"left", "right"} <= told else _only(told)


def resolved_findings(report: str) -> tuple[str, ...]:
    """Lists the findings of which a report says plainly, wherever it mentions them, that they have gone."""
    return tuple(name for name in FINDING_NAMES if change_of(name, report) is Change.RESOLVED)


def comparison_words(report: str) -> tuple[str, ...]:
    """Lists the words by which a report compares with an earlier exam, each once, in lower case."""
    for pattern in (_BETWEEN_SIDES, _NOT_YET_RESOLVED):
        report = pattern.sub("", report)
    return tuple(dict.fromkeys(match[0].lower() for match in _COMPARISON.finditer(report)))


def measurements(text: str) -> tuple[str, ...]:
    """Lists the numbers with a unit in a text; training deleted decimal points, so none can be trusted."""
    return tuple(dict.fromkeys(match[0].strip() for match in MEASUREMENT.finditer(text)))


def report_problems(
    text: str, *, has_prior: bool, why_no_measurement: str, what: str = "report"
) -> tuple[str, ...]:
    """Says what in a model's own words must not be trusted.

    Args:
        has_prior: whether an earlier exam was shown to the model.
        why_no_measurement: ends the sentence "The report measures (...), which this model cannot: ...".
        what: what the text is, as the sentences call it.
    """
    problems: list[str] = []
    if not text:
        problems.append(f"The model gave no {what}.")
    compared = comparison_words(text)
    if compared and not has_prior:
        problems.append(
            f'The {what} compares ("{", ".join(compared)}"), but no earlier exam was shown to the model.'
        )
    measured = measurements(text)
    if measured:
        problems.append(
            f'The {what} measures ("{", ".join(measured)}"), which this model cannot: {why_no_measurement}.'
        )
    return tuple(problems)


def summary_problems(summary: str, report: str) -> tuple[str, ...]:
    """Says which findings a summary states that the summarised report does not."""
    added = [name for name in FINDING_NAMES if _is_stated(name, summary) and not _is_stated(name, report)]
    if not added:
        return ()
    return (
        f"The impression speaks of {', '.join(added)}, of which the draft it summarises says no such thing.",
    )


def quoted(text: str) -> str:
    """Puts a piece of an answer into a sentence, on one line and cut to a readable length."""
    line = " ".join(text.split())
    return f'"{line[:_QUOTED_CHARACTERS_MAX]}..."' if len(line) > _QUOTED_CHARACTERS_MAX else f'"{line}"'


def _is_stated(finding: str, text: str) -> bool:
    """Tells whether a text mentions a finding anywhere, not negated and in no clause that calls things normal."""
    clauses = (clause for sentence in _SENTENCE_END.split(text) for clause in _CLAUSE_END.split(sentence))
    return any(_Clause(clause).places(_MENTIONS[finding]) for clause in clauses if not _NORMAL.search(clause))


def _mentions(finding: str, report: str) -> Iterator[tuple["_Clause", list[int]]]:
    """Gives each clause that mentions a finding, and where in it."""
    for pattern, instead in _IN_OTHER_WORDS:
        report = pattern.sub(instead, report)
    for sentence in _SENTENCE_END.split(report):
        for text in _CLAUSE_END.split(sentence):
            clause = _Clause(text)
            if places := clause.places(_MENTIONS[finding]):
                yield clause, places


def _sides_at(finding: str, places: Sequence[int], clause: "_Clause") -> list[set[str]]:
    """Gives the sides of each of a clause's mentions of a finding."""
    own = clause.without_other_things(finding)
    both = all(own.places(_SIDES[side]) for side in ("left", "right"))
    if both and own.is_about_only(finding):
        return [{"bilateral"}] * len(places)
    said = _said_at(places, clause, _SIDES)
    return [set() if side == {"left", "right"} else side for side in said]


def _said_at(places: Iterable[int], clause: "_Clause", words: Mapping[_Said, str]) -> Iterator[set[_Said]]:
    """Gives, for each of the mentions at `places`, the kinds of `words` that the clause says of it."""
    hits = sorted((at, kind) for kind, pattern in words.items() for at in clause.places(pattern))
    if not clause.is_plain:
        hits = [(at, kind) for at, kind in hits if kind != Change.RESOLVED]
    kinds_of_part: dict[int, set[_Said]] = {}
    for at, kind in hits:
        kinds_of_part.setdefault(clause.part(at), set()).add(kind)
    findings = (at for pattern in _MENTIONS.values() for at in clause.places(pattern))
    last_finding_of_part = {clause.part(at): at for at in sorted(findings)}
    for place in places:
        if own := kinds_of_part.get(clause.part(place)):
            yield own
            continue
        next_hit = bisect_right(hits, place, key=lambda hit: hit[0])
        if next_hit == len(hits):
            yield set()
            continue
        at, kind = hits[next_hit]
        is_predicate = last_finding_of_part.get(clause.part(at), -1) <= at
        yield {kind} if is_predicate else set()


class _Clause:
    """A clause with its joints found once: a model that repeats itself makes clauses of thousands of characters."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._part_ends = [match.end() for match in _PART_END.finditer(text)]
        self._ands = [match.end() for match in _NEGATION_END.finditer(text)]
        self._negations = [match.span() for match in _NEGATION.finditer(text)]
        self.is_plain = _NOT_PLAINLY.search(text) is None

    def places(self, pattern: str) -> list[int]:
        """Finds where `pattern` stands as whole words and is not negated there."""
        found = re.finditer(rf"\b(?:{pattern})\b", self._text, re.IGNORECASE)
        return [match.start() for match in found if not self._is_negated(match.start())]

    def part(self, place: int) -> int:
        """Numbers the parts between commas and "and"."""
        return bisect_right(self._part_ends, place)

    def without_other_things(self, finding: str) -> "_Clause":
        """Leaves out what stands between commas and is of something else that has a side."""
        pieces = self._text.split(",")
        mention = re.compile(rf"\b(?:{_MENTIONS[finding]})\b", re.IGNORECASE)
        return _Clause(",".join(one for one in pieces if mention.search(one) or not _OTHER_THING.search(one)))

    def is_about_only(self, finding: str) -> bool:
        """Tells whether a clause has one subject, and all of it is there: "the right lung is clear" is another."""
        subjects = (match[0] for match in _OTHER_SUBJECT.finditer(self._text))
        return (
            not any(self.places(pattern) for name, pattern in _MENTIONS.items() if name != finding)
            and not self.places(_CHANGES[Change.RESOLVED])
            and not _NORMAL.search(self._text)
            and not self._has_side_of_another(finding)
            and all(re.search(_MENTIONS[finding], subject, re.IGNORECASE) for subject in subjects)
        )

    def _has_side_of_another(self, finding: str) -> bool:
        """Tells whether something else takes a side; one that stands beside the finding may be the finding's own."""
        for start, end in pairwise((0, *self._part_ends, len(self._text))):
            part = self._text[start:end]
            if _OTHER_THING.search(part):
                sides = sum(
                    bool(re.search(rf"\b(?:{_SIDES[side]})\b", part, re.IGNORECASE))
                    for side in ("left", "right")
                )
                if sides > bool(re.search(rf"\b(?:{_MENTIONS[finding]})\b", part, re.IGNORECASE)):
                    return True
        return False

    def _is_negated(self, place: int) -> bool:
        """Tells whether a "no" reaches to a place: over "or" and commas it does, over "and" not."""
        ands_before = bisect_right(self._ands, place)
        reach_start = self._ands[ands_before - 1] if ands_before else 0
        negations_before = bisect_right(self._negations, place, key=lambda span: span[1])
        return negations_before > 0 and self._negations[negations_before - 1][0] >= reach_start


def _only(said: Iterable[_Said]) -> _Said | None:
    every = tuple(said)
    return every[0] if len(every) == 1 else None
