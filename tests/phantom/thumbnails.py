"""Coarse thumbnails of a few synthetic films: the same on every machine but for the last bits.

Write them anew with `python -m tests.phantom.thumbnails`, after looking at the films, and review the diff.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.phantom.cases import HELD_OUT_SEED_MIN, exams

GOLDEN = Path(__file__).with_name("golden_thumbnails.json")
SEEDS = range(HELD_OUT_SEED_MIN, HELD_OUT_SEED_MIN + 6)
CELLS = 7


def thumbnail(film: NDArray[np.uint16]) -> list[list[int]]:
    """Returns the mean brightness, 0..255, of 7 x 7 cells of a film whose sides are multiples of 7."""
    rows, columns = film.shape
    cells = film.reshape(CELLS, rows // CELLS, CELLS, columns // CELLS).mean(axis=(1, 3)) / 257
    return [[round(float(value)) for value in row] for row in cells]


def thumbnails() -> dict[str, list[list[int]]]:
    """Draws the first film of each view of each golden patient at 140 x 140."""
    drawn = ((seed, view, exam) for seed in SEEDS for exam in exams(seed, 1) for view in exam.views)
    return {f"{seed} {view}": thumbnail(exam.draw(view, 140, 140)) for seed, view, exam in drawn}


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(cells)}" for name, cells in thumbnails().items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
