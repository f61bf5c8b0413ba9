"""The reader as a child of the process that listens."""

import os
import subprocess
import sys
import time
from pathlib import Path

import structlog

from agent.patience import Patience, pause_seconds
from config.sources import without_overrides

log = structlog.get_logger()


class ReaderChild:
    """The reader's process, started again whenever it ends; one that ends at once is given a pause."""

    def __init__(self, configuration: Path, patience: Patience, *, second: bool = False) -> None:
        """Takes what it hands to the reader, and starts it.

        Args:
            configuration: the link to the folder of what is in force; the reader follows it by itself.
            second: starts the reader of the second engine.
        """
        config = ("--config", str(configuration))
        self._command = [sys.executable, "-m", "agent", "read", *config, "--parent", str(os.getpid())]
        self._command += ["--second"] if second else []
        self._engine = "second_engine" if second else "engine"
        self._patience = patience
        self._first_failure = self._not_before = 0.0
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        # The service manager watches the parent; a child's word would be taken for its parent's.
        # Variables that set settings are in force already, and in the folder.
        environment = {
            name: value for name, value in without_overrides(os.environ).items() if name != "NOTIFY_SOCKET"
        }
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(self._command, env=environment)

    def keep_alive(self) -> None:
        """Starts the reader anew if it has ended; called by the clock."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._not_before:
                self._start()
            return
        code = self._process.poll()
        if code is None:
            return
        self._process = None
        if now - self._started > self._patience.retry_seconds_max:
            self._first_failure = 0.0  # it ran well for long; what ended it is a new trouble
        self._first_failure = self._first_failure or now
        pause = pause_seconds(now - self._first_failure, self._patience, 0.5)
        self._not_before = now + pause
        log.error(
            "the reader ended; it is started again",
            engine=self._engine,
            exit_code=code,
            after_seconds=round(pause, 1),
        )

    def take(self, patience: Patience) -> None:
        """Waits from now on as these say before it starts the reader anew."""
        self._patience = patience

    def stop(self, seconds: float) -> None:
        """Ends the reader, after the step in hand if that takes no longer than `seconds`."""
        process = self._process  # the clock may be looking at it just now, and forget it
        if process is None:
            return
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
