"""SIGTERM, SIGINT and SIGHUP, waited for where it suits the program."""

import signal
from contextlib import suppress
from queue import Empty, SimpleQueue

_LOOK_SECONDS = 1.0


def awaited_signals() -> SimpleQueue[int]:
    """Gives the queue in which SIGTERM, SIGINT and SIGHUP come from now on, in place of what they would do.

    Whoever waits for one must look again each second or so: where two come at once, the kernel may interrupt another
    thread for the second, and Python runs its handler only when the main thread wakes. Half of the stops that came
    right after a reload were slept through.
    """
    signals: SimpleQueue[int] = SimpleQueue()  # the one queue that a signal handler may put into
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.put(number))
    return signals


def next_signal(signals: SimpleQueue[int]) -> int:
    """Waits for the next signal, in the main thread."""
    while True:
        with suppress(Empty):
            return signals.get(timeout=_LOOK_SECONDS)
