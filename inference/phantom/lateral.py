"""Draws the lateral film: the patient looks to the left of the image, both lungs lie over each other.

What the PA film shows is shown here where a lateral film would show it. A pneumothorax and a plate
atelectasis are not drawn: they hide behind the other lung.
"""

from collections.abc import Sequence

import numpy as np

from inference.phantom import shapes
from inference.phantom.anatomy import Anatomy
from inference.phantom.drawing import Field, Frame, Path, Window, between, curve, lattice, noise_at
from inference.phantom.findings import TrueFinding
from inference.phantom.frontal import EFFUSION_TOPS, ZONE_SHARES
from inference.phantom.shapes import Mark

AIR = 0.62
HILUM_X, HILUM_Y = 0.05, -0.10
HEART_SCALES = (1.0, 1.18, 1.34, 1.50)
"""Heart without disease, then mild, moderate and severe cardiomegaly."""


def density(anatomy: Anatomy, findings: Sequence[TrueFinding], whole: Frame) -> Field:
    """Returns the attenuation (rows, columns) of this person from the side, 0 = air."""
    film = _soft_tissue(anatomy, whole)
    lungs = _lungs(anatomy, whole)
    film -= lungs * np.float32(AIR)
    film += lungs * _vessels(anatomy, whole)
    _add_bones(anatomy, whole, film)
    _add_middle(anatomy, findings, whole, film)
    for finding in findings:
        for mark in marks(anatomy, finding, findings, whole):
            film[mark.window] += mark.density
    return film


def _front(anatomy: Anatomy, y: Field) -> Field:
    """x of the inner side of the breastbone at the height y: it leans forward, then back below its tip."""
    lean = np.clip((y + np.float32(0.65)) * np.float32(1.0), 0, 1.4)
    return np.float32(-anatomy.depth) * (
        np.float32(0.24) + np.float32(0.33) * lean - np.float32(0.10) * lean * lean
    )


def _back(anatomy: Anatomy, y: Field) -> Field:
    """x of the posterior wall of the lungs at the height y: the curve of the upper spine."""
    below = y - np.float32(0.05)
    return np.float32(anatomy.depth) * (np.float32(0.56) - np.float32(0.36) * below * below)


def _dome(anatomy: Anatomy, x: Field) -> Field:
    """Height of the diaphragm at x: its top lies in front of the middle, it falls far behind."""
    offset = x + np.float32(0.15)
    fall = np.where(offset > 0, np.float32(0.62), np.float32(0.55)) * offset * offset
    return np.float32(anatomy.dome_right_y - 0.02) + fall


def _lungs(anatomy: Anatomy, whole: Frame) -> Field:
    """1 inside the lungs, 0 outside."""
    x, y = whole.x, whole.y
    inside = whole.edge(x - _front(anatomy, y), 0.020) * whole.edge(_back(anatomy, y) - x, 0.020)
    top = (x - np.float32(0.10)) * np.float32(1 / 0.34)
    inside *= whole.edge(y - np.float32(anatomy.apex_y + 0.02) - np.float32(0.22) * top * top, 0.06)
    inside *= whole.edge(_dome(anatomy, x) - y, 0.010)
    return inside


def _soft_tissue(anatomy: Anatomy, whole: Frame) -> Field:
    """The body from the side: chest wall, back muscles, raised arms above, belly below."""
    x, y = whole.x, whole.y
    wall = np.float32(0.06 + 0.05 * anatomy.tissue + 0.5 * anatomy.breast)
    swell = np.maximum(1 - ((y - np.float32(anatomy.breast_y - 0.1)) * np.float32(1 / 0.4)) ** 2, 0)
    front = _front(anatomy, y) - wall - np.float32(0.9 * anatomy.breast) * swell
    back = _back(anatomy, y) + np.float32(0.24)
    arms = np.clip((np.float32(-0.55) - y) * np.float32(1.2), 0, 1)
    film = whole.edge(x - front + np.float32(0.15) * arms, 0.03) * whole.edge(
        back - x + np.float32(0.12) * arms, 0.03
    )
    film *= np.float32(1.02 * anatomy.tissue) + np.float32(0.30) * arms
    across = (x - np.float32(0.05)) * np.float32(1 / 0.8)
    film *= np.float32(1.08) - np.float32(0.40) * across * across
    film += film * whole.edge(y - np.float32(anatomy.dome_right_y + 0.12), 0.25) * np.float32(0.28)
    return film


