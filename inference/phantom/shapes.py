"""How disease looks, whatever the view: balls, fluff, plates, haze and tubes, drawn into a part of a film."""

from dataclasses import dataclass

import numpy as np

from inference.phantom.drawing import Field, Frame, Window, between, lattice, noise_at

LESION_RADII = (0.045, 0.080, 0.130)
CONSOLIDATION_RADII = (0.100, 0.165, 0.255)
PLATE_HALF_LENGTHS = (0.13, 0.17, 0.21)
PLATE_COUNTS = (1, 2, 3)
EDEMA_RADII = (0.24, 0.32, 0.42)
EDEMA_DENSITIES = (0.20, 0.33, 0.48)
"""Sizes in body units for the three grades, small to large: each step can be told by eye."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A finding in a window of the film: where it is (0..1), and what it adds to the attenuation."""

    window: Window
    presence: Field
    density: Field


def ball(part: Frame, across: Field, centre: Point, grade: int) -> tuple[Field, Field]:
    """A round lesion with a sharp edge. `across` is x or the lateral distance, centre is (across, y).

    Returns:
        presence 0..1 and attenuation, both (rows, columns) of the part, not yet cut to the lung.
    """
    radius = LESION_RADII[grade]
    right, down = (
        (across - np.float32(centre[0])) * np.float32(1 / radius),
        (part.y - np.float32(centre[1])) * np.float32(1 / radius),
    )
    reach = 1 - right * right - down * down
    presence = part.edge(reach * np.float32(0.5 * radius), 0.010)
    return presence, presence * (np.float32(0.24) + np.float32(0.24) * np.sqrt(np.maximum(reach, 0)))


def fluff(across: Field, y: Field, centre: Point, grade: int, form: int) -> tuple[Field, Field]:
    """A consolidation: ragged edge, blotchy inside, with a hint of open bronchi. Returns as `ball`."""
    radius = CONSOLIDATION_RADII[grade]
    right, down = (
        (across - np.float32(centre[0])) * np.float32(1 / radius),
        (y - np.float32(centre[1])) * np.float32(1 / radius),
    )
    values = lattice([4, form], 24, 24)
    ragged = noise_at(values, (down + 2) * 2, (right + 2) * 2)
    blotch = noise_at(values.T, (down + 2) * 5, (right + 2) * 5)
    reach = (
        np.float32(0.95)
        - np.sqrt(right * right + down * down)
        + np.float32(0.30) * ragged
        + np.float32(0.12) * blotch
    )
    presence = between(reach * np.float32(2.0), 0, 1)
    branches = np.abs(noise_at(values[::-1], (right - down) * 3 + 8, (right + down) * np.float32(0.8) + 8))
    bronchi = between(1 - branches * 5, 0, 1)
    amount = np.float32(0.44) + np.float32(0.12) * blotch - np.float32(0.15) * bronchi
    return presence, presence * amount


def plates(part: Frame, across: Field, centre: Point, grade: int, slope: float) -> tuple[Field, Field]:
    """Plate atelectasis: one, two or three thin bands, one above the other. Returns as `ball`."""
    length = PLATE_HALF_LENGTHS[grade]
    along = (across - np.float32(centre[0])) * np.float32(1 / length)
    thickness = np.float32(0.018) * np.sqrt(between(1 - along * along, 0, 1))
    height = part.y - np.float32(centre[1]) - (np.float32(slope * length) + np.float32(0.012) * along) * along
    band = thickness - np.abs(height)
    for plate in range(1, PLATE_COUNTS[grade]):
        np.maximum(band, thickness - np.abs(height + np.float32(0.068 * plate)), out=band)
    presence = part.edge(band, 0.008) * (np.abs(along) < 1)
    return presence, presence * np.float32(0.40)


def haze(across: Field, y: Field, centre: Point, grade: int, seed: list[int]) -> tuple[Field, Field]:
    """The fluid-laden lung around a hilum: a soft cloud that thins outwards. Returns as `ball`."""
    radius = EDEMA_RADII[grade]
    right, down = (
        (across - np.float32(centre[0])) * np.float32(1 / radius),
        (y - np.float32(centre[1])) * np.float32(1 / (1.35 * radius)),
    )
    cloud = noise_at(lattice(seed, 48, 48), (y + 1) * 18, (across + 1) * 18)
    reach = 1 - np.sqrt(right * right + down * down) + np.float32(0.15) * cloud
    presence = between(reach * np.float32(1.7), 0, 1)
    return presence, presence * (1 + np.float32(0.24) * cloud) * np.float32(EDEMA_DENSITIES[grade])
