"""Patients, their exams over time, and the truth about each film.

A patient is a seed. `exams` draws one to three exams of a patient in time order; `case` draws what a reader
gets: an exam, and for half of the seeds the one before it. Training keeps to seeds below HELD_OUT_SEED_MIN.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from inference.phantom import frontal, lateral, report
from inference.phantom.anatomy import Anatomy, draw_anatomy, draw_pose
from inference.phantom.drawing import Field, Pose, Window, expose, frame
from inference.phantom.findings import GRADES, NAMES, TrueFinding, change_between, draw_finding

HELD_OUT_SEED_MIN = 1_000_000_000
"""Seeds from here on are kept for tests, evaluation and the demo."""

VIEWS = ("PA", "LATERAL")
"""The views that can be drawn, frontal first."""
LATERAL_SHARE = 0.3
"""Share of the exams with a lateral film."""
EXAMS_MAX = 3
COUNT_SHARES = (0.12, 0.22, 0.30, 0.24, 0.12)
"""Share of the exams with 0, 1, 2, 3 and 4 findings."""
NAME_WEIGHTS = (1.20, 0.95, 1.45, 1.00, 1.10, 1.15, 1.10, 0.85)
"""How readily each of NAMES is drawn: those that collide with others oftener would else be rarer."""
KEEP_SHARE = 0.80
"""Chance that a finding is still there in the next exam."""
GRID_PX = 200
"""Boxes are measured on a film of this size: half a unit of M4CXR's 0..100 grid."""
PRESENT = 0.35
"""A pixel belongs to a finding from this share of its strongest place on."""
DAYS_BETWEEN = (1, 2, 3, 5, 7, 14, 30, 90, 180, 365)

FractionBox = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions (0..1) of the film's centre square, origin top left.

The same as the film's own fractions where it is square; a hundred times that is M4CXR's grid of 0..100."""


@dataclass(frozen=True, slots=True)
class Patient:
    """One synthetic person.

    Attributes:
        seed: everything about the person follows from it.
        anatomy: what stays the same from film to film.
    """

    seed: int
    anatomy: Anatomy


@dataclass(frozen=True, slots=True)
class SyntheticExam:
    """One exam of a synthetic patient: the films can be drawn, the truth about them is known.

    Attributes:
        patient: whose exam it is.
        number: 0 for the patient's first exam.
        days_before_last: whole days before the patient's last exam; 0 for the last one.
        findings: what is drawn, in the order of NAMES.
        views: ("PA",) or ("PA", "LATERAL").
        indication: why the exam was asked for.
        pose: how the patient stood; exposure, contrast: of the film, about 1.
    """

    patient: Patient
    number: int
    days_before_last: int
    findings: tuple[TrueFinding, ...]
    views: tuple[str, ...]
    indication: str
    pose: Pose
    exposure: float
    contrast: float

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of what is present, each once, in the order of NAMES."""
        return tuple(name for name in NAMES if any(finding.name == name for finding in self.findings))

    def draw(self, view: str, rows: int, columns: int) -> NDArray[np.uint16]:
        """Draws one film: uint16 (rows, columns), 0 = darkest, dense is bright; the same film at every size.

        Raises:
            ValueError: if the exam has no such view or the film is longer than 1.25 : 1.
        """
        if view not in self.views:
            raise ValueError(f'no view "{view}" in this exam; expected one of {", ".join(self.views)}')
        if max(rows, columns) > 1.25 * min(rows, columns):
            raise ValueError(f"film of {rows} x {columns} pixels is longer than 1.25 : 1")
        drawing = frontal if view == "PA" else lateral
        density = drawing.density(self.patient.anatomy, self.findings, frame(rows, columns, self.pose))
        return expose(
            density, [10, self.patient.seed, self.number, VIEWS.index(view)], self.exposure, self.contrast
        )

    def boxes(self, name: str, view: str = "PA") -> tuple[FractionBox, ...]:
        """Returns the tight boxes of what was drawn under this name.

        Two for a bilateral finding on a PA film, one for each device; none if the finding is absent or
        cannot be seen on this view.
        """
        return tuple(
            box for finding in self.findings if finding.name == name for box in self.boxes_of(finding, view)
        )

    def boxes_of(self, finding: TrueFinding, view: str = "PA") -> tuple[FractionBox, ...]:
        """Returns the boxes of one finding of this exam, the patient's right side first."""
        return _boxes(self, finding, view)

    def report(self, previous: "SyntheticExam | None" = None) -> str:
        """Writes the findings section; it compares only if the previous exam is given."""
        before = None if previous is None else previous.findings
        return report.findings_text(self.findings, before, self.patient.seed * EXAMS_MAX + self.number)

    def impression(self, previous: "SyntheticExam | None" = None) -> str:
        """Writes the impression; it compares only if the previous exam is given."""
        return report.impression_text(self.findings, None if previous is None else previous.findings)


def patient(seed: int) -> Patient:
    """Draws the person that belongs to this seed (0 or greater)."""
    return Patient(seed, draw_anatomy(seed))


