"""How many may come in at once, and the way to send everybody home."""

import threading
from collections import Counter
from typing import Protocol

_ENDING_MAX = 8
"""Places for those that were cut and have not ended yet. Each takes a few milliseconds."""


class Connected(Protocol):
    """One connection, as the gate sees it."""

    @property
    def address(self) -> str:
        """IP address of the other side."""

    def hurry(self) -> None:
        """Asks it to end as soon as it is in no message."""

    def cut(self) -> None:
        """Ends it now."""


class Gate:
    """Counts connections and associations. Safe for several threads.

    A connection is one from its TCP accept to its end; an association one from its acceptance to the start
    of its release or abort. There may be more of the first, and of those that are in no association one
    address has a part only: what it opens and leaves standing keeps no association from the others. Where
    several addresses together have taken the rest, whoever comes has the place of the one that has been in no
    association for longest: a sender asks for its association at once, so it is not the one to go.

    Args:
        associations_max: associations at the same time.
    """

    def __init__(self, associations_max: int) -> None:
        self._associations_max = associations_max
        self._crowded_at = 2 * associations_max + 16
        self.connections_max = self._crowded_at + _ENDING_MAX
        # A router may come with all its associations at once. Not less than 16, since a connection counts until
        # its sender closes it, and the next one may be there before. The others can still have `associations_max`.
        self.waiting_max = max(associations_max, 16)
        self._changed = threading.Condition()
        self._connections = 0
        self._waiting: Counter[str] = Counter()  # connections in no association, by address
        self._connected: dict[Connected, None] = {}  # those in no association in the order of their wait
        self._associations: set[Connected] = set()
        self._is_closing = False

    @property
    def is_closing(self) -> bool:
        """True once `close` was called."""
        return self._is_closing

    def open_connection(self, address: str) -> str:
        """Counts a new connection in, or says in a sentence why not; "" if it may stay."""
        with self._changed:
            if self._is_closing:
                return "preread is stopping"
            if self._connections >= self.connections_max:
                return f"{self.connections_max} connections are open already"
            if self._waiting[address] >= self.waiting_max:
                return f"{self.waiting_max} connections of this address are open and in no association"
            self._connections += 1
            self._waiting[address] += 1
            return ""

    def make_room(self) -> str:
        """Cuts a connection off if the port is crowded; gives its address, or "" if nobody had to go.

        To be called after a connection was counted in, so that who is refused pushes nobody out.
        """
        with self._changed:
            if self._connections <= self._crowded_at:
                return ""
            longest = next((one for one in self._connected if one not in self._associations), None)
            if longest is None:
                return ""
            del self._connected[longest]  # it goes once, and into no association any more
        longest.cut()
        return longest.address

    def close_connection(self, address: str, connected: Connected | None = None) -> None:
        """Counts a connection out."""
        with self._changed:
            self._connections -= 1
            if connected is not None:
                self._connected.pop(connected, None)
                self._leave(connected)
            self._stop_waiting(address)
            self._changed.notify_all()

    def know(self, connected: Connected) -> None:
        """Remembers a connection that must be told when we stop, and may be cut if it only waits."""
        with self._changed:
            self._connected[connected] = None

    def forget(self, connected: Connected) -> None:
        """Takes back `know`; harmless if it was cut meanwhile."""
        with self._changed:
            self._connected.pop(connected, None)

    def enter(self, connected: Connected) -> bool:
        """Counts an association in, or says no; also to one whose connection has just ended."""
        with self._changed:
            has_room = len(self._associations) < self._associations_max
            if self._is_closing or not has_room or connected not in self._connected:
                return False
            self._associations.add(connected)
            self._stop_waiting(connected.address)
            return True

    def leave(self, connected: Connected) -> None:
        """Counts an association out; harmless if it never was in."""
        with self._changed:
            self._leave(connected)

    def _leave(self, connected: Connected) -> None:
        if connected in self._associations:
            self._associations.discard(connected)
            self._waiting[connected.address] += 1
            if connected in self._connected:
                self._connected[connected] = self._connected.pop(connected)  # its wait begins now

    def _stop_waiting(self, address: str) -> None:
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]  # so that strangers who come and go leave nothing behind

    def close(self, seconds: float) -> int:
        """Lets nobody in, waits for messages in hand, cuts what is left after `seconds`; says how many."""
        with self._changed:
            self._is_closing = True
            for connected in self._connected:
                connected.hurry()
            self._changed.wait_for(lambda: not self._connections, seconds)
            left = list(self._connected)
        for connected in left:
            connected.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._connected, 2.0)
        return len(left)
