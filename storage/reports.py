"""Reports from outside DICOM, version by version, and the messages that could not be taken in."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Select, func, insert, or_, select, update

from storage.database import Database, lock_writers
from storage.outside_records import QuarantinedMessage, Report
from storage.records import PatientIdentifier
from storage.tables import (
    columns_of,
    quarantined_messages,
    report_feeds,
    report_patients,
    reports,
    result_objects,
    row_of,
)

_UIDS_AT_ONCE = 1000
"""Values of one statement: PostgreSQL takes 65,535 and SQLite 32,766 at least, and a message of 16 MB holds more."""

_NOT_OF_THE_VERSION = ("number", "source", "origin", "received_at")


class Reports:
    """What others wrote about studies. Safe for several threads and processes.

    A version is never changed or removed: a later one replaces it by being later.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, versions: Sequence[Report]) -> int:
        """Takes versions in with one commit, and says how many are new.

        A version that says the same as one that is here (whichever way and however often it came) is none.
        """
        with self._database.writing() as connection:
            lock_writers(connection, "reports")
            return sum(_add(connection, version) for version in versions)

    def versions_for(
        self, study_instance_uid: str, accession_number: str, patient_ids: Collection[str]
    ) -> tuple[Report, ...]:
        """All versions of every report of which one names this study, accession number or patient, by number.

        Empty arguments name nothing. A report's key, mostly its filler order number, counts as an accession
        number too: many systems use one for the other. Whether they really are of this study is for the caller to say.
        """
        of_patient = select(report_patients.c.report_number).where(
            report_patients.c.patient_id.in_([one for one in patient_ids if one])
        )
        named = or_(
            *(
                (column == value) & (column != "")
                for column, value in (
                    (reports.c.study_instance_uid, study_instance_uid),
                    (reports.c.accession_number, accession_number),
                    (reports.c.report_key, accession_number),
                )
            ),
            reports.c.number.in_(of_patient),
        )
        keys = select(reports.c.report_key).where(named)
        return self._found(_all_reports().where(reports.c.report_key.in_(keys)).order_by(reports.c.number))

    def latest(self, limit: int) -> tuple[Report, ...]:
        """The versions that came last, newest first."""
        return self._found(_all_reports().order_by(reports.c.number.desc()).limit(limit))

    def made_by_us(self, uids: Collection[str]) -> bool:
        """True if one of these is the SOP Instance UID of an object that preread made."""
        sent = list(uids)
        parts = [sent[first : first + _UIDS_AT_ONCE] for first in range(0, len(sent), _UIDS_AT_ONCE)]
        ours = (
            select(result_objects.c.kind).where(result_objects.c.sop_instance_uid.in_(part)) for part in parts
        )
        with self._database.reading() as connection:
            return any(connection.execute(one.limit(1)).first() is not None for one in ours)

    def quarantine(self, message: QuarantinedMessage) -> QuarantinedMessage:
        """Notes a message that could not be taken in; its file must be stored for good before.

        The same bytes again are counted on the row that is there, which is then open again.
        """
        same = quarantined_messages.c.sha256 == message.sha256
        with self._database.writing() as connection:
            lock_writers(connection, "reports")
            row = connection.execute(_all_quarantined().where(same)).mappings().first()
            if row is None:
                sent = {name: value for name, value in row_of(message).items() if name != "number"}
                connection.execute(insert(quarantined_messages).values(sent))
            else:
                again = {"times": row["times"] + 1, "reason": message.reason, "resolved_at": None}
                connection.execute(update(quarantined_messages).where(same).values(again))
            return QuarantinedMessage(**connection.execute(_all_quarantined().where(same)).mappings().one())

    def was_quarantined(self, content_sha256: str) -> bool:
        """True if these bytes are in quarantine, or were until somebody saw to them."""
        same = select(quarantined_messages.c.number).where(quarantined_messages.c.sha256 == content_sha256)
        with self._database.reading() as connection:
            return connection.execute(same).first() is not None

    def resolve(self, number: int, now: datetime) -> None:
        """Notes that a message in quarantine has been taken in after all."""
        of_number = quarantined_messages.c.number == number
        with self._database.writing() as connection:
            connection.execute(update(quarantined_messages).where(of_number).values(resolved_at=now))

    def quarantined(self, limit: int | None = None) -> tuple[QuarantinedMessage, ...]:
        """The messages in quarantine that nobody has seen to, oldest first."""
        query = _all_quarantined().where(quarantined_messages.c.resolved_at.is_(None))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(quarantined_messages.c.number).limit(limit)).mappings()
            return tuple(QuarantinedMessage(**row) for row in rows)

    def heard_until(self, feed: str) -> str | None:
        """How far a server of reports has been heard, in its own words; None if it was never asked."""
        query = select(report_feeds.c.heard_until).where(report_feeds.c.name == feed)
        with self._database.reading() as connection:
            return connection.scalar(query)

    def hear(self, feed: str, versions: Sequence[Report], until: str) -> int:
        """Keeps versions that a server of reports told, and how far it is heard now, in one commit.

        Returns:
            how many of the versions were new.
        """
        with self._database.writing() as connection:
            lock_writers(connection, "reports")
            added = sum(_add(connection, version) for version in versions)
            of_feed = report_feeds.c.name == feed
            moved = connection.execute(update(report_feeds).where(of_feed).values(heard_until=until))
            if not moved.rowcount:
                connection.execute(insert(report_feeds).values(name=feed, heard_until=until))
            return added

    def counts(self) -> dict[str, int]:
        """How much there is: reports (each with all its versions once), report_versions, quarantined."""
        count = select(func.count())
        is_open = quarantined_messages.c.resolved_at.is_(None)
        queries = {
            "reports": select(func.count(reports.c.report_key.distinct())),
            "report_versions": count.select_from(reports),
            "quarantined": count.select_from(quarantined_messages).where(is_open),
        }
        with self._database.reading() as connection:
            return {name: int(connection.execute(query).scalar_one()) for name, query in queries.items()}

    def _found(self, query: Select[Any]) -> tuple[Report, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
            patients = _patients_of(connection, [row["number"] for row in rows])
        return tuple(Report(**row, patients=tuple(patients[row["number"]])) for row in rows)


def _all_reports() -> Select[Any]:
    return select(*(column for column in reports.c if column.name != "sha256"))


def _all_quarantined() -> Select[Any]:
    return select(*columns_of(quarantined_messages, QuarantinedMessage))


def _patients_of(connection: Connection, numbers: Sequence[int]) -> dict[int, list[PatientIdentifier]]:
    of_reports = select(report_patients).where(report_patients.c.report_number.in_(numbers))
    found: dict[int, list[PatientIdentifier]] = defaultdict(list)
    for row in connection.execute(of_reports.order_by(report_patients.c.place)).mappings():
        found[row["report_number"]].append(PatientIdentifier(row["patient_id"], row["issuer"]))
    return found


def _add(connection: Connection, version: Report) -> bool:
    digest = _digest(version)
    if connection.execute(select(reports.c.number).where(reports.c.sha256 == digest)).first() is not None:
        return False
    sent = {name: value for name, value in row_of(version).items() if name not in ("number", "patients")}
    added = insert(reports).values(sent | {"sha256": digest}).returning(reports.c.number)
    number = connection.execute(added).scalar_one()
    for place, patient in enumerate(version.patients):
        row = {"report_number": number, "place": place, **row_of(patient)}
        connection.execute(insert(report_patients).values(row))
    return True


def _digest(version: Report) -> str:
    """Of everything a version says, and of nothing about how it came."""
    said = {name: value for name, value in row_of(version).items() if name not in _NOT_OF_THE_VERSION}
    said["patients"] = [[one.patient_id, one.issuer] for one in version.patients]
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
