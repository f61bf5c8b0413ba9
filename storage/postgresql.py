"""Connections to PostgreSQL that do not wait without end for a server that has fallen silent."""

import time
from collections.abc import Generator
from typing import Any

from psycopg import Connection, OperationalError

CONNECT_SECONDS = 10
"""How long a server may take to let us in."""
PING_SECONDS = 5.0
"""How long it may take to say that it is still there, which it is asked before each transaction."""
STATEMENT_SECONDS = 60
"""How long a statement may run, waiting for others included. The longest of ours takes seconds with two million
studies (docs/store.md)."""
SILENT_SECONDS = STATEMENT_SECONDS + 10.0
"""How long an answer may take. Only a server that does not end its own statements any more comes to this."""

CONNECT_ARGUMENTS = {
    "connect_timeout": CONNECT_SECONDS,
    # A machine that is gone, or a firewall that has forgotten the connection, acknowledges nothing.
    "tcp_user_timeout": 30_000,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Of libpq; what the address says of them itself comes first. A Unix socket takes no notice of the last five."""


class BoundedConnection(Connection[Any]):
    """A connection whose server must answer in time; one that does not is told by an OperationalError, and closed.

    A server that hangs (its machine frozen, its disk gone) keeps its side of TCP alive and does not look at
    statement_timeout either, and libpq waits for it for ever.
    """

    def wait(self, gen: Any, *arguments: Any, **keywords: Any) -> Any:
        """Waits for an answer (called by psycopg for whatever it sends)."""
        # SQLAlchemy asks whether the server is there in autocommit, and does nothing else of ours in it.
        seconds = PING_SECONDS if self.autocommit else SILENT_SECONDS
        return super().wait(self._bounded(gen, seconds), *arguments, **keywords)

    def _bounded(self, gen: Any, seconds: float) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()  # or SQLAlchemy would put it back among those that can be used
                    raise OperationalError(f"the server has not answered for {seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
