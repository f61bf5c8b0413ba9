"""What can be wrong in a synthetic chest: the findings, and which of them may stand together."""

from dataclasses import dataclass, replace

from numpy.random import Generator

from inference.reading import Change

NAMES = (
    "cardiomegaly",
    "lung lesion",
    "edema",
    "consolidation",
    "atelectasis",
    "pneumothorax",
    "pleural effusion",
    "support devices",
)
"""The findings that are drawn, in the order of the CheXbert label set, as M4CXR names them."""

GRADES = {
    "cardiomegaly": ("mild", "moderate", "severe"),
    "lung lesion": ("small", "moderate", "large"),
    "edema": ("mild", "moderate", "severe"),
    "consolidation": ("small", "moderate", "large"),
    "atelectasis": ("mild", "moderate", "severe"),
    "pneumothorax": ("small", "moderate", "large"),
    "pleural effusion": ("small", "moderate", "large"),
}
"""The size words of each finding, smallest first; support devices have none."""

ZONES = ("upper", "middle", "lower")

DEVICES = ("endotracheal tube", "central venous line", "pacemaker", "chest tube")

FOCAL_ZONES = {
    "lung lesion": ("upper", "middle", "lower"),
    "consolidation": ("upper", "middle", "lower"),
    "atelectasis": ("middle", "lower"),
}
"""Findings that lie in one zone of one lung, and the zones where they may."""

Place = tuple[str, str]
"""Side and zone: ("left", "lower")."""


@dataclass(frozen=True, slots=True)
class TrueFinding:
    """One finding as it was drawn: the truth about the picture.

    Attributes:
        name: one of NAMES.
        side: "left", "right", "bilateral" (the patient's own), or None where a side makes no sense.
        zone: "upper", "middle", "lower", or None where a zone makes no sense.
        size: one of GRADES[name], or None for devices.
        change: against the exam before, or None in a patient's first exam.
        device: one of DEVICES, or None for all other findings.
        form: seed of its shape and place, the same in every exam that shows it.
    """

    name: str
    side: str | None = None
    zone: str | None = None
    size: str | None = None
    change: Change | None = None
    device: str | None = None
    form: int = 0

    @property
    def grade(self) -> int:
        """Returns the size as 0, 1, 2; 0 for devices."""
        return GRADES[self.name].index(self.size) if self.size is not None else 0

    @property
    def identity(self) -> tuple[str, str | None]:
        """Returns what makes it the same finding in another exam: the name and, for devices, the kind."""
        return self.name, self.device


def change_between(before: TrueFinding | None, now: TrueFinding | None) -> Change:
    """Says how a finding changed: by presence first, then by its grade.

    Raises:
        ValueError: if it is in neither exam.
    """
    if before is None and now is None:
        raise ValueError("no change can be named: the finding is in neither exam")
    if before is None:
        return Change.NEW
    if now is None:
        return Change.RESOLVED
    if now.grade == before.grade:
        return Change.UNCHANGED
    return Change.LARGER if now.grade > before.grade else Change.SMALLER


def occupied(finding: TrueFinding) -> frozenset[Place]:
    """Returns the places where nothing focal may be drawn beside this finding, as it would not be told apart.

    Independent of the grade, so that growth never makes two findings collide.
    """
    sides = ("left", "right") if finding.side == "bilateral" else (finding.side or "",)
    if finding.name in FOCAL_ZONES:
        return frozenset({(sides[0], finding.zone or "")})
    if finding.name == "pneumothorax":
        return frozenset((side, zone) for side in sides for zone in ZONES)
    if finding.name == "pleural effusion":
        return frozenset((side, zone) for side in sides for zone in ("middle", "lower"))
    if finding.name == "edema":
        return frozenset({("left", "middle"), ("right", "middle")})
    if finding.name == "cardiomegaly":
        return frozenset({("left", "lower")})
    return frozenset()


def draw_finding(name: str, present: tuple[TrueFinding, ...], rng: Generator) -> TrueFinding | None:
    """Draws one new finding of this name beside those present, or None if there is no free place for it."""
    size = str(rng.choice(GRADES[name])) if name in GRADES else None
    finding = TrueFinding(name, size=size, form=int(rng.integers(2**31)))
    if name == "support devices":
        return _draw_device(finding, present, rng)
    if name in ("cardiomegaly", "edema"):
        wanted = replace(finding, side="bilateral" if name == "edema" else None)
        return wanted if _is_free(wanted, present) else None
    if name in FOCAL_ZONES:
        places = [(side, zone) for side in ("left", "right") for zone in FOCAL_ZONES[name]]
        options = [replace(finding, side=side, zone=zone) for side, zone in places]
    else:
        zone = "upper" if name == "pneumothorax" else "lower"
        sides = ("left", "right") if name == "pneumothorax" else ("left", "right", "bilateral")
        options = [replace(finding, side=side, zone=zone) for side in sides]
    free = [option for option in options if _is_free(option, present)]
    return free[int(rng.integers(len(free)))] if free else None


def _is_free(wanted: TrueFinding, present: tuple[TrueFinding, ...]) -> bool:
    """Can it be told apart from everything that is there?"""
    return not any(_collide(wanted, other) for other in present)


def _collide(one: TrueFinding, other: TrueFinding) -> bool:
    """Would one hide the other? Diffuse findings may overlap, but not air and fluid on the same side."""
    names = {one.name, other.name}
    if names & set(FOCAL_ZONES) or names == {"pneumothorax", "pleural effusion"}:
        return bool(occupied(one) & occupied(other))
    return False


def _draw_device(
    finding: TrueFinding, present: tuple[TrueFinding, ...], rng: Generator
) -> TrueFinding | None:
    """Draws a device of a kind that is not there yet; a chest tube goes where air or fluid is to drain."""
    there = {other.device for other in present}
    kinds = [kind for kind in DEVICES if kind not in there]
    if not kinds:
        return None
    kind = kinds[int(rng.integers(len(kinds)))]
    side: str | None = str(rng.choice(["left", "right"]))
    if kind == "endotracheal tube":
        side = None
    if kind == "chest tube":
        drained = [
            f.side
            for f in present
            if f.name in ("pneumothorax", "pleural effusion") and f.side != "bilateral"
        ]
        side = drained[0] if drained else side
    return replace(finding, device=kind, side=side)
