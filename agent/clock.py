"""The clock of the wall."""

from datetime import UTC, datetime


def system_clock() -> datetime:
    """The time now, UTC and aware: the one place that asks the system."""
    return datetime.now(UTC)
