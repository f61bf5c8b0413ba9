"""The pencil: where each pixel of a film lies in the body, soft edges, strokes, noise and the tone curve.

All fields are float32 (rows, columns). Lengths are in *body units*: at scale 1 the centre square of a film
reaches from -1 to 1 in both directions, x to the right of the image, y downwards. Nothing here depends on the
number of pixels but the sampling, so a thumbnail and a full film show the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]

Window = tuple[slice, slice]
"""Rows and columns of a film: where a part of it is drawn."""

Path = tuple[tuple[float, float], ...]
"""Points (x, y) along a line, in body units."""

LATTICE_REACH = 1.3
"""Noise covers -1.3..1.3 film units: a film of 1.25 : 1, with a margin."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How the body stands before the detector in one exam.

    Attributes:
        scale: magnification, about 1.
        shift_x, shift_y: where the body's origin falls on the film, in film units.
        lean: sideways lean, in body units of x for each unit of y.
        bend: curve of the spine, in body units at the film's edge.
    """

    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    lean: float = 0.0
    bend: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where each pixel of a film, or of a part of it, lies in the body.

    The lean moves x only, so that y is the same all along a row: every function of the height alone is then
    computed once for each row, which is most of the anatomy.

    Attributes:
        x: (rows, columns), to the right of the image.
        y: (rows, 1), downwards.
        pixel: the width of a pixel, in body units.
    """

    x: Field
    y: Field
    pixel: float

    def part(self, left: float, top: float, right: float, bottom: float) -> tuple[Window, "Frame"]:
        """Returns the rows and columns that hold this rectangle of the body, and the Frame of just those."""
        first_row, past_row = np.searchsorted(self.y[:, 0], (top, bottom))
        near, far = self.x[[0, -1]].min(axis=0), self.x[[0, -1]].max(axis=0)
        first_column, past_column = np.searchsorted(far, left - 0.04), np.searchsorted(near, right + 0.04)
        window = (slice(int(first_row), int(past_row)), slice(int(first_column), int(past_column)))
        return window, Frame(self.x[window], self.y[window[0]], self.pixel)

    def edge(self, inside: Field, softness: float) -> Field:
        """Returns 1 where `inside` is well above zero, 0 where well below, +-`softness` between.

        The step is never sharper than a pixel: small films would show stairs, and the grades of a finding
        would jump with the number of pixels.
        """
        half_width = max(softness, 0.7 * self.pixel)
        step: Field = inside * np.float32(0.5 / half_width)
        step += np.float32(0.5)
        between(step, 0, 1)
        smooth: Field = step * step
        step *= -2
        step += 3
        smooth *= step
        return smooth

    def stroke(self, points: Path, width: float) -> Field:
        """Draws a tube of this width along the points (x, y), 1 on its axis; never thinner than a pixel."""
        half_width = max(0.5 * width, 0.6 * self.pixel)
        distance_squared = np.full(self.x.shape, 4.0, np.float32)
        for (x0, y0), (x1, y1) in pairwise(points):
            margin = 2 * half_width
            window, near = self.part(
                min(x0, x1) - margin, min(y0, y1) - margin, max(x0, x1) + margin, max(y0, y1) + margin
            )
            right, down = near.x - np.float32(x0), near.y - np.float32(y0)
            run, fall = np.float32(x1 - x0), np.float32(y1 - y0)
            per_length = 1 / np.maximum(run * run + fall * fall, np.float32(1e-9))
            place = between((right * run + down * fall) * per_length, 0, 1)
            squared = (right - place * run) ** 2 + (down - place * fall) ** 2
            np.minimum(distance_squared[window], squared, out=distance_squared[window])
        # A narrow film shows a thin tube as a wide faint one: the same amount of metal in fewer pixels.
        faintness = min(1.0, (0.5 * width / half_width) ** 0.5)
        tube = between(1 - distance_squared * np.float32(0.25 / half_width**2), 0, 1)
        tube *= np.float32(faintness)
        return tube


def between(field: Field, low: float, high: float) -> Field:
    """Limits the field in place and returns it."""
    return field.clip(low, high, out=field)


def nested(outer: Window, inner: Window) -> Window:
    """Returns the window of the whole film that is `inner` of `outer`."""
    rows, columns = (slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))
    return rows, columns


def frame(rows: int, columns: int, pose: Pose) -> Frame:
    """Lays a film of this many pixels over the body; the shorter side is 2 / scale body units long."""
    across, down = _axes(rows, columns)
    y = (down - np.float32(pose.shift_y)) / np.float32(pose.scale)  # (rows, 1)
    off_axis = np.float32(pose.lean) * y + np.float32(pose.bend) * (y * y - np.float32(0.3))  # (rows, 1)
    x = (across - np.float32(pose.shift_x)) / np.float32(pose.scale) - off_axis  # (rows, columns)
    return Frame(x, y, 2 / (min(rows, columns) * pose.scale))


