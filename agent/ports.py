"""A port that cannot be listened on: why, who has it, what to do; in the same words at a start and by the doctor."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class PortError(Exception):
    """A port of ours cannot be opened; the message says why and what to do."""


@contextmanager
def opening(key: str, host: str, port: int) -> Iterator[None]:
    """Turns what the system says of a port, while it is opened, into a sentence.

    Args:
        key: of its setting, such as "listener.port".

    Raises:
        PortError: if the port cannot be listened on.
    """
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EADDRNOTAVAIL
        raise PortError(trouble_of_port(key, host, port, number, holder_pid(port))) from error


def trouble_of_port(key: str, host: str, port: int, number: int, holder: int | None) -> str:
    """Says what to do about a port that cannot be listened on.

    Args:
        number: errno of the attempt; below 0 if the host has no address (getaddrinfo(3)).
        holder: process that listens there; None if the system does not tell us, or nobody does.
    """
    place = f"{key} {host}:{port}"
    if number == errno.EACCES:
        return f"{place} needs privileges; take a port above 1023, or give the service CAP_NET_BIND_SERVICE"
    if number != errno.EADDRINUSE:
        why = os.strerror(number) if number > 0 else "no such host"
        return f"{place} cannot be listened on ({why}); is that an address of this machine?"
    who = "another program" if holder is None else f"process {holder}"
    return f"{place} is taken by {who}; end that, or set another port"


def holder_pid(port: int) -> int | None:
    """The process that listens on a port, as far as the system tells this user."""
    return next(iter(holder_pids(port)), None)


def holder_pids(port: int) -> tuple[int | None, ...]:
    """All that listen on a port; None for one of which the system does not tell this user which process it is."""
    import psutil  # a service that starts does without it

    with suppress(psutil.Error, OSError):
        return tuple(
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        )
    return ()
