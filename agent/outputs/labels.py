"""Where the label of a box stands: at its box, and over no other label. Pure."""

from collections.abc import Sequence
from typing import TypeAlias

Place: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom of a label, in whatever pixels the caller counts."""

_TOUCHING_PX = 0.01
"""Labels whose edges meet do not cover one another; sums of fractions may differ by less than this."""


def free_place(wish: Place, taken: Sequence[Place], top: float, bottom: float) -> Place:
    """Moves a label up, or else down, until it covers none of those that are there.

    Args:
        wish: where it would stand alone.
        taken: the places of the labels before it.
        top, bottom: it stays between these; where that leaves no room it stands where it wished to.
    """
    left, _, right, _ = wish
    height = wish[3] - wish[1]
    for is_up in (True, False):
        place = wish
        while covered := [other for other in taken if _overlap(place, other)]:
            new_top = min(other[1] for other in covered) - height if is_up else max(o[3] for o in covered)
            place = (left, new_top, right, new_top + height)
        if top - _TOUCHING_PX <= place[1] and place[3] <= bottom + _TOUCHING_PX:
            return place
    return wish


def _overlap(one: Place, other: Place) -> bool:
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > _TOUCHING_PX
        and min(one[3], other[3]) - max(one[1], other[1]) > _TOUCHING_PX
    )
