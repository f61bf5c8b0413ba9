"""The line as a table: where a job may stand, and where it may go from there."""

from collections.abc import Mapping
from types import MappingProxyType

from storage.records import Stage

STAGES: tuple[Stage, ...] = tuple(Stage)
"""In the order of the line; the last three are ends."""

NEXT: Mapping[Stage, tuple[Stage, ...]] = MappingProxyType(
    {
        Stage.GATHER: (Stage.READ, Stage.SKIPPED, Stage.FAILED),
        Stage.READ: (Stage.COMPOSE, Stage.SKIPPED, Stage.FAILED),
        Stage.COMPOSE: (Stage.DELIVER, Stage.DONE, Stage.SKIPPED, Stage.FAILED),
        Stage.DELIVER: (Stage.DONE, Stage.SKIPPED, Stage.FAILED, Stage.COMPOSE),
        Stage.DONE: (),
        Stage.SKIPPED: (),
        Stage.FAILED: (Stage.DELIVER,),
    }
)
"""Where a job may go from each stage: right, or sideways to an end. Two ways lead back: from `deliver` to
`compose` where a destination refused a form and the next one is still to be made, and from `failed` to `deliver`
where an operator replays what was given up."""

ENDS: tuple[Stage, ...] = (Stage.DONE, Stage.SKIPPED, Stage.FAILED)
"""Where no worker takes a job any further."""

CLAIMABLE: tuple[Stage, ...] = (Stage.GATHER, Stage.READ, Stage.COMPOSE)
"""The stages with a step of their own; at `deliver` it is the deliveries that are claimed."""


def check_move(stage: Stage, to: Stage) -> None:
    """Raises ValueError if `NEXT` has no such move."""
    if to not in NEXT[stage]:
        raise ValueError(f"a job at {stage} does not go to {to}")
