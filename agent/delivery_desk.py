"""What an administrator does with deliveries that were given up: look, and send them once more."""

from agent.clock import system_clock
from agent.operators import operator
from agent.store import existing_store
from config.settings import Settings


def list_text(settings: Settings, destination: str, limit: int) -> str:
    """The deliveries that were given up, newest first, each with its number and the reason."""
    store = existing_store(settings)
    try:
        lines = []
        for one in store.jobs.deliveries.given_up(destination, limit):
            job = store.jobs.job(one.job_number)
            assert one.failed_at is not None
            lines.append(
                f"{one.number} {one.failed_at.isoformat(timespec='seconds')} to {one.destination}, study "
                f"{job.study_instance_uid} revision {job.revision}, object {one.sop_instance_uid}: {one.problem}"
            )
    finally:
        store.database.close()
    return "\n".join(lines) or "nothing was given up"


def replay(settings: Settings, number: int | None, destination: str) -> tuple[list[str], bool]:
    """Sends one delivery once more, or all that were given up for a destination; a line for each, and if all go.

    Raises:
        ValueError: if neither or both of them are given.
    """
    if (number is None) == (not destination):
        raise ValueError(
            "say which: the number of one delivery, or --destination NAME for all of one destination"
        )
    store = existing_store(settings)
    try:
        if number is not None:
            numbers = [number]
        else:
            numbers = sorted(one.number for one in store.jobs.deliveries.given_up(destination))
        lines, all_go = [], True
        for one in numbers:
            try:
                delivery = store.jobs.deliveries.replay(one, system_clock(), operator())
            except LookupError as error:
                lines.append(str(error.args[0]))
                all_go = False
            else:
                lines.append(f"delivery {one} goes to {delivery.destination} once more")
        return lines or [f"nothing was given up for {destination}"], all_go
    finally:
        store.database.close()