@lru_cache(maxsize=16)
def _axes(rows: int, columns: int) -> tuple[Field, Field]:
    """Film units of the pixel centres: (1, columns) across and (rows, 1) down."""
    short = min(rows, columns)
    across = (2 * np.arange(columns, dtype=np.float32) + 1 - columns) / short
    down = (2 * np.arange(rows, dtype=np.float32) + 1 - rows) / short
    return across[None, :].astype(np.float32), down[:, None].astype(np.float32)


def curve(points: Path, steps: int) -> Path:
    """Bends a Bezier curve from the first to the last control point, as `steps` + 1 points (x, y)."""
    t = np.linspace(0, 1, steps + 1)[:, None]
    level = [np.asarray(point, float) * np.ones_like(t) for point in points]
    while len(level) > 1:
        level = [(1 - t) * near + t * far for near, far in pairwise(level)]
    return tuple((float(x), float(y)) for x, y in level[0])


def lattice(seed: Sequence[int], rows: int, columns: int) -> Field:
    """Draws the random values (rows, columns) in -1..1 that noise is interpolated from."""
    return 2 * np.random.default_rng(seed).random((rows, columns), dtype=np.float32) - 1


def noise_at(values: Field, row: Field, column: Field) -> Field:
    """Interpolates a lattice smoothly at places given in its own (row, column) units, held at its border."""
    row = between(row + np.float32(0), 0, values.shape[0] - 1.001)
    column = between(column + np.float32(0), 0, values.shape[1] - 1.001)
    first_row, first_column = row.astype(np.intp), column.astype(np.intp)
    down, across = row - first_row.astype(np.float32), column - first_column.astype(np.float32)
    down, across = down * down * (3 - 2 * down), across * across * (3 - 2 * across)
    flat, width = values.ravel(), values.shape[1]
    corner = first_row * width + first_column
    upper = flat.take(corner)
    upper += across * (flat.take(corner + 1) - upper)
    corner += width
    lower = flat.take(corner)
    lower += across * (flat.take(corner + 1) - lower)
    lower -= upper
    blend: Field = upper + down * lower
    return blend


def grain(rng: Generator, rows: int, columns: int, cells: int) -> Field:
    """Draws noise with `cells` cells in each film unit, about -1..1, the same at each size of the film."""
    count = int(2 * LATTICE_REACH * cells) + 3
    values = 2 * rng.random((count, count), dtype=np.float32) - 1
    short = min(rows, columns)
    down, across = _spline(rows, short, cells), _spline(columns, short, cells)
    return (down @ values @ across.T).astype(np.float32, copy=False)


@lru_cache(maxsize=64)
def _spline(length: int, short: int, cells: int) -> Field:
    """Weights (length, lattice) of the quadratic B-spline that carries a lattice to one axis's pixels."""
    place = ((2 * np.arange(length) + 1 - length) / short + LATTICE_REACH) * cells + 1
    index = np.arange(int(2 * LATTICE_REACH * cells) + 3)
    distance = np.abs(place[:, None] - index[None, :])
    inner, outer = 0.75 - distance**2, 0.5 * np.clip(1.5 - distance, 0, None) ** 2
    weights: Field = np.where(distance < 0.5, inner, outer).astype(np.float32)
    return weights


def expose(density: Field, seed: Sequence[int], exposure: float, contrast: float) -> NDArray[np.uint16]:
    """Turns attenuation into the film: quantum noise and grain, then the curve that spares the dense end.

    Args:
        density: (rows, columns), 0 = air, about 1 = chest wall, about 2 = bone over abdomen.
        seed: of the noise.
        exposure: brightness, about 1. contrast: steepness, about 1.

    Returns:
        uint16 (rows, columns), 0 = darkest, dense is bright.
    """
    rows, columns = density.shape
    # One stream, coarse octaves first: a small film leaves off the last draws of a large one.
    rng = np.random.default_rng(seed)
    speckle = grain(rng, rows, columns, 5)
    for cells in (24, 48, 96, 192, 384):
        # An octave finer than the pixels would only alias.
        if 2 * cells <= min(rows, columns):
            speckle += grain(rng, rows, columns, cells)
    # Fewer photons reach the detector behind dense parts: the relative noise grows with attenuation.
    noisy = density + speckle * (np.float32(0.016) + np.float32(0.014) * density)
    tone = 1 - np.exp(np.float32(-1.45 * contrast) * np.maximum(noisy * np.float32(exposure), 0))
    return np.clip(tone * 61000 + 1500, 0, 65535).astype(np.uint16)
