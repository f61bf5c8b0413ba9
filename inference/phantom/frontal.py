"""Draws the PA film: bones, lungs, heart and disease as soft shapes of attenuation, summed as X-rays do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference.phantom import shapes
from inference.phantom.anatomy import LEFT, RIGHT, SIDE_SIGNS, Anatomy, Lung
from inference.phantom.drawing import Field, Frame, Path, Window, between, curve, lattice, nested, noise_at
from inference.phantom.findings import TrueFinding
from inference.phantom.shapes import Mark

HEART_RATIOS = (0.535, 0.610, 0.690)
"""Cardiothoracic ratio of mild, moderate and severe cardiomegaly; healthy hearts stay under 0.46."""
DOME_LIFTS = (0.03, 0.06, 0.10)
"""How far atelectasis pulls the diaphragm up: volume loss."""
PNEUMOTHORAX_RIMS = (0.075, 0.155, 0.290)
"""How far the lung has fallen away from the wall."""
EFFUSION_TOPS = (-0.06, 0.16, 0.46)
"""Height of the fluid over the dome in the middle of the lung; the meniscus rises above it at the wall."""

HILUM_A, HILUM_Y = 0.15, -0.12
AIR = 0.66
"""How much less a lung attenuates than the soft tissue in its place."""
ZONE_SHARES = {"upper": 0.27, "middle": 0.53, "lower": 0.80}
"""Height of a zone's middle, as a share of the way from the apex to the dome."""


@dataclass(frozen=True, slots=True, eq=False)
class HalfChest:
    """The chest cavity of one side, being drawn.

    Attributes:
        window: its rows and columns of the whole film; part: its Frame; a: lateral distance from the midline.
        lung: its outline; wall, heart: how far lateral the rib cage and the heart reach, (rows, 1).
        clear: 1 where no heart lies over the lung; inside: 1 in the chest cavity.
        free: 1 where air lies outside the lung; fluid: 1 where an effusion lies; None if there is none.
        aerated: 1 where there is lung: what the other two leave of `inside`.
    """

    window: Window
    part: Frame
    a: Field
    lung: Lung
    wall: Field
    heart: Field
    clear: Field
    inside: Field
    free: Field | None
    fluid: Field | None
    aerated: Field


def density(anatomy: Anatomy, findings: Sequence[TrueFinding], whole: Frame) -> Field:
    """Returns the attenuation (rows, columns) of this person with these findings, 0 = air."""
    film = _soft_tissue(anatomy, whole)
    halves = half_chests(anatomy, findings, whole)
    for half in halves:
        film[half.window] += _lung_field(anatomy, half) + _ribs(anatomy, half)
        _add_shoulder(anatomy, whole, half.lung.side, film)
    _add_midline(anatomy, findings, whole, film)
    for finding in findings:
        for mark in marks(anatomy, finding, halves, whole):
            film[mark.window] += mark.density
    return film


def half_chests(
    anatomy: Anatomy, findings: Sequence[TrueFinding], whole: Frame
) -> tuple[HalfChest, HalfChest]:
    """Lays out both sides of the chest, right first, with the disease that changes their outline."""
    return _half_chest(anatomy, findings, whole, RIGHT), _half_chest(anatomy, findings, whole, LEFT)


