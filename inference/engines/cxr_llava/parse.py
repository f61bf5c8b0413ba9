"""What a report of CXR-LLaVA says of the six findings it is asked about, read with care; nothing raises.

A finding is present or absent here only if its sentence says so plainly. Whatever hedges, offers an alternative or
is built in a way that these rules cannot follow makes it uncertain; a finding that is not mentioned is not listed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from inference.engines.cxr_llava.prompts import FINDING_NAMES, remove_structure
from inference.reading import Status


def _words(pattern: str) -> re.Pattern[str]:
    """Matches whole words, in either letter case."""
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


_HEART = r"(?:heart(?! failure)|cardiac (?:silhouette|size|shadow|contours?))"
_SAME_PART = r"(?:(?!\b(?:and|with)\b)[^.;,])*?"
"""From the heart to the word about it: in "the heart is normal with enlarged hila" it is not enlarged."""

_MENTIONS: Mapping[str, re.Pattern[str]] = {
    "atelectasis": _words(r"atelecta\w+"),
    "cardiomegaly": _words(
        rf"cardiomegaly|cardiac enlargement|enlarge(?:d|ment of the) {_HEART}"
        rf"|{_HEART}{_SAME_PART} (?P<place>enlarged)"
    ),
    "consolidation": _words(r"consolidat\w+"),
    "edema": _words(r"(?<!soft tissue )(?<!subcutaneous )o?edema"),
    "pleural effusion": _words(r"(?<!pericardial )effusions?|pleural fluid"),
    "pneumothorax": _words(r"(?:hydro)?pneumothora(?:x|xes|ces)"),
}
"""How reports mention each finding; `place` is the word that counts where a mention is long."""

_NORMAL_HEART = _words(
    rf"(?:{_HEART}|cardiomediastinal silhouette){_SAME_PART} (?P<place>normal)"
    rf"|normal (?:{_HEART}|cardiomediastinal silhouette)"
)
"""What says that there is no cardiomegaly without naming it."""

_NEARLY = re.compile(
    r"\b(?:upper|top|high|low|borderline|near|nearly)[ -](?:limits? (?:of )?)?$", re.IGNORECASE
)
"""What before "normal" makes it less than that."""

_IN_OTHER_WORDS = (
    (_words(r"(?:no|not|without)(?: (?:interval|significant|substantial))* changed?(?: (?:in|of))?"), "same"),
    (re.compile(r"\bvs\. |(?<=[a-z])/(?=[a-z])", re.IGNORECASE), " or "),
    (_words(rf"({_HEART}(?: size)?) and (?:the )?mediastin\w+(?: \w+)? are"), r"\1 are"),
)
"""What the rules below would stumble over, and what it is taken for."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
_CLAUSE_END = re.compile(
    r";|\b(?:but|however|although|though|while|whereas|except|other than|aside from|apart from)\b",
    re.IGNORECASE,
)
_JOINT = re.compile(r"(?:,(?:\s*and\b)?|\band\b)(?!\s*n?or\b)", re.IGNORECASE)
"""Where one part of a clause ends; before "or" none does, since a list goes on there."""

_VERB = _words(
    "is|are|was|were|has|have|had|may|might|could|can|cannot|appears?|remains?|persists?|shows|demonstrates"
    "|reveals|suggests|represents|reflects"
)
_DENIAL = _words(
    "no|not|without|neither|free of|clear of|negative for|absence of|lack of"
    r"|(?:(?<!\w )|(?<=and )|(?<=there is ))(?:absent|nil)"
)
"""What comes before a finding that is not there. "Absent" after a word is said of that: "effusion absent, edema"."""

_DOUBT = _words(
    r"possib\w+|probab\w+|likely|unlikely|perhaps|may|might|could|suspect\w*|suspicio\w+|suggest\w*|concern\w*"
    r"|question\w*|equivocal|uncertain|unclear|indeterminate|borderline|potential\w*|presum\w+|consider\w*"
    r"|differential|favou?r\w*|rather than|cannot|can not|exclu\w+|rul(?:e|ed|ing) out|if|risk|evaluat\w+"
    r"|assess\w*|information|history|prior|previous(?:ly)?|status post|treat\w*|remov\w+|resolv\w+|resolution"
    r"|doubt\w*|hardly|never|nothing|denie[ds]|gone|unremarkable for|zero|minus"
)
"""Words that leave it open whether there is a finding now."""

