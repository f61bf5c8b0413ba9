"""Where the log goes and how its lines look; the one place that sets up logging."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import structlog

from config.settings import LogSettings


class RotatedFile:
    """A file to append to that follows its name: after a rotation the next line goes to the new file.

    Nobody has to be told of a rotation, neither this process nor the reader, and no line is lost in one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._opened()

    def write(self, text: str) -> int:
        if not self._is_in_place():
            self._file.close()
            self._file = self._opened()
        return self._file.write(text)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _opened(self) -> TextIO:
        # Not for everybody: there are no patients in it, but AE titles and addresses are.
        return open(
            self._path, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, mode=0o640)
        )

    def _is_in_place(self) -> bool:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self._file.fileno()))


def configure_log(settings: LogSettings) -> None:
    """One line for each event, to standard error or a file; job numbers and UIDs, never names.

    Raises:
        OSError: if the file cannot be written.
    """
    stream: Any = sys.stderr if settings.file is None else RotatedFile(settings.file)
    renderer: Any
    if settings.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
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