def _half_chest(anatomy: Anatomy, findings: Sequence[TrueFinding], whole: Frame, side: int) -> HalfChest:
    here = [finding for finding in findings if side in _signs(finding)]
    lift = max((DOME_LIFTS[finding.grade] for finding in here if finding.name == "atelectasis"), default=0.0)
    dome = (anatomy.dome_right_y if side == RIGHT else anatomy.dome_left_y) - lift
    lung = Lung(
        side, anatomy.chest_half_width, anatomy.wall_power, anatomy.apex_y, dome, anatomy.angle_depth + lift
    )
    reach = 1.06 * anatomy.chest_half_width + 0.04
    left, right = (-reach, 0.0) if side == RIGHT else (0.0, reach)
    window, part = whole.part(left, anatomy.apex_y - 0.05, right, dome + 0.56)
    a = part.x if side == LEFT else -part.x
    wall = lung.wall(part.y)
    inside = part.edge(wall - a, 0.010) * part.edge(a - np.float32(0.08), 0.04)
    inside *= part.edge(lung.dome(a) - part.y, 0.010)
    aerated, free, fluid = inside, None, None
    for finding in here:
        if finding.name == "pneumothorax":
            aerated = aerated * _fallen_lung(lung, part, a, PNEUMOTHORAX_RIMS[finding.grade])
            free = inside - aerated
        elif finding.name == "pleural effusion":
            fluid = inside * _under_meniscus(lung, part, a, EFFUSION_TOPS[finding.grade])
            aerated = aerated - np.minimum(fluid, aerated)
    heart = heart_borders(anatomy, findings, part.y)[0 if side == RIGHT else 1]
    return HalfChest(
        window, part, a, lung, wall, heart, part.edge(a - heart, 0.06), inside, free, fluid, aerated
    )


def _signs(finding: TrueFinding) -> tuple[int, ...]:
    """The sides that a finding touches, as signs of x."""
    if finding.side == "bilateral":
        return RIGHT, LEFT
    return (SIDE_SIGNS[finding.side],) if finding.side else ()


def _fallen_lung(lung: Lung, part: Frame, a: Field, rim: float) -> Field:
    """1 inside a lung that has fallen away from the wall by `rim`: most at the apex, least at the base."""
    share = np.clip((part.y - lung.apex_y) / (lung.dome_y - lung.apex_y), 0, 1)
    gap = np.float32(rim) * (np.float32(1.1) - np.float32(0.55) * share)
    left_over: Field = lung.wall(part.y - np.float32(1.3 * rim)) - gap - a
    return part.edge(left_over, 0.008)


def _under_meniscus(lung: Lung, part: Frame, a: Field, top: float) -> Field:
    """1 below the surface of fluid that stands `top` over the dome and climbs up the wall."""
    width = lung.half_width
    lateral = between((a - np.float32(0.35 * width)) * np.float32(1 / (0.65 * width)), 0, 1)
    medial = between((np.float32(0.25) - a) * 5, 0, 1)
    lateral *= lateral
    surface = np.float32(lung.dome_y - top) - np.float32(0.24) * lateral * lateral - np.float32(0.05) * medial
    return part.edge(part.y - surface, 0.018)


def _soft_tissue(anatomy: Anatomy, whole: Frame) -> Field:
    """The body without lungs and bones: neck, shoulders, chest wall, belly; air around it."""
    x, y = whole.x, whole.y
    beside = np.abs(x)
    out: Field = np.maximum(beside - np.float32(0.22), 0)
    shoulder: Field = (
        np.float32(anatomy.shoulder_y) + np.float32(0.13) * np.sqrt(out) + np.float32(0.13) * out
    )
    film = np.maximum(whole.edge(np.float32(0.27) - beside, 0.04), whole.edge(y - shoulder, 0.03))
    drop = np.clip((y + np.float32(0.50)) * np.float32(1.7), 0, 1)
    drop = drop * drop * (3 - 2 * drop)
    waist = np.float32(anatomy.body_half_width) + np.float32(0.05) * np.maximum(y - np.float32(0.1), 0) ** 2
    half_width = np.float32(1.35) + (waist - np.float32(1.35)) * drop
    film *= whole.edge(half_width - beside, 0.03) * np.float32(0.92 * anatomy.tissue)
    # The flanks are thinner than the middle, the belly thicker than the chest.
    across = x / half_width
    belly = whole.edge(y - np.float32(anatomy.dome_right_y + 0.10), 0.25)
    film *= np.float32(1.08) - np.float32(0.26) * across * across + belly * np.float32(0.30)
    if anatomy.breast:
        for side in (RIGHT, LEFT):
            _add_breast(anatomy, whole, side, film)
    return film


