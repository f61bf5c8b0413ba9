"""The machine: graphics cards, its clock, the ports that preread listens on, and whether preread runs."""

import errno
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from agent.doctor.lines import Line, Verdict
from agent.ports import holder_pids, trouble_of_port
from agent.presence import Presence, lacks

_PROGRAM_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Card:
    """One NVIDIA card as its driver tells of it; memory in MiB."""

    index: int
    name: str
    total_mib: int
    free_mib: int
    driver: str


def look_at_cards() -> tuple[Card, ...] | str:
    """Asks the driver (nvidia-smi) for the cards; a sentence if there is none to ask."""
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi is not installed, so no NVIDIA driver is"
    fields = "index,name,memory.total,memory.free,driver_version"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=True)
        return cards_of(asked.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"nvidia-smi does not answer ({type(error).__name__})"


def cards_of(said: str) -> tuple[Card, ...]:
    """Reads what nvidia-smi said. Raises ValueError for anything else."""
    cards = []
    for line in filter(str.strip, said.splitlines()):
        index, name, total, free, driver = (part.strip() for part in line.split(","))
        cards.append(Card(int(index), name, int(total), int(free), driver))
    return tuple(cards)


def judge_cards(cards: tuple[Card, ...] | str, device: str) -> Iterator[Line]:
    """Says whether the device of reading.toml is there.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1".
    """
    found = () if isinstance(cards, str) else cards
    wanted = int(device.partition(":")[2] or 0) if device.startswith("cuda") else None
    for card in found:
        memory = f"{card.free_mib / 1024:.1f} of {card.total_mib / 1024:.1f} GiB free"
        yield Line(Verdict.OK, "GPU", f"cuda:{card.index} is {card.name}, {memory}, driver {card.driver}")
    if wanted is not None and wanted not in {card.index for card in found}:
        why = cards if isinstance(cards, str) else f"{len(found)} cards are there"
        text = f'engine.device is "{device}" and {why}; install the driver, or set device = "cpu"'
        yield Line(Verdict.PROBLEM, "GPU", text)
    elif not found:
        yield Line(Verdict.OK, "GPU", f"{cards or 'no card is there'}; the model runs on the CPU")


def look_at_clock() -> bool | None:
    """Asks whether this machine's clock is synchronised; None if nobody here knows."""
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"yes": True, "no": False}.get(asked.stdout.strip())


def judge_clock(is_synchronised: bool | None) -> Line:
    """Says what to do about the clock: settling, leases and certificates hang on it."""
    if is_synchronised is None:
        text = "timedatectl does not say whether the clock is synchronised (a container?); make sure that the host's is"
        return Line(Verdict.WARNING, "clock", text)
    if not is_synchronised:
        return Line(Verdict.WARNING, "clock", "not synchronised; switch NTP on: timedatectl set-ntp true")
    return Line(Verdict.OK, "clock", "synchronised by NTP")


@dataclass(frozen=True, slots=True)
class PortFacts:
    """One port that we are to listen on.

    Attributes:
        key: of its setting, such as "listener.port".
        error: errno of an attempt to listen there; 0 if it is free.
        holder_pid: who listens there; None if the system does not tell us, or nobody does.
    """

    key: str
    host: str
    port: int
    error: int
    holder_pid: int | None = None


def look_at_port(key: str, host: str, port: int) -> PortFacts:
    """Tries to listen on a port, for a moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            number, holders = error.errno or errno.EADDRNOTAVAIL, holder_pids(port)
            if number == errno.EACCES and holders:
                number = errno.EADDRINUSE  # who may not have a port is not told that another has it
            return PortFacts(key, host, port, number, next(iter(holders), None))
    return PortFacts(key, host, port, 0)


def judge_port(facts: PortFacts, pids: Collection[int]) -> Line:
    """Says whether a port is free, ours or somebody else's.

    Args:
        pids: of the processes of this machine that serve.
    """
    place = f"{facts.key} {facts.host}:{facts.port}"
    if facts.error == 0:
        return Line(Verdict.OK, "port", f"{place} is free")
    is_ours = facts.holder_pid in pids or (facts.holder_pid is None and bool(pids))
    if facts.error == errno.EADDRINUSE and is_ours:
        return Line(Verdict.OK, "port", f"{place} is preread's own, which runs")
    trouble = trouble_of_port(facts.key, facts.host, facts.port, facts.error, facts.holder_pid)
    return Line(Verdict.PROBLEM, "port", trouble)


def judge_processes(
    presence: Presence,
    config_digest: str,
    now: datetime,
    *,
    wants_second: bool = False,
    is_work_open: bool = False,
) -> Iterator[Line]:
    """Says whether preread runs, and with which configuration.

    Args:
        config_digest: of the configuration that the doctor was given.
        wants_second: whether that has a second engine.
        is_work_open: whether a study or a delivery waits for somebody.
    """
    for process in presence.running:
        ago = (now - process.seen_at).total_seconds()
        what = f"preread {process.role}, process {process.pid} on {process.host}, seen {ago:.0f} s ago"
        if process.config_digest != config_digest:
            text = f"{what}, runs with another configuration than this one: preread reload, or start it anew"
            yield Line(Verdict.WARNING, "service", text)
        else:
            engine = f", reads with {process.engine}" if process.engine else ""
            yield Line(Verdict.OK, "service", f"{what}{engine}")
    if presence.serves and not presence.is_whole:
        text = "preread serve runs, as its lock says; who reads is not known while the database is not asked"
        yield Line(Verdict.OK, "service", text)
    for lack in lacks(presence, wants_second=wants_second, is_work_open=is_work_open):
        yield Line(Verdict.PROBLEM if lack.is_grave else Verdict.WARNING, "service", lack.text)
