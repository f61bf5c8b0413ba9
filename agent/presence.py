"""Which processes of preread run, as far as that can be known from here, and which one is missing."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from agent.loaded import is_served
from storage.processes import SEEN_WITHIN, Processes
from storage.records import RunningProcess

_KNOWN_FOR = timedelta(days=365)
"""The row of a process that was killed stays until another one says that it runs, and forgets it."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Who runs.

    Attributes:
        running: the processes that run, the one that was seen last first.
        serves: whether one that listens is among them, or has just begun.
        killed: the one that listened last, if none does and it was not stopped as it should be; else None.
        is_whole: False if the database was not asked; then `running` is empty, and who reads is not known.
    """

    running: tuple[RunningProcess, ...]
    serves: bool
    killed: RunningProcess | None
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Lack:
    """A process that should run and does not. `text` says what to do; `is_grave`: no draft comes until it is done."""

    text: str
    is_grave: bool


def look(storage_folder: Path, processes: Processes | None, now: datetime) -> Presence:
    """Looks who runs.

    Args:
        processes: None if the database does not answer; who serves from this folder is known without it.
    """
    known = () if processes is None else processes.seen_since(now - _KNOWN_FOR)
    presence = presence_of(known, is_served(storage_folder), socket.gethostname(), now)
    return replace(presence, is_whole=processes is not None)


def presence_of(
    known: Sequence[RunningProcess], is_served_here: bool | None, here: str, now: datetime
) -> Presence:
    """Tells from the rows of processes and the lock of the storage folder who runs. Pure.

    Args:
        known: the one that was seen last first.
        is_served_here: whether the lock is held; None if nobody may look.
        here: this machine. Of its own `serve` the lock knows more than a row that is a minute old.
    """

    def runs(process: RunningProcess) -> bool:
        is_ended = process.role == "serve" and process.host == here and is_served_here is False
        return not is_ended and process.seen_at >= now - SEEN_WITHIN

    running = tuple(filter(runs, known))
    serves = is_served_here is True or any(process.role == "serve" for process in running)
    last = next((process for process in known if process.role == "serve"), None)
    return Presence(running, serves, None if serves else last)


def lacks(presence: Presence, *, wants_second: bool, is_work_open: bool = False) -> Iterator[Lack]:
    """Says which processes are missing, the worst first.

    Args:
        wants_second: whether the configuration has a second engine.
        is_work_open: whether a study or a delivery waits for somebody. Where nothing does and nobody was killed, a
            service that does not run may not have been started yet.
    """
    roles = {process.role for process in presence.running}
    if not presence.serves:
        killed = presence.killed
        seen = "" if killed is None else f" (last seen {killed.seen_at.isoformat(timespec='seconds')})"
        text = f"preread serve does not run{seen}; start it"
        yield Lack(text, is_grave=is_work_open or killed is not None)
        return
    if not presence.is_whole:
        return
    if "serve" not in roles:
        text = (
            f"preread serve runs and has not said so for {SEEN_WITHIN.total_seconds():.0f} s: it has just begun, or "
            "cannot write to the database; its log says which"
        )
        yield Lack(text, is_grave=False)
    for process in _behind(presence.running):
        text = (
            f"preread {process.role} has another configuration than preread serve: it was not reloaded, ends its case "
            "first, or cannot open the model that is configured now and goes on with the one before; its log says which"
        )
        yield Lack(text, is_grave=False)
    if "read" not in roles:
        text = "nobody reads: no reader was seen; its log says why (a model that cannot be opened?)"
        yield Lack(text, is_grave=True)
    elif wants_second and "read --second" not in roles:
        text = "the second engine does not read: its reader was not seen; its log says why. Drafts do not wait for it"
        yield Lack(text, is_grave=False)


def _behind(running: Sequence[RunningProcess]) -> Iterator[RunningProcess]:
    """Gives the readers that have not loaded what the service beside them has; one elsewhere has files of its own."""
    served = {(process.host, process.config_digest) for process in running if process.role == "serve"}
    hosts = {host for host, _ in served}
    for process in running:
        if process.host in hosts and (process.host, process.config_digest) not in served:
            yield process
