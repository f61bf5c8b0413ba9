"""Says once that the database is away, and once that it is back, whichever thread of a process notices it."""

import threading
import time
from collections.abc import Callable

import structlog

from storage.database import trouble_of

log = structlog.get_logger()


QUIET_SECONDS = 10.0
"""How long nothing must have failed. On a full disk a small write may still find room where the next one fails."""


class Outage:
    """The database as all threads of one process see it; each of them would otherwise say the same every second."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._is_on = False
        self._noticed_at = 0.0

    def notice(self, error: BaseException) -> bool:
        """Says that the database cannot be used, if that is what an error tells and nobody has said it.

        Returns:
            False if the error is of another kind: the caller has to say something.
        """
        reason = trouble_of(error)
        if reason is None:
            return False
        with self._lock:
            is_new, self._is_on = not self._is_on, True
            self._noticed_at = self._seconds()
        if is_new:
            log.error("the database cannot be used; everything waits for it", reason=reason)
        return True

    def over(self) -> None:
        """Says that the database can be used again, if anybody has said that it cannot and nothing fails any more.

        For whoever has written something: a database that is full or read-only answers every question.
        """
        if not self._is_on:
            return
        with self._lock:
            is_over = self._is_on and self._seconds() - self._noticed_at >= QUIET_SECONDS
            self._is_on = self._is_on and not is_over
        if is_over:
            log.info("the database can be used again")
