"""What is to be audited: rows written in the commit of what they are about, until they have been written out."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update

from storage.audit_records import AuditRecord
from storage.database import Database
from storage.records import PatientIdentifier
from storage.tables import audit_records, columns_of, studies

Place = Literal["filed_at", "sent_at"]
"""Where a record is written to: the file, or the syslog server."""

_RECORD = columns_of(audit_records, AuditRecord)
_ADD_RECORD = insert(audit_records)  # made once: see the statements of `Index.put`
_SENT_NAMES = tuple(field.name for field in fields(AuditRecord) if field.name != "number")


def audit(connection: Connection, records: Sequence[AuditRecord]) -> None:
    """Writes records down in a transaction of the caller: they are there if what they are about is, and only then."""
    if records:
        rows = [{name: getattr(one, name) for name in _SENT_NAMES} for one in records]
        connection.execute(_ADD_RECORD, rows)


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

    def waiting(self, place: Place, limit: int) -> tuple[AuditRecord, ...]:
        """The records that have not been written to a place, oldest first."""
        query = select(*_RECORD).where(audit_records.c[place].is_(None)).order_by(audit_records.c.number)
        with self._database.reading() as connection:
            return tuple(AuditRecord(*row) for row in connection.execute(query.limit(limit)))

    def written(self, place: Place, numbers: Sequence[int], now: datetime) -> None:
        """Notes that records have been written to a place."""
        those = update(audit_records).where(audit_records.c.number.in_(numbers))
        with self._database.writing() as connection:
            connection.execute(those.values({place: now}))

    def forget_written(self, places: Sequence[Place]) -> int:
        """Drops the records that have been written to all of these places; says how many."""
        done = (audit_records.c[place].is_not(None) for place in places)
        with self._database.writing() as connection:
            return int(connection.execute(delete(audit_records).where(*done)).rowcount)
