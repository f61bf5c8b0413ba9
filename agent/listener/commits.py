"""Rows of several associations in one commit."""

import threading
from dataclasses import dataclass

from storage.index import Index, Put
from storage.records import Instance, Study


@dataclass(slots=True)
class _Ticket:
    instance: Instance
    study: Study
    put: Put | None = None
    error: Exception | None = None


class Commits:
    """Puts instances into the index; those that come while a commit is under way share the next one.

    A commit is one fsync of the database, whatever the number of rows. Nobody waits for company: with one
    association each row is a commit of its own, in the association's own thread.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._turn = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._waiting_lock = threading.Lock()

    def put(self, instance: Instance, study: Study) -> Put:
        """Returns when the row is committed, with what the index said of it.

        Raises whatever `Index.put_many` raises, to everyone who was in that commit.
        """
        ticket = _Ticket(instance, study)
        with self._waiting_lock:
            self._waiting.append(ticket)
        with self._turn:
            if ticket.put is None and ticket.error is None:  # else another thread took us along
                self._commit()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.put is not None, "a commit gives every ticket one of the two"
        return ticket.put

    def _commit(self) -> None:
        with self._waiting_lock:
            tickets, self._waiting = self._waiting, []
        try:
            puts = self._index.put_many([(ticket.instance, ticket.study) for ticket in tickets])
        except Exception as error:  # noqa: BLE001 - each of those in the commit raises it, in its own thread
            for ticket in tickets:
                ticket.error = error
            return
        for ticket, put in zip(tickets, puts, strict=True):
            ticket.put = put
