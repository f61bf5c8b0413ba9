"""Where the log goes and how its lines look; the one place that sets up logging."""

import logging
import os
import select
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO

import structlog

from config.settings import LogSettings

WAIT_SECONDS = 1.0
"""How long a line waits for whoever reads standard error. journald and containers start anew in less."""


class Place(Protocol):
    """Where lines can be written. Raises OSError or ValueError for one that cannot be."""

    def write(self, text: str) -> None: ...


class RotatedFile:
    """A file to append to that follows its name: after a rotation the next line goes to the new file.

    Nobody has to be told of a rotation, neither this process nor the reader, and no line is lost in one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._opened()

    def write(self, text: str) -> None:
        """Appends at once: nothing is kept back here that a full disk would not take."""
        if not self._is_in_place():
            before, self._descriptor = self._descriptor, self._opened()
            os.close(before)
        rest = memoryview(_encoded(text))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def close(self) -> None:
        os.close(self._descriptor)

    def _opened(self) -> int:
        # Not for everybody: there are no patients in it, but AE titles and addresses are.
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode=0o640)

    def _is_in_place(self) -> bool:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self._descriptor))


class ReadStream:
    """Standard error, which somebody reads: a terminal, journald, a container.

    A pipe whose reader stands still is full sooner or later, and would then hold up every thread with a line to
    write. It is waited for `WAIT_SECONDS`, and not at all after that until it takes something again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._wait_seconds = WAIT_SECONDS

    def write(self, text: str) -> None:
        """Raises BlockingIOError if nobody reads, BrokenPipeError if nobody can."""
        try:
            descriptor = self._stream.fileno()
        except OSError:  # in memory, as a test has it
            self._stream.write(text)
            return
        taken = select.poll()
        taken.register(descriptor, select.POLLOUT)
        rest = memoryview(_encoded(text))
        while rest:
            if not taken.poll(self._wait_seconds * 1000):
                self._wait_seconds = 0.0
                raise BlockingIOError("nobody reads standard error")
            # As much as a pipe that can be written to takes without blocking (pipe(7)).
            rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]
        self._wait_seconds = WAIT_SECONDS


class Lines:
    """Writes lines and never raises: one that cannot be written is lost, and counted.

    Each stands in the middle of something that matters more: a sender waits for its answer, a worker has a study in
    hand. How many were lost is the first line when there is room again.

    Args:
        in_words: the line, with its end, that says how many were lost.
    """

    def __init__(self, place: Place, in_words: Callable[[int], str]) -> None:
        self._place = place
        self._in_words = in_words
        self._lost_count = 0

    def write(self, text: str) -> None:
        try:
            if self._lost_count:
                # On a line of its own: the disk may have taken one half of the first that was lost.
                self._place.write("\n" + self._in_words(self._lost_count))
                self._lost_count = 0
            self._place.write(text)
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._lost_count += 1

    def flush(self) -> None:
        """Does nothing: what was written is out."""


def _encoded(text: str) -> bytes:
    # File names that are no UTF-8 come with surrogates, which nothing but this puts into bytes.
    return text.encode("utf-8", "backslashreplace")


def configure_log(settings: LogSettings) -> None:
    """One line for each event, to standard error or a file; job numbers and UIDs, never names.

    What cannot be written later on is lost and counted, see `Lines`; no line raises.

    Raises:
        OSError: if the file cannot be opened.
    """
    place = ReadStream(sys.stderr) if settings.file is None else RotatedFile(settings.file)
    renderer: Any
    if settings.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        renderer,
    ]

    def in_words(lost_count: int) -> str:
        line: Any = {"event": "the log could not be written for a while", "lines_lost": lost_count}
        for processor in processors:
            line = processor(None, "error", line)
        return f"{line}\n"

    lines: Any = Lines(place, in_words)
    structlog.configure(
        processors=processors,
        logger_factory=structlog.WriteLoggerFactory(file=lines),
        cache_logger_on_first_use=False,  # or a reload could not change the level
    )
    set_log_level(settings)
    # pynetdicom and pydicom may put attribute values into their messages: only what is grave, and never datasets.
    for name in ("pynetdicom", "pydicom", "apscheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # What fails of the clock's jobs is said by `agent.service`, once and not with each round.
    logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)
    # Their warnings quote them too, and Python would write those to standard error.
    warnings.filterwarnings("ignore", module=r"(pynetdicom|pydicom)\b")


def set_log_level(settings: LogSettings) -> None:
    """Keeps from the next line on what is called important enough."""
    level = getattr(logging, settings.level.upper())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