def _add_breast(anatomy: Anatomy, whole: Frame, side: int, film: Field) -> None:
    middle = side * 0.66 * anatomy.chest_half_width
    window, part = whole.part(middle - 0.4, anatomy.breast_y - 0.4, middle + 0.4, anatomy.breast_y + 0.4)
    across = (part.x - np.float32(middle)) * np.float32(1 / 0.31)
    down = (part.y - np.float32(anatomy.breast_y)) * np.float32(1 / 0.27)
    film[window] += np.float32(anatomy.breast) * part.edge(
        np.float32(0.85) - across * across - down * down, 0.35
    )


def _lung_field(anatomy: Anatomy, half: HalfChest) -> Field:
    """The air of one lung and the vessels in it."""
    thickness = np.float32(0.76) + np.float32(0.24) * half.part.edge(
        half.wall - half.a - np.float32(0.10), 0.12
    )
    air = half.inside * thickness
    air *= np.float32(-AIR)
    if half.free is not None:
        # Free air has no vessels and no interstitium; the pleura between shows as a thin line.
        air -= half.free * np.float32(0.14)
        air += half.free * half.aerated * np.float32(0.9)
    vessels = _vessels(anatomy.seed, half)
    vessels *= np.float32(0.25) + np.float32(0.75) * half.clear
    vessels *= half.aerated
    return air + vessels


def _vessels(seed: int, half: HalfChest) -> Field:
    """Vessels that fan out from the hilum: zero lines of noise, fine in angle and coarse in distance."""
    across, down = half.a - np.float32(HILUM_A), half.part.y - np.float32(HILUM_Y)
    distance = np.sqrt(across * across + down * down) + np.float32(1e-3)
    # The diamond angle: as good as the true one for a pattern, and a tenth of its price.
    angle = down / (np.abs(across) + np.abs(down) + np.float32(1e-3)) + (across < 0) * np.float32(0.37)
    values = lattice([2, seed, half.lung.side + 1], 44, 24)
    bend = np.sin(distance * 9 + angle * 4 + values[0, 0] * np.float32(np.pi))
    bent = angle + np.float32(0.10) * distance * bend
    fade = 1 / (1 + distance * distance * 5)
    tree = np.zeros_like(distance)
    for level, (angles, rings, near) in enumerate(((13, 3.0, 0.0), (32, 5.0, 0.08))):
        swing = noise_at(
            values[:, 12 * level : 12 * level + 12],
            (bent + 1) * np.float32(angles / 2),
            distance * np.float32(rings),
        )
        width = np.float32(1.9) + np.float32(4.5 - 0.05 * angles) * distance
        line = between(1 - np.abs(swing) * width, 0, 1)
        line *= line
        line *= between((distance - np.float32(near)) * 8, 0, 1)
        tree += line
    hilum = between(1 - distance * np.float32(1 / 0.17), 0, 1)
    field: Field = tree * fade * np.float32(0.11) + hilum * hilum * np.float32(0.22)
    return field


def _ribs(anatomy: Anatomy, half: HalfChest) -> Field:
    """Posterior and anterior ribs, each one periodic pattern along a bent height, and the tangential wall."""
    a, y, part = half.a, half.part.y, half.part
    share = a * np.float32(1 / anatomy.chest_half_width)
    square = share * share
    cage = part.edge(half.wall + np.float32(0.025) - a, 0.015) * part.edge(a - np.float32(0.05), 0.03)
    cage *= part.edge(np.float32(half.lung.dome_y + 0.26) - y, 0.22)
    # The upper ribs are steeper and closer than the lower ones.
    squeezed = y - np.float32(0.10) * y * y
    back = (
        squeezed
        + np.float32(0.10) * share
        - (np.float32(anatomy.rib_drop) * square + np.float32(0.03)) * square
    )
    ribs = _rib_profile(back, anatomy.rib_spacing, anatomy.rib_phase, 0.24)
    rest = 1 - share
    front = squeezed - np.float32(0.34) * rest * rest + np.float32(0.10)
    fronts = _rib_profile(front, anatomy.rib_spacing * 1.18, anatomy.rib_phase + 0.4, 0.27)
    fronts *= part.edge(a - np.float32(0.30), 0.06)
    lining = part.edge(np.float32(0.022) - np.abs(a - half.wall - np.float32(0.012)), 0.02)
    cage *= np.float32(0.45) + np.float32(0.55) * half.clear
    return (
        cage * np.float32(anatomy.rib_density) * (ribs + np.float32(0.5) * fronts + np.float32(0.6) * lining)
    )


