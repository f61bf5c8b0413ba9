"""The words of our objects: banner, series descriptions, findings. English; ASCII where burned in."""

import re
from collections.abc import Sequence

from inference.reading import Change, EngineIdentity, Finding, Score, Status

SERIES_DESCRIPTIONS = {
    "report_sr": "AI DRAFT report (unverified)",
    "findings_sr": "AI CXR findings (DRAFT)",
    "presentation_state": "AI findings overlay (DRAFT)",
    "secondary_capture": "AI findings image (DRAFT, burned-in)",
    "key_object_selection": "AI key images (DRAFT)",
    "segmentation": "AI boxes as masks (DRAFT)",
    "encapsulated_pdf": "AI DRAFT report, printed (unverified)",
    "findings_sr_air": "AI CXR findings, IHE AIR (DRAFT)",
    "rejection_note": "AI draft withdrawn",
}
"""Kind to Series Description; ASCII, at most 64 characters with the demo's addition."""

WITHDRAWN_SERIES_DESCRIPTIONS = {
    "report_sr": "AI DRAFT report (unverified, WITHDRAWN)",
    "secondary_capture": "AI findings image (DRAFT, WITHDRAWN)",
}
"""The same of the objects that take a draft back; in the series of the draft, for who lists single objects."""

COMPLETION = "AI draft; awaiting radiologist verification"
"""Completion Flag Description of every document of a draft."""

WITHDRAWN_COMPLETION = "AI draft; not verified, and withdrawn"
"""The same of the document that takes a draft back: nobody is to verify it any more."""

NOT_NAMED_IS_NOT_ABSENT = (
    "What is not named here is not thereby absent: the model names what it sees and rules nothing out."
)
"""Stands under every list of findings."""

NOTHING_WAS_MEASURED = (
    "Sizes and measurements in the draft come from a language model; nothing was measured on the image. "
    "Boxes show roughly where the model looked."
)
"""Holds for every engine."""

OWN_SUMMARY = "The model's summary of its own draft, not an independent judgement:"
"""Stands before every impression that a model was asked for."""

CONSIDERED = "Considered by the model; nobody has weighed it against the patient's history:"
"""Stands before every differential diagnosis."""

_DEMO = "SYNTHETIC DEMO MODEL"
_CHANGES = {
    Change.NEW: "new",
    Change.LARGER: "larger than before",
    Change.SMALLER: "smaller than before",
    Change.UNCHANGED: "unchanged",
    Change.RESOLVED: "resolved",
}
_SIDE_LETTERS = {"left": "L", "right": "R", "bilateral": "R+L"}
_LABEL_CHARACTERS_MAX = 40
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def banner(engine: EngineIdentity) -> str:
    """Gives the first words of every document."""
    return f"AI DRAFT - NOT VERIFIED{f' - {_DEMO}' if engine.is_demo else ''}"


def withdrawn(because: str) -> str:
    """Says that a draft was withdrawn, and why in the operator's words."""
    return f"The draft of this study was withdrawn and must not be used: {because}"


def takes_the_place(revision: int, of: int) -> str:
    """Says of a later draft which one it replaces."""
    return f"Revision {revision} of this draft; it takes the place of revision {of}."


def nothing_marked_now(revision: int) -> str:
    """Stands on an image where an earlier revision marked a place and this one marks none."""
    return f"No place is marked any more (revision {revision})"


def places_withdrawn(revision: int, images: Sequence[str]) -> str:
    """Says that what an earlier revision marked does not hold, since a viewer may go on showing it."""
    return (
        f"Revision {revision} of this draft marked places that are withdrawn now; no place is marked any more on "
        f"{', '.join(images)}. A viewer may still show them."
    )


def not_made(kind: str, job_number: int) -> str:
    """Says that a kind of object is missing from a draft through a fault of ours."""
    name = SERIES_DESCRIPTIONS[kind]
    return (
        f'"{name}" could not be made of this study: an internal error, see the log line of job {job_number}.'
    )


def picture_banner(engine: EngineIdentity) -> str:
    """Gives the words burned into every picture."""
    return f"AI DRAFT - NOT FOR DIAGNOSIS - NOT VERIFIED{f' - {_DEMO}' if engine.is_demo else ''}"


def series_description(kind: str, engine: EngineIdentity) -> str:
    """Gives the Series Description of one kind of object, at most 64 characters."""
    return _with_demo(SERIES_DESCRIPTIONS[kind], engine)


def withdrawn_series_description(kind: str, engine: EngineIdentity) -> str:
    """Gives the Series Description of an object that takes a draft back, at most 64 characters."""
    return _with_demo(WITHDRAWN_SERIES_DESCRIPTIONS[kind], engine)


