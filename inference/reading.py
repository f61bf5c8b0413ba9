"""What a model says about a case: findings with boxes, a report, and every question and answer word for word."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What the model says of a finding. "Not named" is not "absent": a model that only names what it sees
    gives no ABSENT at all."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


class Change(StrEnum):
    """A finding compared with the prior exam."""

    NEW = "new"
    LARGER = "larger"
    SMALLER = "smaller"
    UNCHANGED = "unchanged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on one image, in that image's own stored pixels, whatever grid the model used.

    Coordinates are (column, row) with fractions: 0.0, 0.0 is the top left *corner* of the top left
    pixel; the bottom right corner of the image is columns, rows (PS3.3 Table C.18.6-1).
    Always 0 <= left < right <= columns, and likewise for rows.
    """

    image_key: str
    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ValueError(
                f"not a box: left {self.left}, top {self.top}, right {self.right}, bottom {self.bottom}"
            )


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        name: lower-case name of the CheXbert label set ("pleural effusion").
        status: present, absent or uncertain.
        change: against the prior exam, or None if there was no prior or the model did not say.
        side: "left", "right", "bilateral", or None if the model did not say.
        boxes: where, on images of the current exam; empty if the model gave no place.
        score: the value of this finding in `Reading.scores`, or None if the engine gives none.
    """

    name: str
    status: Status
    change: Change | None = None
    side: str | None = None
    boxes: tuple[Box, ...] = ()
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How far a model's own logits lean to "yes" when it is asked for one finding.

    No probability: 0.9 of one model is not 0.9 of another. Only where a site has held the scores of these very
    weights against truth is there a calibrated one beside it.

    Attributes:
        name: of the finding, as in Finding.
        value: 0..1, uncalibrated.
        calibrated: 0..1, the share of such cases that have the finding, as fitted; None if nobody has fitted it.
        calibrated_on: on which cases it was fitted, in the words of who did; "" if nobody has.
    """

    name: str
    value: float
    calibrated: float | None = None
    calibrated_on: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question to the model and its answer, word for word.

    Attributes:
        purpose: "findings", "report", "grounding: <finding>", ...
        image_keys: the images shown in this turn's conversation, in order, of earlier exams, too. An exam of which
            none is here counts as not shown: no output names it.
        question: the text put to the model, with `<image>` where an image stood.
        answer: the text that came back, unchanged.
        seconds: time the answer took.
        prompt_tokens, answer_tokens: counts.
    """

    purpose: str
    image_keys: tuple[str, ...]
    question: str
    answer: str
    seconds: float
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Which program and which weights said it.

    Attributes:
        name: "m4cxr".
        version: of our engine code, e.g. "0.1.0".
        model_name: what the weights call themselves, e.g. "M4CXR" or "preread synthetic demo model".
        weights_digest: "sha256:<hex>" over the weight files, adapters included.
        is_demo: True for weights trained on synthetic images only; every output then says so.
    """

    name: str
    version: str
    model_name: str
    weights_digest: str
    is_demo: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model said of one case.

    Attributes:
        findings: in the model's order; boxes only on images that the case's current exam holds.
        report: the findings text of the draft, as generated.
        impression: the model's own summary of `report`, drawn from its words and not from the images once more;
            None if it was not asked for one or gave none.
        differential: diagnoses that the model considers, in its words; None if it was not asked or gave none.
        turns: the chain of thought, in order, nothing left out.
        engine: who said it.
        problems: sentences on what could not be parsed or must not be trusted; shown to the radiologist.
        compared_with_prior: True only if a prior exam was in the model's prompt.
        scores: of every finding that was asked for, named or not; empty if the engine gives none.
        seconds: from its beginning to its end, with what was read beside it.
        configuration: digest of the settings that it was read with; "" until the agent has put it there.
    """

    findings: tuple[Finding, ...]
    report: str
    turns: tuple[Turn, ...]
    engine: EngineIdentity
    problems: tuple[str, ...] = ()
    compared_with_prior: bool = False
    scores: tuple[Score, ...] = ()
    seconds: float = 0.0
    impression: str | None = None
    differential: str | None = None
    configuration: str = ""
