"""Orders: exams that we were told of before their images come."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from storage.database import Database, lock_writers
from storage.outside_records import Order
from storage.requests import add_requests
from storage.tables import columns_of, orders, row_of

_ORDER = columns_of(orders, Order)


class Orders:
    """The orders that are known. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, order: Order, archives: Sequence[str], expires_at: datetime) -> Order:
        """Keeps an order, and opens a request for its priors to each archive, once, all in one commit.

        An order of the same patient with the same accession number, or without one with the same study, is the
        same order: what is told now stands, and what is left empty now stays as it was.

        Args:
            archives: by name; () asks none.
            expires_at: when nobody needs the priors any more.

        Raises:
            ValueError: if it names no patient ID, or neither accession number nor study.
        """
        if not order.patient_id or not (order.accession_number or order.study_instance_uid):
            raise ValueError("an order needs a patient ID, and an accession number or a Study Instance UID")
        with self._database.writing() as connection:
            lock_writers(connection, "requests")
            before = _same(connection, order)
            if before is None:
                values = {name: value for name, value in row_of(order).items() if name != "number"}
                number = connection.scalar(insert(orders).values(values).returning(orders.c.number))
                kept = replace(order, number=int(number or 0))
            else:
                kept = _told(before, order)
                connection.execute(update(orders).where(orders.c.number == kept.number).values(row_of(kept)))
            add_requests(connection, archives, order.heard_at, expires_at, order_number=kept.number)
            return kept

    def cancel(self, order: Order) -> bool:
        """Forgets an order that was cancelled, with its requests; False if it was not known."""
        with self._database.writing() as connection:
            lock_writers(connection, "requests")
            before = _same(connection, order)
            if before is not None:
                connection.execute(delete(orders).where(orders.c.number == before.number))
            return before is not None

    def order(self, number: int) -> Order | None:
        """The order of this number, or None."""
        with self._database.reading() as connection:
            return _one(connection, orders.c.number == number)

    def of_study(self, study_instance_uid: str, accession_number: str) -> tuple[Order, ...]:
        """The orders that name this study or, if it is not empty, this accession number; newest first.

        Whether they are of the same patient is not looked at here.
        """
        by_accession = and_(orders.c.accession_number == accession_number, orders.c.accession_number != "")
        named = or_(orders.c.study_instance_uid == study_instance_uid, by_accession)
        query = select(*_ORDER).where(named).order_by(orders.c.heard_at.desc(), orders.c.number.desc())
        with self._database.reading() as connection:
            return tuple(Order(**row) for row in connection.execute(query).mappings())

    def forget(self, not_heard_since: datetime) -> int:
        """Drops the orders that were last heard of before; says how many."""
        old = delete(orders).where(orders.c.heard_at < not_heard_since)
        with self._database.writing() as connection:
            return int(connection.execute(old).rowcount)


def _same(connection: Connection, order: Order) -> Order | None:
    if order.accession_number:
        named = orders.c.accession_number == order.accession_number
    else:
        named = orders.c.study_instance_uid == order.study_instance_uid
    return _one(connection, and_(orders.c.patient_id == order.patient_id, named))


def _one(connection: Connection, condition: object) -> Order | None:
    query = select(*_ORDER).where(condition).order_by(orders.c.number).limit(1)  # type: ignore[arg-type]
    row = connection.execute(query).mappings().first()
    return None if row is None else Order(**row)


def _told(before: Order, now: Order) -> Order:
    told = {
        field.name: getattr(now, field.name)
        for field in fields(now)
        if field.name != "number" and getattr(now, field.name)
    }
    return replace(before, **told)
