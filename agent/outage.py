"""Says once that the database is away, and once that it is back, whichever thread of a process notices it."""

import threading

import structlog

from storage.database import trouble_of

log = structlog.get_logger()


class Outage:
    """The database as all threads of one process see it; each of them would otherwise say the same every second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_on = False

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
        if is_new:
            log.error("the database cannot be used; everything waits for it", reason=reason)
        return True

    def over(self) -> None:
        """Says that the database can be used again, if anybody has said that it cannot."""
        if not self._is_on:
            return
        with self._lock:
            was_on, self._is_on = self._is_on, False
        if was_on:
            log.info("the database can be used again")
