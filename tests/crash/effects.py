"""The edges of the product's world, replaced in a process of its own so that the n-th effect goes wrong.

Nothing in the product knows of this: `os` and `socket` are Python's, and every commit goes through one function of
SQLAlchemy. What is replaced counts, and at one number raises what the world would, or ends the process.
"""

import errno
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.engine.base import Connection
from sqlalchemy.exc import OperationalError

Side = Literal["before", "after"]
How = Literal["error", "kill"]

SIDES: tuple[Side, ...] = ("before", "after")
HOWS: tuple[How, ...] = ("error", "kill")


@dataclass(frozen=True, slots=True)
class Cut:
    """Which effect goes wrong.

    Attributes:
        number: of the effect, the first is 1; 0 is none.
        side: "after" lets it happen first: the product is told of an error, or dies, although it is done.
        how: "error" raises what the world would raise; "kill" is a SIGKILL of the process.
    """

    number: int = 0
    side: Side = "before"
    how: How = "error"

    def __str__(self) -> str:
        return f"{self.how} {self.side} effect {self.number}"


class Effects:
    """Counts the effects of this process and lets one of them go wrong."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._lock = threading.Lock()
        self.count = 0
        self.kind_cut = ""

    def do(self, kind: str, act: Callable[[], Any], error: Callable[[], Exception]) -> Any:
        """Acts, unless this is the effect that goes wrong.

        Args:
            error: makes what the world would raise.
        """
        with self._lock:
            self.count += 1
            is_cut = self.count == self._cut.number
        if not is_cut:
            return act()
        self.kind_cut = kind
        if self._cut.side == "after":
            act()
        if self._cut.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise error()

    def install(self) -> None:
        """Replaces files, commits and network for the rest of this process's life."""
        for name, number in _FILE_ERRORS.items():
            setattr(os, name, self._file_effect(name, getattr(os, name), number))
        for name in ("connect", "send", "sendall"):
            setattr(socket.socket, name, self._sending(name, getattr(socket.socket, name)))
        for name in ("recv", "recv_into"):
            setattr(socket.socket, name, self._receiving(name, getattr(socket.socket, name)))
        Connection._commit_impl = self._committing(Connection._commit_impl)

    def _file_effect(self, name: str, act: Callable[..., Any], number: int) -> Callable[..., Any]:
        is_effect = _IS_EFFECT.get(name, _is_on_disk)

        def replaced(*arguments: Any, **keywords: Any) -> Any:
            if not is_effect(*arguments):
                return act(*arguments, **keywords)
            return self.do(
                name, lambda: act(*arguments, **keywords), lambda: OSError(number, os.strerror(number))
            )

        return replaced

    def _sending(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(connection: socket.socket, *arguments: Any) -> Any:
            if connection.family != socket.AF_INET:
                return act(connection, *arguments)
            return self.do(name, lambda: act(connection, *arguments), _reset)

        return replaced

    def _receiving(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(connection: socket.socket, *arguments: Any) -> Any:
            # First the system's answer: a socket that has nothing to give had no effect.
            received = act(connection, *arguments)
            return self.do(name, lambda: received, _reset)

        return replaced

    def _committing(self, act: Callable[[Connection], None]) -> Callable[[Connection], None]:
        def replaced(connection: Connection) -> None:
            if not connection.get_execution_options().get("preread_writes", False):
                act(connection)
                return
            self.do("commit", lambda: act(connection), _database_gone)

        return replaced


_FILE_ERRORS = {
    "open": errno.ENOSPC,
    "mkdir": errno.ENOSPC,
    "write": errno.ENOSPC,
    "writev": errno.ENOSPC,
    "fsync": errno.EIO,
    "link": errno.EIO,
    "rename": errno.EIO,
    "replace": errno.EIO,
    "unlink": errno.EIO,
}


def _is_on_disk(descriptor: int, *_: Any) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


_IS_EFFECT: dict[str, Callable[..., bool]] = {
    # O_CREAT with a name of ours: Python opens files of its own, too.
    "open": lambda path, flags, *_: bool(flags & os.O_CREAT) and str(path).endswith(".part"),
    "mkdir": lambda path, *_: not os.path.exists(path),
    "link": lambda *_: True,
    "rename": lambda *_: True,
    "replace": lambda *_: True,
    "unlink": lambda path, *_: os.path.exists(path),
}


def _reset() -> Exception:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def _database_gone() -> Exception:
    return OperationalError("COMMIT", None, Exception("the connection to the database was lost"))
