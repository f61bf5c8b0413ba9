"""Is this process alive, and is it ready to take studies and have them read? Pure: facts in, words out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.records import RunningProcess

TICK_SECONDS_MAX = 120.0
"""How long the clock may be silent. Its longest work, a settle after a day of backlog, takes seconds."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold. `word` says how it is, and what to do where `ok` is False."""

    ok: bool
    name: str
    word: str


def is_alive(dead_threads: Sequence[str], tick_seconds_ago: float) -> tuple[Condition, ...]:
    """Judges whether anything but a new start can help.

    Args:
        dead_threads: names of threads that have ended and should not have.
        tick_seconds_ago: since the clock began its last round.
    """
    threads = ", ".join(dead_threads)
    return (
        Condition(
            not dead_threads, "threads", f"ended: {threads}; start preread anew" if threads else "running"
        ),
        Condition(
            tick_seconds_ago <= TICK_SECONDS_MAX,
            "clock",
            f"last round {tick_seconds_ago:.0f} s ago, {TICK_SECONDS_MAX:.0f} s are allowed",
        ),
    )


def is_ready(
    *,
    database_problem: str | None,
    is_listening: bool,
    free_bytes: int,
    free_bytes_min: int,
    reader: RunningProcess | None,
    now: datetime,
    reader_silent_seconds: float,
) -> tuple[Condition, ...]:
    """Judges whether a study that is sent now is taken and read soon.

    Args:
        reader: the one that was seen last within `reader_silent_seconds`, or None; None of a database with a problem.
    """
    free = f"{free_bytes / 1e9:.1f} GB free, free_bytes_min is {free_bytes_min / 1e9:.1f} GB"
    if reader is None and database_problem is not None:
        read_by = "not known while the database does not answer"
    elif reader is None:
        read_by = f"no reader was seen for {reader_silent_seconds:.0f} s; see its log, or start: preread read"
    else:
        read_by = f"{reader.engine}, seen {(now - reader.seen_at).total_seconds():.0f} s ago"
    return (
        Condition(database_problem is None, "database", database_problem or "reachable"),
        Condition(
            is_listening, "listener", "open" if is_listening else "the DICOM port is not open; see the log"
        ),
        Condition(free_bytes >= free_bytes_min, "disk", free),
        Condition(reader is not None, "reader", read_by),
    )


def as_text(conditions: Iterable[Condition]) -> str:
    """Writes one line for each."""
    return "".join(f"{'ok' if one.ok else 'PROBLEM'} {one.name}: {one.word}\n" for one in conditions)
