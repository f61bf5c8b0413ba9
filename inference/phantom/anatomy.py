"""One synthetic person: what stays the same from film to film, drawn once from the patient's seed."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from inference.phantom.drawing import Field, Pose

RIGHT, LEFT = -1, 1
"""The patient's side as a sign of x: on a PA film the patient's right is on the left of the image."""

SIDE_SIGNS = {"right": RIGHT, "left": LEFT}


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A person's chest in body units (see `drawing`), all of it from the patient's seed.

    Attributes:
        seed: of the person; vessel trees are drawn from it.
        chest_half_width: of the rib cage at its widest; wall_power: how fast the apex widens, 2..3.
        apex_y, dome_right_y, dome_left_y: heights of the lung tops and the domes of the diaphragm.
        angle_depth: how far the costophrenic angle lies under the dome.
        heart_ratio: heart width by chest width without disease, under 0.46; heart_top_y: where it begins.
        knob_x, knob_y, knob_radius: the aortic knob.
        rib_spacing, rib_phase, rib_drop, rib_density: the ribs.
        clavicle_y, clavicle_rise, shoulder_y, body_half_width: the frame around the lungs.
        tissue: thickness of the soft tissue, about 1.
        breast: its extra shade, 0 = none; breast_y: its height.
        bubble: radius of the gastric bubble, 0 = none.
        depth: chest depth on the lateral film, about 1.
        lean, bend: of the spine.
    """

    seed: int
    chest_half_width: float
    wall_power: float
    apex_y: float
    dome_right_y: float
    dome_left_y: float
    angle_depth: float
    heart_ratio: float
    heart_top_y: float
    knob_x: float
    knob_y: float
    knob_radius: float
    rib_spacing: float
    rib_phase: float
    rib_drop: float
    rib_density: float
    clavicle_y: float
    clavicle_rise: float
    shoulder_y: float
    body_half_width: float
    tissue: float
    breast: float
    breast_y: float
    bubble: float
    depth: float
    lean: float
    bend: float


def draw_anatomy(seed: int) -> Anatomy:
    """Draws the person that belongs to this seed."""
    rng = np.random.default_rng([1, seed])
    half_width = rng.uniform(0.61, 0.70)
    dome = rng.uniform(0.38, 0.47)
    return Anatomy(
        seed=seed,
        chest_half_width=half_width,
        wall_power=rng.uniform(2.3, 3.0),
        apex_y=rng.uniform(-0.80, -0.74),
        dome_right_y=dome,
        dome_left_y=dome + rng.uniform(0.02, 0.06),
        angle_depth=rng.uniform(0.17, 0.24),
        heart_ratio=rng.uniform(0.39, 0.455),
        heart_top_y=rng.uniform(-0.20, -0.14),
        knob_x=rng.uniform(0.075, 0.10),
        knob_y=rng.uniform(-0.42, -0.36),
        knob_radius=rng.uniform(0.065, 0.085),
        rib_spacing=rng.uniform(0.118, 0.138),
        rib_phase=rng.uniform(0, 1),
        rib_drop=rng.uniform(0.20, 0.34),
        rib_density=rng.uniform(0.085, 0.13),
        clavicle_y=rng.uniform(-0.60, -0.53),
        clavicle_rise=rng.uniform(0.10, 0.28),
        shoulder_y=rng.uniform(-0.93, -0.84),
        body_half_width=half_width + rng.uniform(0.17, 0.24),
        tissue=rng.uniform(0.90, 1.12),
        breast=float(rng.choice([0.0, rng.uniform(0.06, 0.15)])),
        breast_y=rng.uniform(0.28, 0.45),
        bubble=float(rng.choice([0.0, rng.uniform(0.05, 0.10)])),
        depth=rng.uniform(0.92, 1.08),
        lean=rng.uniform(-0.02, 0.02),
        bend=rng.uniform(-0.02, 0.02),
    )


def draw_pose(anatomy: Anatomy, rng: Generator) -> Pose:
    """Draws how the person stands in one exam: nearly, but never quite, as the last time."""
    return Pose(
        scale=rng.uniform(1.10, 1.18),
        shift_x=rng.uniform(-0.03, 0.03),
        shift_y=rng.uniform(0.03, 0.09),
        lean=anatomy.lean + rng.uniform(-0.015, 0.015),
        bend=anatomy.bend,
    )


@dataclass(frozen=True, slots=True)
class Lung:
    """One lung of a frontal film, in `a` (lateral of the midline, positive on its own side) and y.

    Attributes:
        side: RIGHT or LEFT.
        half_width, wall_power, apex_y, dome_y, angle_depth: as in Anatomy, after what disease does to them.
    """

    side: int
    half_width: float
    wall_power: float
    apex_y: float
    dome_y: float
    angle_depth: float

    def at(self, share: float) -> float:
        """Returns the height y at this share of the way from the apex (0) to the dome (1)."""
        return self.apex_y + share * (self.dome_y - self.apex_y)

    def wall(self, y: Field) -> Field:
        """Returns how far lateral the rib cage reaches at the height y."""
        share = np.clip((y - self.apex_y) / (self.dome_y + self.angle_depth - self.apex_y), 0, 1)
        rounded: Field = (1 - (1 - share) ** np.float32(self.wall_power)) ** np.float32(0.52)
        return np.float32(self.half_width) * (np.float32(0.97) + np.float32(0.05) * share) * rounded

    def wall_at(self, y: float) -> float:
        """Returns `wall` at one height."""
        return float(self.wall(np.array([y], np.float32))[0])

    def dome(self, a: Field) -> Field:
        """Returns the height of the diaphragm at `a`, down to the costophrenic angle at the wall."""
        summit = np.float32(0.45 * self.half_width)
        offset = a - summit
        lateral = np.maximum(offset, 0) * np.float32(1 / (0.55 * self.half_width))
        medial = np.minimum(offset, 0) * np.float32(1 / (0.45 * self.half_width))
        lateral, medial = lateral * lateral, medial * medial
        fall: Field = lateral * (np.float32(0.45) + np.float32(0.55) * lateral) + np.float32(0.35) * medial
        return np.float32(self.dome_y) + np.float32(self.angle_depth) * fall
