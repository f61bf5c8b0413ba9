"""The disk of the state folder: what kind it is, how much room it has, and whether what it keeps it keeps for good."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent.doctor.lines import Line, Verdict

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "fuse.sshfs"})
_MEMORY = frozenset({"tmpfs", "ramfs"})
_TRIES = 16
_BYTES = 65_536

FSYNC_SECONDS_MAX = 0.05
"""Slower than this, a modality waits for the disk: file, folder and commit are synced before each image's answer."""
FSYNC_SECONDS_MIN = 20e-6
"""Quicker than this is memory: at 3 GB/s, what four lanes of PCIe 3 carry, 64 KiB alone take 22 microseconds."""
DAYS_LEFT_MIN = 7.0


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What was seen of a folder's disk.

    Attributes:
        folder: looked at: the state folder, or the nearest one above it that is there.
        file_system: its type, as the kernel calls it; "" if unknown.
        fsync_seconds: median of a write of 64 KiB with its fsync; None if nothing could be written.
        problem: why nothing could be written, or why no hard link could be made, in the system's words; "" if all went.
    """

    folder: Path
    file_system: str
    free_bytes: int
    fsync_seconds: float | None
    problem: str = ""


def look_at_disk(state_folder: Path) -> DiskFacts:
    """Looks at a disk by writing a file of a megabyte to it and removing it."""
    folder = state_folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    free = psutil.disk_usage(str(folder)).free
    try:
        seconds = _fsync_seconds(folder)
    except OSError as error:
        return DiskFacts(folder, _file_system(folder), free, None, error.strerror or type(error).__name__)
    return DiskFacts(folder, _file_system(folder), free, seconds)


def _fsync_seconds(folder: Path) -> float:
    took = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".preread-doctor-") as file:
        for _ in range(_TRIES):
            started = time.perf_counter()
            file.write(os.urandom(_BYTES))
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - started)
        linked = Path(f"{file.name}.link")
        os.link(file.name, linked)
        linked.unlink()
    return statistics.median(took)


def _file_system(folder: Path) -> str:
    real = folder.resolve()
    mounted = [one for one in psutil.disk_partitions(all=True) if real.is_relative_to(one.mountpoint)]
    return max(mounted, key=lambda one: len(one.mountpoint)).fstype if mounted else ""


def judge_disk(
    facts: DiskFacts, free_bytes_min: int, bytes_by_day: float | None, *, holds_database: bool
) -> Iterator[Line]:
    """Says what a disk is worth to us.

    Args:
        bytes_by_day: what was received by day of late, or None if nobody knows.
        holds_database: whether the SQLite file is on it.
    """
    yield _judge_kind(facts, holds_database=holds_database)
    yield _judge_space(facts, free_bytes_min, bytes_by_day)
    yield _judge_fsync(facts)


def _judge_kind(facts: DiskFacts, *, holds_database: bool) -> Line:
    found = f"{facts.folder} is on {facts.file_system or 'an unknown file system'}"
    if facts.file_system in _NETWORK:
        verdict = Verdict.PROBLEM if holds_database else Verdict.WARNING
        why = (
            "SQLite loses data on a network share"
            if holds_database
            else "a network share may answer before it keeps"
        )
        return Line(verdict, "disk", f"{found}: {why}; set storage.folder to a disk of this machine")
    if facts.file_system in _MEMORY:
        text = f"{found}, which is memory: all is lost at a restart; set storage.folder to a disk"
        return Line(Verdict.PROBLEM, "disk", text)
    if facts.file_system == "overlay":
        text = f"{found}, a container's own layer: all is gone with the container; mount a volume at storage.folder"
        return Line(Verdict.WARNING, "disk", text)
    return Line(Verdict.OK, "disk", found)


def _judge_space(facts: DiskFacts, free_bytes_min: int, bytes_by_day: float | None) -> Line:
    free = f"{facts.free_bytes / 1e9:.1f} GB free"
    left = facts.free_bytes - free_bytes_min
    if left < 0:
        text = f"{free}, below listener.free_bytes_min of {free_bytes_min / 1e9:.1f} GB: senders are refused; make room"
        return Line(Verdict.PROBLEM, "disk", text)
    if not bytes_by_day:
        return Line(
            Verdict.OK, "disk", f"{free}; nothing was received of late, so nobody can say for how long"
        )
    days = left / bytes_by_day
    lasts = f"{free}, {bytes_by_day / 1e9:.2f} GB received a day: enough for {days:.0f} days"
    if days < DAYS_LEFT_MIN:
        return Line(Verdict.WARNING, "disk", f"{lasts}; make room, or have old studies removed")
    return Line(Verdict.OK, "disk", lasts)


def _judge_fsync(facts: DiskFacts) -> Line:
    if facts.fsync_seconds is None:
        text = f"{facts.folder} cannot be written to as it must be (write, fsync, hard link): {facts.problem}"
        return Line(Verdict.PROBLEM, "disk", f"{text}; correct its owner, its mount or storage.folder")
    took = f"64 KiB are written and synced in {facts.fsync_seconds * 1000:.2f} ms"
    if facts.fsync_seconds < FSYNC_SECONDS_MIN:
        text = (
            f"{took}: no disk is so quick, so a cache answers that a power cut empties; switch write-back off"
        )
        return Line(Verdict.WARNING, "disk", text)
    if facts.fsync_seconds > FSYNC_SECONDS_MAX:
        text = (
            f"{took}: each image waits for three of these before its sender is answered; take a quicker disk"
        )
        return Line(Verdict.WARNING, "disk", text)
    return Line(Verdict.OK, "disk", took)
