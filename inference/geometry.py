"""Fits a radiograph to the square that a model sees, and maps boxes from that square back to the radiograph.

The two ways, and no third: `fit` before the model, `from_model_box` after it. A model here looks at the
middle square of an image, as wide as its shorter side; what lies outside it was not seen and gets no box.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from inference.reading import Box

ELONGATION_MAX = 10
"""How many times as long as wide an image may be; of a longer one a model would see next to nothing."""

MODEL_UNITS = 100
"""Steps along one side of the square in which a model says where something is."""


@dataclass(frozen=True, slots=True)
class CentreSquare:
    """The middle square of an image, in the image's own pixels.

    Attributes:
        left, top: its upper left corner, (column, row) by corners, may end in .5.
        side: its width and height, the image's shorter side.
    """

    left: float
    top: float
    side: int


@dataclass(frozen=True, slots=True)
class Fit:
    """How an image becomes a square of `side` pixels: first resized, then cut.

    Attributes:
        rows, columns: of the whole image after resizing, the shorter one being `side`.
        top, left: the first row and column of the square in it.
    """

    rows: int
    columns: int
    top: int
    left: int
    side: int


def centre_square(rows: int, columns: int) -> CentreSquare:
    """Gives the middle square of an image."""
    side = min(rows, columns)
    return CentreSquare(left=(columns - side) / 2, top=(rows - side) / 2, side=side)


def unseen(sizes: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """Says how much of images, (rows, columns) each, a model sees that looks at their middle squares; () if all."""
    share = min((min(size) / max(size) for size in sizes), default=1.0)
    if share == 1:
        return ()
    return (f"Of each film the model saw the middle square, {share:.0%} of it or more, and nothing outside.",)


def too_long(rows: int, columns: int) -> str | None:
    """Says that an image is no radiograph, by its shape; None if it may be one."""
    if max(rows, columns) <= ELONGATION_MAX * min(rows, columns):
        return None
    return f"{rows} rows by {columns} columns are no radiograph: too long for its width"


def fit(rows: int, columns: int, side: int) -> Fit:
    """Says how to bring an image of `rows` x `columns` to a square of `side` pixels.

    The shorter side becomes `side`, the longer one is cut off to whole pixels, and the square is taken from
    the middle. It lies within one pixel of `centre_square`, which boxes refer to.

    Raises:
        ValueError: if one side is more than ELONGATION_MAX times the other.
    """
    if (reason := too_long(rows, columns)) is not None:
        raise ValueError(reason)
    shorter = min(rows, columns)
    fitted_rows = side if rows == shorter else int(side * rows / shorter)
    fitted_columns = side if columns == shorter else int(side * columns / shorter)
    return Fit(fitted_rows, fitted_columns, (fitted_rows - side) // 2, (fitted_columns - side) // 2, side)


def to_model_box(
    box: tuple[float, float, float, float], rows: int, columns: int
) -> tuple[int, int, int, int]:
    """Says a box in model units, 0 to MODEL_UNITS of the middle square, cut off at its borders.

    Args:
        box: left, top, right, bottom in the image's own pixels.

    Returns:
        left, top, right, bottom, rounded half to even as the training texts were. A box outside the square
        has no width here.
    """
    square = centre_square(rows, columns)

    def units(pixel: float, offset: float) -> int:
        return min(max(round(MODEL_UNITS * (pixel - offset) / square.side), 0), MODEL_UNITS)

    left, top, right, bottom = box
    return (
        units(left, square.left),
        units(top, square.top),
        units(right, square.left),
        units(bottom, square.top),
    )


def from_model_box(model_box: tuple[int, int, int, int], rows: int, columns: int, image_key: str) -> Box:
    """Maps a box in model units back to the image's own pixels.

    Args:
        model_box: left, top, right, bottom, each 0 to MODEL_UNITS.

    Raises:
        ValueError: if it is no box within the square.
    """
    left, top, right, bottom = model_box
    if not (0 <= left < right <= MODEL_UNITS and 0 <= top < bottom <= MODEL_UNITS):
        raise ValueError(f"not a box on a grid of 0 to {MODEL_UNITS}: {list(model_box)}")
    square = centre_square(rows, columns)
    unit = square.side / MODEL_UNITS
    return Box(
        image_key=image_key,
        left=square.left + left * unit,
        top=square.top + top * unit,
        right=min(square.left + right * unit, columns),
        bottom=min(square.top + bottom * unit, rows),
    )
