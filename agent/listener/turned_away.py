"""Connections that are closed as they are accepted, told so that telling them costs nothing."""

import structlog

log = structlog.get_logger()

_LINE_SECONDS = 60.0
_LIST_SECONDS = 3600.0
_ADDRESSES_MAX = 1000


class TurnedAway:
    """Counts them: one line of the log a minute, whoever they are, and a place among the refusals for each
    address once an hour. For one thread, the one that accepts.

    Without it a machine that knocks 150 times a second would write as many lines.
    """

    def __init__(self) -> None:
        self._count = 0  # since the last line
        self._told_at = -_LINE_SECONDS
        self._listed: set[str] = set()  # addresses, since `_listed_since`
        self._listed_since = 0.0

    def tell(self, address: str, reason: str, now_seconds: float) -> None:
        """Counts one, and writes the line if the last is a minute ago."""
        self._count += 1
        if now_seconds - self._told_at >= _LINE_SECONDS:
            log.warning("connection closed at once", reason=reason, address=address, connections=self._count)
            self._count, self._told_at = 0, now_seconds

    def is_new(self, address: str, now_seconds: float) -> bool:
        """Says whether an address is to be listed: not again within the hour, and no more than 1,000 in it."""
        if now_seconds - self._listed_since >= _LIST_SECONDS:
            self._listed.clear()
            self._listed_since = now_seconds
        if address in self._listed or len(self._listed) >= _ADDRESSES_MAX:
            return False
        self._listed.add(address)
        return True
