"""The grammar of the synthetic reports: a closed vocabulary, a sentence for each finding, then the negatives.

Every sentence is already in the form that M4CXR's cleaning leaves: no comma, no figure, no sign.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from inference.phantom.findings import DEVICES, FOCAL_ZONES, GRADES, NAMES, TrueFinding, change_between
from inference.reading import Change

LUNG_FINDINGS = ("lung lesion", "edema", "consolidation", "atelectasis", "pneumothorax", "pleural effusion")

SINGLE = (
    "There is {a} {noun}",
    "{A} {noun} is present",
    "{A} {noun} is seen",
)
PLURAL = (
    "There are {noun}",
    "{Noun} are present",
    "{Noun} are seen",
)
COMPARED = {
    Change.NEW: ("There is {a_new} {noun}", "{A_new} {noun} has appeared since the prior exam"),
    Change.LARGER: (
        "The {thing} has increased and is now {size}",
        "The {thing} is larger than before and now {size}",
    ),
    Change.SMALLER: (
        "The {thing} has decreased and is now {size}",
        "The {thing} is smaller than before and now {size}",
    ),
    Change.UNCHANGED: ("{A} {noun} is unchanged", "{A} {noun} is unchanged since the prior exam"),
    Change.RESOLVED: ("The {thing} has resolved", "The previously seen {thing} has resolved"),
}
COMPARED_PLURAL = {
    Change.NEW: ("There are new {noun}", "New {noun} have appeared since the prior exam"),
    Change.LARGER: (
        "The {thing} have increased and are now {size}",
        "The {thing} are larger than before and now {size}",
    ),
    Change.SMALLER: (
        "The {thing} have decreased and are now {size}",
        "The {thing} are smaller than before and now {size}",
    ),
    Change.UNCHANGED: ("{Noun} are unchanged", "{Noun} are unchanged since the prior exam"),
    Change.RESOLVED: ("The {thing} have resolved", "The previously seen {thing} have resolved"),
}
DEVICE = ("{A} {noun} is in place", "{A} {noun} is present")
COMPARED_DEVICE = {
    Change.NEW: ("There is a new {noun}", "A new {noun} has been placed since the prior exam"),
    Change.UNCHANGED: ("{A} {noun} is unchanged", "{A} {noun} is in unchanged position"),
    Change.RESOLVED: ("The {noun} has been removed", "The previously seen {noun} has been removed"),
}
CLEAR_LUNGS = ("The lungs are clear", "Both lungs are clear")
NORMAL_HEART = ("The heart size is normal", "Heart size is normal")
NEGATIVES = {
    "pneumothorax": "There is no pneumothorax",
    "pleural effusion": "There is no pleural effusion",
    "consolidation": "There is no focal consolidation",
    "edema": "There is no pulmonary edema",
}
NO_FLUID_NO_AIR = "There is no pleural effusion or pneumothorax"
NORMAL_IMPRESSION = "No acute finding"
INDICATIONS = (
    "Shortness of breath",
    "Cough and fever",
    "Chest pain",
    "Evaluation before surgery",
    "Check of devices",
    "Known heart disease",
    "Follow up",
)
UNCOUNTED = ("cardiomegaly", "edema", "atelectasis")
"""Nouns that stand without an article."""


def thing(finding: TrueFinding) -> str:
    """Names a finding by what stays the same of it: "left pleural effusion", not its size."""
    side = f"{finding.side} " if finding.side else ""
    place = f"in the {finding.side} {finding.zone} zone"
    match finding.name:
        case "cardiomegaly":
            return "cardiomegaly"
        case "edema":
            return "bilateral pulmonary edema"
        case "lung lesion":
            return f"round lung lesion {place}"
        case "consolidation":
            return f"consolidation {place}"
        case "atelectasis":
            return f"plate atelectasis {place}"
        case "pneumothorax":
            return f"{side}pneumothorax"
        case "pleural effusion":
            return f"{side}pleural effusion{'s' if finding.side == 'bilateral' else ''}"
        case _:
            return f"{side}{finding.device}"


def sentences(finding: TrueFinding, change: Change | None) -> tuple[str, ...]:
    """Returns every wording of one finding; `change` is None if no prior exam was looked at."""
    noun = " ".join(filter(None, (finding.size, thing(finding))))
    patterns: tuple[str, ...]
    if finding.device:
        patterns = DEVICE if change is None else COMPARED_DEVICE[change]
    elif finding.name == "pleural effusion" and finding.side == "bilateral":
        patterns = PLURAL if change is None else COMPARED_PLURAL[change]
    else:
        patterns = SINGLE if change is None else COMPARED[change]
    article = "" if finding.name in UNCOUNTED else "an " if noun[0] in "aeiou" else "a "
    words = {
        "noun": noun,
        "Noun": _capital(noun),
        "thing": thing(finding),
        "size": finding.size,
        "a": article.strip(),
        "A": article.strip().capitalize(),
        "a_new": "new" if not article else "a new",
        "A_new": "New" if not article else "A new",
    }
    return tuple(_capital(" ".join(pattern.format(**words).split())) for pattern in patterns)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def findings_text(findings: Sequence[TrueFinding], before: Sequence[TrueFinding] | None, seed: int) -> str:
    """Writes the findings section of one exam.

    Args:
        findings: what the film shows.
        before: what the prior exam showed, or None if no prior was looked at: then nothing is compared.
        seed: of the wording.
    """
    rng = np.random.default_rng([20, seed])
    lines = [str(rng.choice(sentences(finding, change))) for finding, change in compared(findings, before)]
    lines += negatives(findings, before or (), rng)
    return ". ".join(lines) + "."


def compared(
    findings: Sequence[TrueFinding], before: Sequence[TrueFinding] | None
) -> list[tuple[TrueFinding, Change | None]]:
    """Returns the findings of both exams in the order of NAMES, each with its change (None: no prior)."""
    if before is None:
        return [(finding, None) for finding in findings]
    was = {finding.identity: finding for finding in before}
    now = {finding.identity: finding for finding in findings}
    everything = sorted(
        {**was, **now}.values(), key=lambda finding: (NAMES.index(finding.name), finding.device or "")
    )
    return [(f, change_between(was.get(f.identity), now.get(f.identity))) for f in everything]


def negatives(
    findings: Sequence[TrueFinding], before: Sequence[TrueFinding], rng: np.random.Generator
) -> list[str]:
    """Returns what a reader would say is not there; nothing about what has just been called resolved."""
    said = {finding.name for finding in (*findings, *before)}
    lines = [] if "cardiomegaly" in said else [str(rng.choice(NORMAL_HEART))]
    if not said & set(LUNG_FINDINGS):
        lines.append(str(rng.choice(CLEAR_LUNGS)))
    if not said & {"pneumothorax", "pleural effusion"}:
        return [*lines, NO_FLUID_NO_AIR]
    return lines + [line for name, line in NEGATIVES.items() if name not in said]


def impression_text(findings: Sequence[TrueFinding], before: Sequence[TrueFinding] | None) -> str:
    """Writes the impression: each finding in one short phrase; devices only where they came or went."""
    phrases = [_impression(finding, change) for finding, change in compared(findings, before)]
    return ". ".join([phrase for phrase in phrases if phrase] or [NORMAL_IMPRESSION]) + "."


def _impression(finding: TrueFinding, change: Change | None) -> str:
    noun = " ".join(filter(None, (finding.size, thing(finding))))
    match change:
        case None | Change.UNCHANGED if finding.device:
            return ""
        case None:
            return _capital(noun)
        case Change.RESOLVED:
            return f"Removed {thing(finding)}" if finding.device else f"Resolved {thing(finding)}"
        case Change.LARGER:
            return f"Increased {thing(finding)} now {finding.size}"
        case Change.SMALLER:
            return f"Decreased {thing(finding)} now {finding.size}"
        case _:
            return f"{change.capitalize()} {noun}"


def possible_findings() -> Iterator[TrueFinding]:
    """Yields every finding that can be drawn, once, apart from its form."""
    for name, sizes in GRADES.items():
        sides: tuple[str | None, ...] = ("left", "right")
        zones: tuple[str | None, ...] = FOCAL_ZONES.get(name, (None,))
        if name == "cardiomegaly":
            sides = (None,)
        elif name == "edema":
            sides = ("bilateral",)
        elif name == "pneumothorax":
            zones = ("upper",)
        elif name == "pleural effusion":
            sides, zones = ("left", "right", "bilateral"), ("lower",)
        for side, zone, size in product(sides, zones, sizes):
            yield TrueFinding(name, side, zone, size)
    for device in DEVICES:
        for side in (None,) if device == "endotracheal tube" else ("left", "right"):
            yield TrueFinding("support devices", side, device=device)


def all_sentences() -> tuple[str, ...]:
    """Returns every sentence that a report, impression or indication can hold, without its full stop."""
    lines: set[str] = {*CLEAR_LUNGS, *NORMAL_HEART, *NEGATIVES.values(), NO_FLUID_NO_AIR}
    lines |= {NORMAL_IMPRESSION, *INDICATIONS}
    for finding in possible_findings():
        changes = (None, *Change) if not finding.device else (None, *COMPARED_DEVICE)
        for change in changes:
            lines |= set(sentences(finding, change))
            lines.add(_impression(finding, change))
    return tuple(sorted(lines - {""}))


def all_words() -> tuple[str, ...]:
    """Returns every word of `all_sentences`, as written, sorted."""
    return tuple(sorted({word for line in all_sentences() for word in line.split()}))