def _rib_profile(height: Field, spacing: float, phase: float, half_share: float) -> Field:
    """Bands of bone across a height: bright edges (cortex) around a paler middle; 0 between."""
    turns = height * np.float32(1 / spacing) + np.float32(phase + 20)
    off_centre = np.abs(turns - np.floor(turns) - np.float32(0.5)) * np.float32(1 / half_share)
    band = between((1 - off_centre) * 4, 0, 1)
    profile: Field = band * (np.float32(0.72) + np.float32(0.45) * off_centre * off_centre)
    return profile


def _add_shoulder(anatomy: Anatomy, whole: Frame, side: int, film: Field) -> None:
    """Adds clavicle, shoulder blade and the head of the arm bone to the film, where there is body."""
    left, right = (-1.35, -0.05) if side == RIGHT else (0.05, 1.35)
    window, part = whole.part(left, -1.0, right, 0.25)
    a, y = side * part.x, part.y
    share = (a - np.float32(0.07)) * np.float32(1 / 0.80)
    rise = np.float32(anatomy.clavicle_rise)
    bow = (
        np.float32(anatomy.clavicle_y)
        - rise * share * share * (3 - 2 * share)
        + np.float32(0.10) * share * (1 - share)
    )
    ends = part.edge(np.float32(0.5) - np.abs(share - np.float32(0.5)), 0.03)
    off_axis = (y - bow) * np.float32(1 / 0.034)
    clavicle = (
        between(1 - off_axis * off_axis, 0, 1)
        * ends
        * (np.float32(0.75) + np.float32(0.4) * off_axis * off_axis)
    )
    blade_a = a - np.float32(anatomy.chest_half_width + 0.15) + np.float32(0.25) * (y + np.float32(0.3))
    blade_y = (y + np.float32(0.33)) * np.float32(1 / 0.38)
    blade = 1 - (blade_a * np.float32(1 / 0.12)) ** 2 - blade_y * blade_y
    head_a, head_y = a - np.float32(1.02), y + np.float32(0.60)
    head = 1 - (head_a * head_a + head_y * head_y) * np.float32(1 / 0.016)
    bone = clavicle * np.float32(0.28)
    bone += part.edge(blade, 0.45) * np.float32(0.09) + part.edge(head, 0.5) * np.float32(0.26)
    film[window] += bone * between(film[window] * 3 - 1, 0, 1)


def heart_borders(anatomy: Anatomy, findings: Sequence[TrueFinding], y: Field) -> tuple[Field, Field]:
    """Returns how far the heart reaches to the patient's right and left at the height y; 0 above it."""
    ratio = anatomy.heart_ratio
    for finding in findings:
        if finding.name == "cardiomegaly":
            ratio = HEART_RATIOS[finding.grade]
    width = np.float32(2 * ratio * anatomy.chest_half_width)
    share = np.clip((y - anatomy.heart_top_y) / (anatomy.dome_left_y + 0.10 - anatomy.heart_top_y), 0, 1)
    left = np.sin(np.pi / 2 * np.clip(share / 0.74, 0, 1)) ** np.float32(1.1)
    left *= np.sqrt(1 - np.clip((share - 0.74) / 0.45, 0, 1) ** 2)
    right = np.sin(np.pi / 2 * np.clip(share / 0.55, 0, 1)) ** np.float32(0.8)
    right *= np.sqrt(1 - np.clip((share - 0.55) / 0.85, 0, 1) ** 2)
    return width * np.float32(0.38) * right, width * np.float32(0.62) * left


