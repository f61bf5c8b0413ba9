"""Runs inputs through the targets in a process of its own, with a limit on time and memory for each.

An input is told by (target, seed, number) and made again from them, so a crash, which leaves nothing behind, can be
looked at: `python -m tests.fuzz --only TARGET --seed SEED --first NUMBER --inputs 1`.
"""

import mmap
import os
import resource
import struct
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random

import structlog

from tests.fuzz.targets import Target, targets

HANG_SECONDS = 300.0
"""Wall time after which an input counts as hung, on a machine that others use too; a decoder alone may take 60."""
GROWTH_BYTES_MAX = 512 * 2**20
"""Memory that one input may take beyond what the process had: 67 million inflated bytes and a few copies."""
FAILURES_MAX = 20
_PLACE = struct.Struct("<qd")  # number of the input at work, when it began


@dataclass(slots=True)
class Figures:
    """What came of one target."""

    name: str
    inputs: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    peak_growth_bytes: int = 0
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        answers = ", ".join(f"{count} {answer}" for answer, count in self.answers.most_common())
        return (
            f"{self.name:10} {self.inputs:8} inputs  slowest {self.slowest_seconds:5.2f} s  "
            f"memory +{self.peak_growth_bytes // 2**20:3} MiB  {len(self.failures)} failures  ({answers})"
        )


def run(name: str, seed: int, first: int, inputs: int) -> Figures:
    """Gives a target so many inputs; a process that dies or hangs costs that one input and is started again."""
    figures = Figures(name)
    at, end = first, first + inputs
    while at < end and len(figures.failures) < FAILURES_MAX:
        at = _one_process(figures, seed, at, end)
    return figures


def _one_process(figures: Figures, seed: int, first: int, end: int) -> int:
    """Runs inputs until the process ends; gives the number to go on with."""
    place = mmap.mmap(-1, _PLACE.size)
    _note(place, first)
    context = get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_inside, args=(figures.name, seed, first, end, place, sending))
    process.start()
    sending.close()
    while not receiving.poll(0.2) and process.is_alive():
        if time.monotonic() - _PLACE.unpack_from(place, 0)[1] > HANG_SECONDS:
            process.kill()
    try:
        told: Figures | None = receiving.recv()
    except EOFError:
        told = None
    process.join()
    number: int = _PLACE.unpack_from(place, 0)[0]
    if told is None:
        how = (
            f"signal {-process.exitcode}" if (process.exitcode or 0) < 0 else f"exit code {process.exitcode}"
        )
        figures.failures.append(f"{figures.name} seed {seed} number {number}: the process ended with {how}")
        figures.inputs += number + 1 - first
        return number + 1
    figures.inputs += told.inputs
    figures.answers += told.answers
    figures.failures += told.failures
    figures.slowest_seconds = max(figures.slowest_seconds, told.slowest_seconds)
    figures.peak_growth_bytes = max(figures.peak_growth_bytes, told.peak_growth_bytes)
    return first + told.inputs


def _note(place: mmap.mmap, number: int) -> None:
    """Notes which input is at work, and since when."""
    # Not pack_into: it writes zeros first, and whoever looks just then sees an input that has hung since the machine
    # was started. Of a million inputs three were killed for that.
    place[: _PLACE.size] = _PLACE.pack(number, time.monotonic())


def _inside(name: str, seed: int, first: int, end: int, place: mmap.mmap, sending: object) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    warnings.simplefilter("ignore")  # damage is what they are about; under pytest they would be errors
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    figures = Figures(name)
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder, ExitStack() as stack:
        target = targets(Path(folder), stack)[name]
        for number in range(5):  # what the first inputs load is no input's growth
            _one_input(target, Figures(name), "", Random(f"{name}/warm/{number}"))
        limit = _virtual_bytes() + 2 * GROWTH_BYTES_MAX
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        before = _peak_bytes()
        for number in range(first, end):
            _note(place, number)
            _one_input(
                target, figures, f"{name} seed {seed} number {number}", Random(f"{name}/{seed}/{number}")
            )
            figures.inputs += 1
            figures.peak_growth_bytes = max(figures.peak_growth_bytes, _peak_bytes() - before)
            if figures.peak_growth_bytes > GROWTH_BYTES_MAX:
                figures.failures.append(f"{name} seed {seed} number {number}: took too much memory")
                break
            if len(figures.failures) >= FAILURES_MAX:
                break
    sending.send(figures)  # type: ignore[attr-defined]


def _one_input(target: Target, figures: Figures, called: str, random: Random) -> None:
    given = target.make(random)
    began = time.process_time()
    try:
        figures.answers[target.take(given)] += 1
    except Exception:  # noqa: BLE001 - what a parser raises, whatever it is, is what we look for
        figures.failures.append(f"{called}:\n{traceback.format_exc(limit=-6)}")
    seconds = time.process_time() - began
    figures.slowest_seconds = max(figures.slowest_seconds, seconds)
    if seconds > target.seconds_max:
        figures.failures.append(f"{called}: took {seconds:.1f} s, {target.seconds_max:g} are allowed")


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _virtual_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