_ALTERNATIVE = _words("or|either|versus|vs")
_HEDGE = _words(
    r"large|sizea?ble|massive|loculated|tension|apical|basal|basilar|left|right|more|than|other|additional"
    r"|further|enough|only|doubt|markedly|severely|(?:overt|frank|gross|definite|convincing|obvious|clear"
    r"|significant|substantial)(?:ly)?|new|interval|worsen\w+|increas\w+|decreas\w+|progress\w+|improve\w+"
    r"|enlarg\w+|recurr\w+|reaccumul\w+|with|due|in|from|near|adjacent"
)
"""Words that keep a "no" from denying the finding itself: "no large effusion", "no opacity due to edema"."""

_NEW_START = _words(
    "a|an|the|there|this|mild|moderate|severe|small|tiny|trace|minimal|slight|subtle|patchy|linear|streaky|dense"
    "|diffuse|multifocal|bilateral|bibasilar|basilar|basal|stable|persistent|unchanged|low"
)
"""Words with which, after a comma or "and", something begins that an earlier "no" may not reach."""

_SEEN = (
    r"(?:seen|present|identified|evident|observed|noted|visuali[sz]ed|appreciated|detected|visible|found"
    r"|demonstrated)"
)
_GONE = re.compile(
    rf"\s*(?:(?:is|are|was|were|has|have|had)\s+)?(?:(?:now|completely|fully|been)\s+)*"
    rf"(?:(?:not|no longer)\s+(?:been\s+)?{_SEEN}|absent|resolved|cleared|none)\b"
    rf"|\s*[:=(–—-]\s*(?:none|nil|absent|negative|not {_SEEN}|no(?= evidence\b|\W*$))\b",
    re.IGNORECASE,
)
"""What follows a finding that is not there: "is not seen", "has resolved", ": none", "- none"."""

_ANSWERED_NO = re.compile(r"\s*,\s*(?:none|nil|no|absent|negative)\W*$", re.IGNORECASE)
"""What follows a finding at the end of its statement: ", none"."""

_MANY = _words("are|were|have")
_DOUBTED = re.compile(rf"{_DOUBT.pattern}|\bnot\b|\?", re.IGNORECASE)
"""What follows a finding that may be there."""

_HEADING = re.compile(r"\s*:")
"""What follows a finding that is a heading, and no more; what comes after it may be anything."""