def _vessels(anatomy: Anatomy, whole: Frame) -> Field:
    """The vessels of both lungs around the hila."""
    across, down = whole.x - np.float32(HILUM_X), whole.y - np.float32(HILUM_Y)
    distance = np.sqrt(across * across + down * down) + np.float32(1e-3)
    turn = across / (np.abs(across) + np.abs(down) + np.float32(1e-3))
    angle = np.where(down > 0, turn, 2 - turn)
    swing = noise_at(lattice([2, anatomy.seed, 5], 48, 12), (angle + 1) * 11, distance * 5)
    line = between(1 - np.abs(swing) * (3 + 6 * distance), 0, 1)
    hilum = between(1 - distance * np.float32(1 / 0.20), 0, 1)
    field: Field = line * line * np.float32(0.08) / (1 + 5 * distance * distance) + hilum * np.float32(0.16)
    return field


def _add_bones(anatomy: Anatomy, whole: Frame, film: Field) -> None:
    """Adds the spine with its discs, the breastbone and the faint ribs of both sides."""
    x, y = whole.x, whole.y
    middle = _back(anatomy, y) - np.float32(0.03)
    column = whole.edge(np.float32(0.085) - np.abs(x - middle), 0.02)
    discs = np.cos((y + np.float32(0.12) * (x - middle)) * np.float32(2 * np.pi / 0.125))
    film += column * (np.float32(0.17) + np.float32(0.07) * between(discs * 2, -1, 1))
    sternum = whole.edge(np.float32(0.022) - np.abs(x - _front(anatomy, y) + np.float32(0.025)), 0.012)
    film += (
        sternum
        * whole.edge(np.float32(0.30) - y, 0.05)
        * whole.edge(y + np.float32(0.62), 0.05)
        * np.float32(0.22)
    )
    turns = (y - np.float32(0.45) * (np.float32(0.5) - x)) * np.float32(1 / anatomy.rib_spacing) + np.float32(
        20
    )
    off = np.abs(turns - np.floor(turns) - np.float32(0.5)) * np.float32(1 / 0.20)
    cage = whole.edge(x + np.float32(0.05), 0.25) * whole.edge(_back(anatomy, y) + np.float32(0.04) - x, 0.02)
    cage *= whole.edge(y + np.float32(0.70), 0.10) * whole.edge(
        np.float32(anatomy.dome_right_y + 0.2) - y, 0.2
    )
    film += cage * between((1 - off) * 3, 0, 1) * np.float32(0.6 * anatomy.rib_density)


def _heart(anatomy: Anatomy, grade: int, part: Frame) -> Field:
    """1 inside the heart; grade -1 is a healthy one. It grows backwards and upwards."""
    scale = HEART_SCALES[grade + 1]
    middle_x = -0.30 * anatomy.depth + 0.16 * (scale - 1)
    middle_y = anatomy.dome_right_y - 0.20 - 0.12 * (scale - 1)
    across, down = part.x - np.float32(middle_x), part.y - np.float32(middle_y)
    along = (across * np.float32(0.75) + down * np.float32(0.66)) * np.float32(1 / (0.25 * scale))
    beside = (down * np.float32(0.75) - across * np.float32(0.66)) * np.float32(1 / (0.30 * scale))
    heart = part.edge((1 - along * along - beside * beside) * np.float32(0.15), 0.05)
    heart *= part.edge(part.x - _front(anatomy, part.y), 0.02)
    heart *= part.edge(_dome(anatomy, part.x) + np.float32(0.01) - part.y, 0.02)
    return heart


def _add_middle(anatomy: Anatomy, findings: Sequence[TrueFinding], whole: Frame, film: Field) -> None:
    """Adds heart and aortic arch, takes away the windpipe."""
    x, y = whole.x, whole.y
    grade = max((finding.grade for finding in findings if finding.name == "cardiomegaly"), default=-1)
    film += _heart(anatomy, grade, whole) * np.float32(0.38)
    bow_x, bow_y = x - np.float32(0.08), y - np.float32(anatomy.knob_y + 0.10)
    ring = np.abs(np.sqrt(bow_x * bow_x + bow_y * bow_y) - np.float32(0.15))
    film += whole.edge(np.float32(0.05) - ring, 0.04) * whole.edge(-bow_y, 0.06) * np.float32(0.12)
    axis = np.float32(0.03) + np.float32(0.10) * (y + np.float32(0.5))
    windpipe = whole.edge(np.float32(0.030) - np.abs(x - axis), 0.015) * whole.edge(
        np.float32(-0.12) - y, 0.05
    )
    film -= windpipe * np.float32(0.13)


