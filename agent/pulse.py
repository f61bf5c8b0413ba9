"""A process says that it runs: in a row for other processes, in a word for the service manager."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from agent.metrics.health import Condition
from agent.notifying import notify
from agent.outage import Outage
from storage.processes import Processes
from storage.records import RunningProcess

log = structlog.get_logger()

BEAT_SECONDS = 5.0
"""Between two beats. The watchdog of the systemd units and `reader_silent_seconds` are many of these."""


class Pulse:
    """The beats of this process.

    Args:
        role: "serve" or "read".
        engine: what it reads with, in words; "" for `serve`.
        conditions: what must hold for the watchdog to be told that all is well.
        outage: what is known of the database in this process; a beat that was written may end it.
    """

    def __init__(
        self,
        processes: Processes,
        clock: Callable[[], datetime],
        role: str,
        config_digest: str,
        conditions: Callable[[], Sequence[Condition]],
        engine: str = "",
        *,
        outage: Outage | None = None,
    ) -> None:
        now = clock()
        self._processes = processes
        self._clock = clock
        self._conditions = conditions
        self._outage = outage or Outage()
        self._beat_at = float("-inf")
        self._is_heard = True
        self._own = RunningProcess(role, socket.gethostname(), os.getpid(), now, now, config_digest, engine)

    def beat(self) -> None:
        """Says that it runs. A process that is not alive any more is left to the watchdog."""
        was_heard = self._is_heard
        self._is_heard = self._processes.beat(replace(self._own, seen_at=self._clock()))
        if self._is_heard:
            self._outage.over()
        elif was_heard:
            log.warning("the database could not be told that this process runs", role=self._own.role)
        wrong = [condition for condition in self._conditions() if not condition.ok]
        if not wrong:
            notify("WATCHDOG=1")
        for condition in wrong:
            log.error("not alive", condition=condition.name, word=condition.word)

    def beat_if_due(self) -> None:
        """Beats, unless it has done so within BEAT_SECONDS; for a loop that turns faster."""
        if time.monotonic() - self._beat_at >= BEAT_SECONDS:
            self._beat_at = time.monotonic()
            self.beat()

    def take(self, config_digest: str) -> None:
        """Says from the next beat on that it runs with these settings."""
        self._own = replace(self._own, config_digest=config_digest)

    def end(self) -> None:
        """Takes the row away: a process that was stopped is not one that died."""
        self._processes.end(self._own)