def _add_midline(anatomy: Anatomy, findings: Sequence[TrueFinding], whole: Frame, film: Field) -> None:
    """Adds heart, great vessels and spine, takes away the windpipe and the stomach's gas."""
    window, part = whole.part(-0.75, -2, 0.75, 2)
    x, y = part.x, part.y
    right, left = _midline_borders(anatomy, findings, y)
    # Vessels and fat blur the upper borders; the heart's are sharp against the lung.
    sharpness = np.float32(0.35) + np.float32(0.65) * np.clip((y + np.float32(0.50)) * 4, 0, 1)
    shadow = part.edge((left - x) * sharpness, 0.020) * part.edge((x + right) * sharpness, 0.020)
    shadow *= part.edge(np.float32(anatomy.dome_left_y + 0.06) - y, 0.10)
    thick = np.float32(0.36) + np.float32(0.20) * np.clip((y + np.float32(0.2)) * 3, 0, 1)
    middle = (x - np.float32(0.06)) * np.float32(1 / 0.42)
    added = shadow * thick * (1 - np.float32(0.35) * np.minimum(middle * middle, 1))
    column = part.edge(np.float32(0.085) - np.abs(x), 0.03)
    added += column * (np.float32(0.12) + np.float32(0.035) * np.cos(y * np.float32(2 * np.pi / 0.118)))
    top = np.searchsorted(y[:, 0], 0.0)
    gap = np.float32(0.018) + np.float32(0.9) * np.maximum(y[:top] + np.float32(0.24), 0)
    windpipe = part.edge(np.float32(0.032) - np.abs(np.abs(x[:top]) - gap + np.float32(0.018)), 0.014)
    added[:top] -= windpipe * part.edge(np.float32(-0.10) - y[:top], 0.05) * np.float32(0.24)
    film[window] += added
    if anatomy.bubble:
        _add_bubble(anatomy, whole, film)


def _midline_borders(anatomy: Anatomy, findings: Sequence[TrueFinding], y: Field) -> tuple[Field, Field]:
    """How far the shadow of heart and great vessels reaches to the right and left, (rows, 1)."""
    heart_right, heart_left = heart_borders(anatomy, findings, y)
    upper = np.clip((y + np.float32(0.75)) * np.float32(1.6), 0, 1)
    root = (
        np.float32(0.135)
        - np.float32(0.035) * upper
        + np.float32(0.03) * np.clip((y + np.float32(0.3)) * 3, 0, 1)
    )
    knob_reach = np.float32(anatomy.knob_radius) ** 2 - (y - np.float32(anatomy.knob_y)) ** 2
    knob = np.where(knob_reach > 0, np.float32(anatomy.knob_x) + np.sqrt(np.maximum(knob_reach, 0)), 0)
    trunk = np.float32(0.155) - np.float32(4.0) * (y + np.float32(0.20)) ** 2
    left = np.maximum(np.maximum(root, knob), np.maximum(trunk, heart_left))
    return np.maximum(root, heart_right), left


def _add_bubble(anatomy: Anatomy, whole: Frame, film: Field) -> None:
    """Takes away the gas under the left dome, flat below as it lies on the stomach's fluid."""
    middle = anatomy.dome_left_y + 0.14
    window, part = whole.part(0.1, middle - 0.15, 0.6, middle + 0.15)
    across, down = (part.x - np.float32(0.34)) * np.float32(0.65), part.y - np.float32(middle)
    round_part = part.edge(1 - (across * across + down * down) * np.float32(1 / anatomy.bubble**2), 0.35)
    film[window] -= round_part * part.edge(np.float32(0.6 * anatomy.bubble) - down, 0.015) * np.float32(0.42)


