"""Rows of several associations in one commit."""

import threading
from dataclasses import dataclass

from storage.database import is_unavailable
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

        Raises whatever `Index.put` raises for this instance, or for all if the database takes nothing.
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
        self._put_together(tickets)
        # One instance that the index does not take must not keep its company out: each has a commit of its own then.
        for ticket in tickets if len(tickets) > 1 else []:
            if ticket.error is not None and not is_unavailable(ticket.error):
                self._put_together([ticket])

    def _put_together(self, tickets: list[_Ticket]) -> None:
        try:
            puts: list[Put] = self._index.put_many([(ticket.instance, ticket.study) for ticket in tickets])
        except Exception as error:  # noqa: BLE001 - whoever put it raises it, in its own thread
            for ticket in tickets:
                ticket.error = error
            return
        for ticket, put in zip(tickets, puts, strict=True):
            ticket.put, ticket.error = put, None
