"""How long to wait before trying again, and how long to go on trying. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long work is tried again.

    Attributes:
        attempts_max: tries of one stage that may end in an error of ours (or a crash) before it fails.
        retry_seconds_min, retry_seconds_max: the shortest and the longest pause between two tries.
        lease_seconds: how long a claim holds if its worker dies; a living one keeps extending it.
        wait_seconds: for each stage, by name, how long "later" may go on before the job fails.
    """

    attempts_max: int
    retry_seconds_min: float
    retry_seconds_max: float
    lease_seconds: float
    wait_seconds: Mapping[str, float]


def pause_seconds(waited_seconds: float, patience: Patience, jitter: float) -> float:
    """The pause before the next try: as long as the wait so far, so it doubles, with no counter to keep.

    Args:
        waited_seconds: since the first try.
        jitter: 0..1, spreads the pause by ±25 % so that many jobs do not knock at once.
    """
    pause = min(max(waited_seconds, patience.retry_seconds_min), patience.retry_seconds_max)
    return pause * (0.75 + 0.5 * jitter)