def _with_demo(words: str, engine: EngineIdentity) -> str:
    return f"{words}{f' {_DEMO}' if engine.is_demo else ''}"


def phrase(finding: Finding) -> str:
    """Says a finding in words, but not its status: "Pleural effusion, right, larger than before"."""
    parts = [finding.name.capitalize()]
    if finding.side is not None:
        parts.append(finding.side)
    if finding.change is not None:
        parts.append(_CHANGES[finding.change])
    return ", ".join(parts)


def program(engine: EngineIdentity) -> str:
    """Names the program and the weights behind a draft; of a demo model, what it knows."""
    demo = " Trained on synthetic images only: it knows nothing of real patients." if engine.is_demo else ""
    model = f"Model {engine.model_name}, weights {engine.weights_digest}"
    return f"{model}, run by engine {engine.name} {engine.version}.{demo}"


def score_remark(score: Score | None) -> str:
    """Says a score with its caveat: "model score 92 % (uncalibrated)"; "" if the engine gives none."""
    if score is None:
        return ""
    if score.calibrated is None:
        return f"model score {_percent(score.value)} (uncalibrated)"
    calibrated = f"calibrated {_percent(score.calibrated)} (fitted on {score.calibrated_on})"
    return f"model score {_percent(score.value)}, {calibrated}"


def certainty_percent(score: Score) -> float:
    """Gives the Certainty of Finding (111012, DCM), 0.0 to 100.0: the calibrated score where the site has one, else
    the model's own. One number, so that no reader takes the wrong one; `score_remark` beside it says which it is."""
    return round((score.value if score.calibrated is None else score.calibrated) * 100, 1)


def remark(finding: Finding, score: Score | None, engine: EngineIdentity) -> str:
    """Says in one line what a place or a score is of: banner, finding, its status unless present, its score."""
    status = "" if finding.status is Status.PRESENT else finding.status.value
    return "; ".join(filter(None, (banner(engine), phrase(finding), status, score_remark(score))))


def scores_line(scores: Sequence[Score]) -> str:
    """Says the scores of every finding that was asked for, highest first, and what they are not."""
    listed = "; ".join(map(_score_item, sorted(scores, key=lambda score: -score.value)))
    fitted_on = dict.fromkeys(score.calibrated_on for score in scores if score.calibrated is not None)
    trust = "nobody has calibrated them"
    if fitted_on:
        trust = f"what is calibrated was fitted on {'; '.join(fitted_on)}"
    return (
        f"Model scores: {listed}. They say how far the model's own answer leans to yes; {trust}. "
        "A low one rules nothing out."
    )


def _score_item(score: Score) -> str:
    calibrated = "" if score.calibrated is None else f" (calibrated {_percent(score.calibrated)})"
    return f"{score.name} {_percent(score.value)}{calibrated}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def label(identifier: str, finding: Finding, engine: EngineIdentity) -> str:
    """Gives the label beside a box: "F1 Pleural effusion R?"; ASCII, at most 40 characters."""
    front, end = f"{'DEMO ' if engine.is_demo else ''}{identifier} ", _side_and_doubt(finding)
    return f"{front}{_ascii_name(finding)[: _LABEL_CHARACTERS_MAX - len(front) - len(end)]}{end}"


def named_without_a_place(findings: Sequence[Finding]) -> str:
    """Gives what a picture says of findings that it shows no box of: "Named without a place: Edema R+L?"; ASCII."""
    return f"Named without a place: {', '.join(_ascii_name(one) + _side_and_doubt(one) for one in findings)}"


def _ascii_name(finding: Finding) -> str:
    return finding.name.capitalize().encode("ascii", "replace").decode()


def _side_and_doubt(finding: Finding) -> str:
    side = f" {_SIDE_LETTERS[finding.side]}" if finding.side in _SIDE_LETTERS else ""
    return f"{side}{'?' if finding.status is Status.UNCERTAIN else ''}"


def as_text(words: str) -> str:
    r"""Makes words fit for a TEXT value: line ends CR LF, controls (which DICOM forbids) as their pictures.

    A model's answer may hold anything; a lone ESC would switch the character set (PS3.5 6.1.3). Never empty,
    since Text Value is type 1.
    """
    lines = re.split(r"\r\n|\r|\n|\x0b|\x0c", words.strip())
    visible = "\r\n".join(_CONTROLS.sub(_picture, line).rstrip() for line in lines)
    return visible.encode("utf-8", "replace").decode("utf-8") or "(empty)"


def _picture(control: re.Match[str]) -> str:
    number = ord(control.group())
    return "␡" if number == 0x7F else chr(0x2400 + number)