def marks(
    anatomy: Anatomy, finding: TrueFinding, findings: Sequence[TrueFinding], whole: Frame
) -> tuple[Mark, ...]:
    """Returns what this finding adds to the film, as one Mark; none if it is hidden here."""
    if finding.name == "cardiomegaly":
        heart = _heart(anatomy, finding.grade, whole)
        return (Mark(_everywhere(whole), heart, np.zeros_like(heart)),)
    if finding.name == "support devices":
        return (_device_mark(anatomy, finding, whole),)
    painted = _painted(anatomy, finding, whole)
    if painted is None:
        return ()
    lungs = _lungs(anatomy, whole)
    for other in findings:
        if other.name == "pleural effusion" and other is not finding:
            lungs *= 1 - _fluid(anatomy, other, whole)[0]
    return (Mark(_everywhere(whole), painted[0] * lungs, painted[1] * lungs),)


def _everywhere(whole: Frame) -> Window:
    return slice(0, whole.x.shape[0]), slice(0, whole.x.shape[1])


def _painted(anatomy: Anatomy, finding: TrueFinding, whole: Frame) -> tuple[Field, Field] | None:
    """Presence and attenuation of a finding of the lungs before it is cut to them, None if it is hidden."""
    if finding.name == "pleural effusion":
        return _fluid(anatomy, finding, whole)
    if finding.name == "edema":
        centre = HILUM_X, 0.0
        return shapes.haze(whole.x, whole.y, centre, finding.grade, [6, finding.form, 1])
    if finding.name not in ("lung lesion", "consolidation"):
        return None
    zone = finding.zone or "middle"
    rng = np.random.default_rng([3, finding.form])
    y = anatomy.apex_y + (ZONE_SHARES[zone] + rng.uniform(-0.03, 0.03)) * (
        anatomy.dome_right_y - anatomy.apex_y
    )
    # What lies low on a PA film lies mostly behind the heart, and is drawn there to be seen.
    centre = {"upper": 0.10, "middle": 0.10, "lower": 0.30}[zone] + rng.uniform(-0.06, 0.06), y
    if finding.name == "lung lesion":
        return shapes.ball(whole, whole.x, centre, finding.grade)
    return shapes.fluff(whole.x, whole.y, centre, finding.grade, finding.form)


def _fluid(anatomy: Anatomy, finding: TrueFinding, whole: Frame) -> tuple[Field, Field]:
    """Fluid in the posterior angle, with a meniscus that climbs the back and, less, the front."""
    level = anatomy.dome_right_y + 0.12 - 0.75 * EFFUSION_TOPS[finding.grade]
    behind = between((whole.x - np.float32(0.10)) * np.float32(2.2), 0, 1)
    before = between((np.float32(-0.25) - whole.x) * np.float32(2.5), 0, 1)
    climb = np.float32(0.22) * behind * behind * behind + np.float32(0.08) * before * before
    presence = whole.edge(whole.y - np.float32(level) + climb, 0.02)
    return presence, presence * np.float32(AIR + 0.02)


def _device_mark(anatomy: Anatomy, finding: TrueFinding, whole: Frame) -> Mark:
    off = np.random.default_rng([7, finding.form]).uniform(-0.03, 0.03)
    chest = float(_front(anatomy, np.array([-0.45], np.float32))[0])
    path: Path
    width = 0.016
    if finding.device == "endotracheal tube":
        path, width = ((-0.02, -0.96), (0.01, -0.70), (0.04, -0.38 + off)), 0.022
    elif finding.device == "central venous line":
        path = curve(((chest - 0.02, -0.60 + off), (-0.12, -0.62), (-0.04, -0.50), (0.0, 0.0 + off)), 8)
    elif finding.device == "chest tube":
        path, width = curve(((-0.30, 0.36 + off), (0.10, 0.26), (0.36, 0.0), (0.24, -0.45 + off)), 8), 0.030
    else:
        path = curve(((chest, -0.52 + off), (-0.05, -0.75), (0.02, -0.20), (-0.10, 0.20), (-0.34, 0.26)), 10)
    presence = whole.stroke(path, width)
    if finding.device == "pacemaker":
        case = whole.stroke(((chest - 0.05, -0.56 + off), (chest - 0.09, -0.42 + off)), 0.05)
        np.maximum(presence, case, out=presence)
    return Mark(_everywhere(whole), presence, presence * np.float32(0.60))
