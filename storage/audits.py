"""What is to be audited: rows written in the commit of what they are about, until they have been written out."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from storage.audit_records import AuditEvent, AuditRecord
from storage.database import Database
from storage.records import PatientIdentifier
from storage.tables import audit_records, columns_of, studies

Place = Literal["filed_at", "sent_at"]
"""Where a record is written to: the file, or the syslog server."""

_HOUR = timedelta(hours=1)
_IS_EMPTY = and_(audit_records.c.event == AuditEvent.REFUSED, audit_records.c.instances == 0)
_RECORD = columns_of(audit_records, AuditRecord)
_ADD_RECORD = insert(audit_records)  # made once: see the statements of `Index.put`
_SENT_NAMES = tuple(field.name for field in fields(AuditRecord) if field.name != "number")


def audit(connection: Connection, records: Sequence[AuditRecord]) -> None:
    """Writes records down in a transaction of the caller: they are there if what they are about is, and only then."""
    if records:
        rows = [{name: getattr(one, name) for name in _SENT_NAMES} for one in records]
        connection.execute(_ADD_RECORD, rows)


def audit_refusal(connection: Connection, alert: AuditRecord, kind: str) -> None:
    """Writes down a connection that was refused, in a transaction of the caller.

    The first of a kind from an address in an hour is a record of its own. The others of that hour are counted in one
    record more, without the AE title, which costs nothing to change: it has the time at which the hour ends,
    and is written out then.
    """
    hour = alert.at.replace(minute=0, second=0, microsecond=0)
    further = replace(
        alert,
        at=hour + _HOUR - timedelta(milliseconds=1),
        actor="",
        instances=0,
        detail=f"further ones within the hour: {kind}",
    )
    counted = connection.execute(
        update(audit_records)
        .where(audit_records.c.event == further.event, audit_records.c.at == further.at)
        .where(audit_records.c.address == further.address, audit_records.c.detail == further.detail)
        .values(instances=audit_records.c.instances + 1)
    )
    if not counted.rowcount:
        audit(connection, [alert, further])


def shown_patient(identifiers: Sequence[PatientIdentifier]) -> str:
    """A patient's first identifier as ID^^^ISSUER (HL7 v2 data type CX), "" if there is none."""
    if not identifiers:
        return ""
    first = identifiers[0]
    return f"{first.patient_id}^^^{first.issuer}" if first.issuer else first.patient_id


def patient_of(connection: Connection, study_instance_uid: str) -> str:
    """The patient of a study, as `shown_patient`; "" if the study is unknown."""
    query = select(studies.c.identifiers).where(studies.c.study_instance_uid == study_instance_uid)
    return shown_patient(connection.scalar(query) or ())


class Audits:
    """The records that wait to be written out. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: AuditRecord) -> None:
        """Writes down what goes with no change of another row."""
        with self._database.writing() as connection:
            audit(connection, [record])

    def waiting(self, place: Place, limit: int, now: datetime | None = None) -> tuple[AuditRecord, ...]:
        """The records that have not been written to a place, oldest first.

        Args:
            now: leaves out the refusals that are still being counted; None gives them, too.
        """
        query = select(*_RECORD).where(audit_records.c[place].is_(None)).order_by(audit_records.c.number)
        query = query.where(~_IS_EMPTY)
        if now is not None:
            query = query.where(or_(audit_records.c.event != AuditEvent.REFUSED, audit_records.c.at <= now))
        with self._database.reading() as connection:
            return tuple(AuditRecord(*row) for row in connection.execute(query.limit(limit)))

    def written(self, place: Place, numbers: Sequence[int], now: datetime) -> None:
        """Notes that records have been written to a place."""
        those = update(audit_records).where(audit_records.c.number.in_(numbers))
        with self._database.writing() as connection:
            connection.execute(those.values({place: now}))

    def forget_written(self, places: Sequence[Place], now: datetime) -> int:
        """Drops the records that have been written to all of these places, or have counted nothing; says how many."""
        written = and_(*(audit_records.c[place].is_not(None) for place in places))
        is_over = and_(_IS_EMPTY, audit_records.c.at <= now)
        with self._database.writing() as connection:
            return int(connection.execute(delete(audit_records).where(or_(written, is_over))).rowcount)