_PREDICATE_END = re.compile(rf"{_JOINT.pattern}|\bwith\b", re.IGNORECASE)
_SIDE = _words("left|right")
_LIST = re.compile(r",|\b(?:and|n?or)\b", re.IGNORECASE)
_LIST_END = _words("and|n?or")
_ON_ONE_SIDE = re.compile(r"\b(?:on|in|at)(?: the)? (?:left|right)\b|^\W*(?:left|right)\W*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReportedFindings:
    """What a report says of the findings it mentions, in FINDING_NAMES' order, and where it contradicts itself."""

    statuses: Mapping[str, Status]
    problems: tuple[str, ...] = ()


def tidy(answer: str) -> str:
    """Takes the conversation's structure off an answer, and spaces at its ends."""
    return remove_structure(answer).strip()


def parse_report(report: str) -> ReportedFindings:
    """Reads what a report says of each of the six findings.

    Sentences are weighed together: present and uncertain make present, absent and uncertain make uncertain;
    present and absent make uncertain and a problem.
    """
    statements = tuple(_statements(report))
    statuses: dict[str, Status] = {}
    problems: list[str] = []
    for name in FINDING_NAMES:
        said = {status for statement in statements for status in _said(name, statement)}
        if not said:
            continue
        if {Status.PRESENT, Status.ABSENT} <= said:
            problems.append(f"The report says that there is {name}, and that there is none.")
            statuses[name] = Status.UNCERTAIN
        elif Status.PRESENT in said:
            statuses[name] = Status.PRESENT
        else:
            statuses[name] = Status.ABSENT if said == {Status.ABSENT} else Status.UNCERTAIN
    return ReportedFindings(statuses, tuple(problems))


def _statements(report: str) -> Iterator[str]:
    """Cuts a report into statements, the pieces of sentences beyond which no "no" and no "may" reaches."""
    for pattern, instead in _IN_OTHER_WORDS:
        report = pattern.sub(instead, report)
    for sentence in _SENTENCE_END.split(report):
        for clause in _CLAUSE_END.split(sentence):
            yield from _clause_statements(clause)


def _clause_statements(clause: str) -> Iterator[str]:
    """Cuts a clause before each part that has a verb of its own: one after another verb, or with no finding."""
    start = 0
    joints = list(_JOINT.finditer(clause))
    ends = [*(joint.start() for joint in joints), len(clause)]
    for joint, end in zip(joints, ends[1:], strict=True):
        part = clause[joint.end() : end]
        verb = _VERB.search(part)
        if verb is None:
            continue
        has_subject = any(pattern.search(part[: verb.start()]) for pattern in _MENTIONS.values())
        if _VERB.search(clause[start : joint.start()]) or not has_subject:
            yield clause[start : joint.start()]
            start = joint.end()
    yield clause[start:]


def _said(name: str, statement: str) -> Iterator[Status]:
    """Gives the status of each mention of a finding in a statement."""
    for start, end in _places(_MENTIONS[name], statement):
        yield _status(statement[:start], statement[end:])
    if name == "cardiomegaly":
        for start, end in _places(_NORMAL_HEART, statement):
            is_normal = _status(statement[:start], statement[end:]) is Status.PRESENT
            is_plain = is_normal and not _NEARLY.search(statement[:start])
            yield Status.ABSENT if is_plain else Status.UNCERTAIN


def _places(pattern: re.Pattern[str], statement: str) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(statement):
        yield match.span("place" if match.groupdict().get("place") else 0)


def _status(before: str, after: str) -> Status:
    """Tells whether a finding is there, from what its statement says before and after it."""
    denials = list(_DENIAL.finditer(before))
    if denials:
        is_absent = _is_plainly_denied(before, denials, after)
        return Status.ABSENT if is_absent else Status.UNCERTAIN
    if _DOUBT.search(before):
        return Status.UNCERTAIN
    verb = _VERB.search(after)
    subject_rest, predicate = (after[: verb.start()], after[verb.start() :]) if verb else ("", after)
    predicate = _PREDICATE_END.split(predicate)[0]
    if _GONE.match(predicate) or _ANSWERED_NO.match(after):
        # "Effusion and pneumothorax are not seen" is about both, "effusion, pneumothorax is not seen" may not be.
        is_subject = not _JOINT.search(subject_rest) or _MANY.match(predicate)
        return Status.ABSENT if is_subject and not _SIDE.search(before + after) else Status.UNCERTAIN
    is_alternative = _ALTERNATIVE.search(before + _DENIAL.split(after)[0])
    is_doubtful = is_alternative or _DOUBTED.search(predicate) or _HEADING.match(after)
    return Status.UNCERTAIN if is_doubtful else Status.PRESENT


def _is_plainly_denied(before: str, denials: Sequence[re.Match[str]], after: str) -> bool:
    """Tells whether the last "no" of `before` denies the finding itself that comes next."""
    *earlier, last = denials
    gap = before[last.end() :]
    if any(pattern.search(gap) for pattern in (_HEDGE, _DOUBT, _VERB)) or _ON_ONE_SIDE.search(after):
        return False
    if earlier and not _LIST.search(before[earlier[-1].end() : last.start()]):
        return False  # "not without effusion"
    words_before = before[: last.start()].split()
    if words_before and _DOUBT.fullmatch(words_before[-1]):
        return False  # "may not"
    *_, own_part = parts = _JOINT.split(gap)
    if len(parts) == 1:
        return True
    # A list is closed by "or" or "and". In "no acute process, atelectasis" no list was meant.
    is_closed = _LIST_END.search(gap + after) is not None
    return is_closed and not _NEW_START.search(own_part)
