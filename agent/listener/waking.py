"""Waiting without polling: what pynetdicom looks at each millisecond, we are told of."""

import os
import queue
import threading
from collections.abc import Callable
from typing import Any


class WakePipe:
    """A file descriptor that becomes readable when another thread calls `wake`. Safe for several threads."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._is_open = True

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._reading

    def wake(self) -> None:
        """Makes it readable; harmless when it is already, or closed."""
        with self._lock:
            if not self._is_open:
                return
            try:
                os.write(self._writing, b"\0")
            except BlockingIOError:
                return  # full of wake-ups that nobody has read yet

    def clear(self) -> None:
        """Makes it unreadable until the next `wake`."""
        try:
            while len(os.read(self._reading, 4096)) == 4096:
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Gives the descriptors back."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._reading)
                os.close(self._writing)


class WakingQueue(queue.Queue[Any]):
    """A queue that tells somebody of each arrival."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._tell = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Puts, then tells."""
        super().put(item, block, timeout)
        self._tell()


class Checkpoint(threading.Event):
    """Where pynetdicom's association loop stops before each round: here it waits for a reason to go on.

    A round once a second comes without reason, for what nobody tells: a thread that has died.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Returns when set since the last time, or after a second."""
        is_set = super().wait(1.0)
        self.clear()
        return is_set