def exams(whose: Patient | int, count: int) -> tuple[SyntheticExam, ...]:
    """Draws the first `count` exams (1..3) of a patient, in time order.

    Raises:
        ValueError: if the count is out of range.
    """
    if not 1 <= count <= EXAMS_MAX:
        raise ValueError(f"count is {count}, expected 1..{EXAMS_MAX}")
    person = patient(whose) if isinstance(whose, int) else whose
    rng = np.random.default_rng([8, person.seed])
    days = [int(rng.choice(DAYS_BETWEEN)) for _ in range(EXAMS_MAX)]
    drawn: list[SyntheticExam] = []
    findings: tuple[TrueFinding, ...] | None = None
    for number in range(count):
        findings = draw_findings(findings, rng)
        drawn.append(_exam(person, number, sum(days[number : count - 1]), findings, rng))
    return tuple(drawn)


def case(seed: int, *, prior: bool | None = None) -> tuple[SyntheticExam | None, SyntheticExam]:
    """Draws what a reader gets: the prior exam, or None, and the current one.

    Args:
        seed: of the patient; from HELD_OUT_SEED_MIN on never used in training.
        prior: whether there is one; None lets the seed decide, half and half.
    """
    with_prior = bool(np.random.default_rng([9, seed]).integers(2)) if prior is None else prior
    drawn = exams(seed, 2 if with_prior else 1)
    return (drawn[0] if with_prior else None), drawn[-1]


def in_pixels(box: FractionBox, rows: int, columns: int) -> tuple[float, float, float, float]:
    """Carries a box to a film of this size: left, top, right, bottom in pixels, 0.0 at the film's corner."""
    side = min(rows, columns)
    left, top = (columns - side) / 2, (rows - side) / 2
    return left + box[0] * side, top + box[1] * side, left + box[2] * side, top + box[3] * side


def _exam(
    person: Patient, number: int, days_before_last: int, findings: tuple[TrueFinding, ...], rng: Generator
) -> SyntheticExam:
    return SyntheticExam(
        patient=person,
        number=number,
        days_before_last=days_before_last,
        findings=findings,
        views=VIEWS if rng.random() < LATERAL_SHARE else VIEWS[:1],
        indication=str(rng.choice(report.INDICATIONS)),
        pose=draw_pose(person.anatomy, rng),
        exposure=rng.uniform(0.93, 1.08),
        contrast=rng.uniform(0.92, 1.10),
    )


def draw_findings(before: tuple[TrueFinding, ...] | None, rng: Generator) -> tuple[TrueFinding, ...]:
    """Draws what an exam shows: freely if `before` is None, else grown out of the exam before."""
    count = int(rng.choice(len(COUNT_SHARES), p=COUNT_SHARES))
    kept = [_developed(finding, rng) for finding in before or () if rng.random() < KEEP_SHARE]
    present = tuple(kept[i] for i in sorted(rng.permutation(len(kept))[:count]))
    gone = {finding.identity for finding in before or ()}
    shares = np.array(NAME_WEIGHTS) / sum(NAME_WEIGHTS)
    for name in rng.choice(NAMES, len(NAMES), replace=False, p=shares):
        if len(present) >= count:
            break
        drawn = (
            draw_finding(str(name), present, rng)
            if name not in {finding.name for finding in present}
            else None
        )
        if drawn is not None and drawn.identity not in gone:
            present = (*present, drawn)
    changes = {finding.identity: finding for finding in before or ()}
    known = (
        replace(f, change=None if before is None else change_between(changes.get(f.identity), f))
        for f in present
    )
    return tuple(sorted(known, key=lambda finding: (NAMES.index(finding.name), finding.device or "")))


def _developed(finding: TrueFinding, rng: Generator) -> TrueFinding:
    """The same finding in the next exam: the same grade or one of the two others, each about as often."""
    if finding.size is None:
        return finding
    return replace(finding, size=str(rng.choice(GRADES[finding.name])))


@lru_cache(maxsize=256)
def _boxes(exam: SyntheticExam, finding: TrueFinding, view: str) -> tuple[FractionBox, ...]:
    whole = frame(GRID_PX, GRID_PX, exam.pose)
    anatomy = exam.patient.anatomy
    if view == "PA":
        halves = frontal.half_chests(anatomy, exam.findings, whole)
        marks = frontal.marks(anatomy, finding, halves, whole)
    else:
        marks = lateral.marks(anatomy, finding, exam.findings, whole)
    boxes = (_box(mark.window, mark.presence) for mark in marks)
    return tuple(box for box in boxes if box is not None)


def _box(window: Window, presence: Field) -> FractionBox | None:
    """The tight box of what is present in this window of a GRID_PX film, or None if nothing is."""
    strongest = float(presence.max(initial=0.0))
    if strongest < 0.1:
        return None
    seen = presence > PRESENT * strongest
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    top, left = window[0].start or 0, window[1].start or 0
    edges = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    return tuple(float(edge) / GRID_PX for edge in edges)  # type: ignore[return-value]
