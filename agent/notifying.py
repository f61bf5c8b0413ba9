"""Tells the service manager how this process is: sd_notify(3), a datagram to the socket that systemd names."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager


def notify(state: str) -> None:
    """Sends a state such as "READY=1", "WATCHDOG=1" or "STOPPING=1"; does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        # "@" stands for the NUL of the abstract namespace.
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(state.encode())


@contextmanager
def watched_less(seconds: int) -> Iterator[None]:
    """Has the service manager's watchdog wait for so long while the block runs, which tells it nothing."""
    usual = os.environ.get("WATCHDOG_USEC")
    if usual is None:
        yield
        return
    notify(f"WATCHDOG_USEC={seconds * 1_000_000}")
    try:
        yield
    finally:
        notify(f"WATCHDOG_USEC={usual}")
