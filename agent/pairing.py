"""Two workers with one engine: while the model reads for one, the other prepares the next case or makes its objects."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from storage.records import Job


class Pair:
    """One worker leads and takes whatever is due; the other works ahead, on what was never tried.

    What was tried before may have ended the process, and may do so again. The leader does it alone, so that no other
    study pays for that with an attempt, three of which would end it.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._is_alone = False
        self._is_ahead = False

    def claim_ahead(self, claim: Callable[[], Job | None]) -> Job | None:
        """Claims a job for the worker that works ahead, unless the leader is alone; `done_ahead` follows a job."""
        with self._changed:
            if self._is_alone:
                return None
            job = claim()
            self._is_ahead = job is not None
            return job

    def done_ahead(self) -> None:
        with self._changed:
            self._is_ahead = False
            self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps the other from beginning anything, once what it has in hand is done."""
        with self._changed:
            self._is_alone = True
            self._changed.wait_for(lambda: not self._is_ahead)
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