def marks(
    anatomy: Anatomy, finding: TrueFinding, halves: tuple[HalfChest, HalfChest], whole: Frame
) -> tuple[Mark, ...]:
    """Returns what this finding adds to the film: one Mark for each box that a reader would draw."""
    if finding.name == "cardiomegaly":
        return (_heart_mark(anatomy, finding, whole),)
    if finding.name == "support devices":
        return (_device_mark(anatomy, finding, whole),)
    draw = LUNG_MARKS[finding.name]
    return tuple(draw(finding, half) for half in halves if half.lung.side in _signs(finding))


def _heart_mark(anatomy: Anatomy, finding: TrueFinding, whole: Frame) -> Mark:
    window, part = whole.part(-0.75, anatomy.heart_top_y, 0.75, anatomy.dome_left_y + 0.04)
    right, left = heart_borders(anatomy, (finding,), part.y)
    presence = part.edge(left - part.x, 0.01) * part.edge(part.x + right, 0.01)
    # The heart itself is drawn with the midline, at the width that the finding asks for.
    return Mark(window, presence, np.zeros_like(presence))


def _spot(finding: TrueFinding, half: HalfChest, radius: float) -> tuple[float, float]:
    """Where a focal finding lies, as (a, y): at its zone's height, somewhere between heart and wall."""
    rng = np.random.default_rng([3, finding.form])
    y = half.lung.at(ZONE_SHARES[finding.zone or "middle"] + rng.uniform(-0.03, 0.03))
    heart = float(np.interp(y, half.part.y[:, 0], half.heart[:, 0]))
    outer = half.lung.wall_at(y) - 0.75 * radius
    inner = min(max(heart, 0.18) + 0.6 * radius, outer)
    return inner + (outer - inner) * rng.uniform(0.25, 0.75), y


def _crop(half: HalfChest, centre: tuple[float, float], reach: float) -> tuple[Window, Frame, Field, Field]:
    """The part of a half chest around (a, y): its window of the whole film, Frame, a and aerated lung."""
    x = half.lung.side * centre[0]
    inner, part = half.part.part(x - reach, centre[1] - reach, x + reach, centre[1] + reach)
    return nested(half.window, inner), part, half.a[inner], half.aerated[inner]


def _lesion_mark(finding: TrueFinding, half: HalfChest) -> Mark:
    centre = _spot(finding, half, shapes.LESION_RADII[1])
    window, part, a, aerated = _crop(half, centre, 0.16)
    presence, added = shapes.ball(part, a, centre, finding.grade)
    return Mark(window, presence * aerated, added * aerated)


def _consolidation_mark(finding: TrueFinding, half: HalfChest) -> Mark:
    centre = _spot(finding, half, shapes.CONSOLIDATION_RADII[1])
    window, part, a, aerated = _crop(half, centre, 1.5 * shapes.CONSOLIDATION_RADII[finding.grade])
    presence, added = shapes.fluff(a, part.y, centre, finding.grade, finding.form)
    return Mark(window, presence * aerated, added * aerated)


def _atelectasis_mark(finding: TrueFinding, half: HalfChest) -> Mark:
    centre = _spot(finding, half, 0.14)
    slope = np.random.default_rng([5, finding.form]).uniform(-0.35, 0.15)
    window, part, a, aerated = _crop(half, centre, 0.26)
    presence, added = shapes.plates(part, a, centre, finding.grade, slope)
    return Mark(window, presence * aerated, added * aerated)


def _pneumothorax_mark(_: TrueFinding, half: HalfChest) -> Mark:
    assert half.free is not None, "the half chest was laid out without its pneumothorax"
    # Drawn with the lung field, which leaves its vessels out there.
    return Mark(half.window, half.free, np.zeros_like(half.free))


def _effusion_mark(_: TrueFinding, half: HalfChest) -> Mark:
    assert half.fluid is not None, "the half chest was laid out without its effusion"
    return Mark(half.window, half.fluid, half.fluid * np.float32(AIR + 0.06))


def _edema_mark(finding: TrueFinding, half: HalfChest) -> Mark:
    seed = [6, finding.form, half.lung.side + 1]
    presence, added = shapes.haze(half.a, half.part.y, (0.30, 0.02), finding.grade, seed)
    added += _kerley_lines(half, seed) * np.float32(0.06 + 0.03 * finding.grade)
    return Mark(half.window, presence * half.aerated, added * half.aerated)


def _kerley_lines(half: HalfChest, seed: list[int]) -> Field:
    """Kerley B lines: short and level, at the wall of the lower zone, no two of one length."""
    place = (half.part.y + 2) * np.float32(1 / 0.040)
    line = np.floor(place)
    lengths = np.random.default_rng([*seed, 1]).uniform(0.0, 0.075, 128).astype(np.float32)
    length = lengths[np.clip(line, 0, 127).astype(np.intp)]  # (rows, 1)
    thin = between(1 - np.abs(place - line - np.float32(0.5)) * 5, 0, 1)
    low = half.part.edge(half.part.y - np.float32(half.lung.at(0.60)), 0.05)
    return half.part.edge(length - (half.wall - half.a), 0.015) * (thin * low)


LUNG_MARKS: dict[str, Callable[[TrueFinding, HalfChest], Mark]] = {
    "lung lesion": _lesion_mark,
    "consolidation": _consolidation_mark,
    "atelectasis": _atelectasis_mark,
    "pneumothorax": _pneumothorax_mark,
    "pleural effusion": _effusion_mark,
    "edema": _edema_mark,
}


def _device_mark(anatomy: Anatomy, finding: TrueFinding, whole: Frame) -> Mark:
    """A device is metal or a lined tube: brighter than any bone it crosses."""
    side = SIDE_SIGNS[finding.side] if finding.side else 0
    off = np.random.default_rng([7, finding.form]).uniform(-0.03, 0.03)
    paths, width = _device_paths(anatomy, finding, side, off)
    presence = np.zeros_like(whole.x)
    for path in paths:
        np.maximum(presence, whole.stroke(path, width), out=presence)
    if finding.device == "pacemaker":
        middle = side * 0.42, -0.50 + off
        window, part = whole.part(middle[0] - 0.12, middle[1] - 0.12, middle[0] + 0.12, middle[1] + 0.12)
        across = (part.x - np.float32(middle[0])) * np.float32(1 / 0.095)
        down = (part.y - np.float32(middle[1])) * np.float32(1 / 0.075)
        case = part.edge((1 - (across * across) ** 2 - (down * down) ** 2) * np.float32(0.03), 0.006)
        np.maximum(presence[window], case, out=presence[window])
    window = slice(0, presence.shape[0]), slice(0, presence.shape[1])
    return Mark(window, presence, presence * np.float32(0.60))


def _device_paths(
    anatomy: Anatomy, finding: TrueFinding, side: int, off: float
) -> tuple[tuple[Path, ...], float]:
    """The tubes and wires of a device as points (x, y), and their width."""
    wide = anatomy.chest_half_width
    bow: Path
    if finding.device == "endotracheal tube":
        return (((0.0, -0.96), (0.006, -0.7), (0.0, -0.38 + off)),), 0.022
    if finding.device == "central venous line":
        bow = ((side * 0.46, -0.66 + off), (side * 0.22, -0.52), (-0.09, -0.60), (-0.10, 0.0 + off))
        return (curve(bow, 10),), 0.016
    if finding.device == "chest tube":
        low, top = 0.22 + off, -0.40 + off
        bow = ((side * (wide + 0.08), low + 0.10), (side * (wide - 0.16), low), (side * (wide - 0.12), top))
        return (curve(bow, 8),), 0.030
    lead = ((side * 0.37, -0.54 + off), (side * 0.05, -0.78), (-0.14, -0.40), (-0.12, 0.12))
    tip = ((-0.12, 0.12), (-0.11, 0.30), (0.04, 0.36), (0.20, 0.33 + off))
    return (curve(lead, 8), curve(tip, 5)), 0.014
