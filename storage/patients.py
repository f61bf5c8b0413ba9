"""Which identifiers are one patient: links that registries and operators make, and may take back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    bindparam,
    insert,
    select,
    union,
    update,
)

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, shown_patient
from storage.columns import storable
from storage.database import Database, lock_writers
from storage.records import (
    Demographics,
    Event,
    KnownPatients,
    PatientChange,
    PatientIdentifier,
    PatientLink,
)
from storage.tables import (
    events,
    is_in_force,
    patient_demographics,
    patient_links,
    row_of,
    study_identifiers,
)

# Made once, as in `storage.index`: they are put for every study that is read. By number alone: a pair of columns IN a
# list of pairs uses no index on SQLite. Few links share a number, and the caller looks at the issuers. UNION, not OR:
# an index for each half.
_OF_NUMBERS: BindParameter[Any] = bindparam("numbers", expanding=True)


def _links_touching(*conditions: ColumnElement[bool]) -> CompoundSelect[Any]:
    from_them = select(patient_links).where(patient_links.c.old_patient_id.in_(_OF_NUMBERS), *conditions)
    to_them = select(patient_links).where(patient_links.c.patient_id.in_(_OF_NUMBERS), *conditions)
    return union(from_them, to_them)


_LINKS_IN_FORCE, _LINKS_EVER = _links_touching(is_in_force), _links_touching()
_DEMOGRAPHICS = (
    select(patient_demographics)
    .where(patient_demographics.c.patient_id.in_(_OF_NUMBERS))
    .order_by(patient_demographics.c.number)
)


class LinkRefused(ValueError):
    """Two identifiers cannot be linked; the message says why and what to do, and names no patient."""


class Patients:
    """The links between patient identifiers. Safe for several threads and processes.

    Studies, jobs and files never move: a link is looked at when somebody asks which studies are a patient's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply(self, changes: Sequence[PatientChange], said_by: str, now: datetime) -> tuple[PatientLink, ...]:
        """Takes in what one message of a registry says, all of it or nothing; the same again changes nothing.

        It may come before any study of the patient.

        Args:
            said_by: the message, in words that name no patient.

        Returns:
            The links that are new.

        Raises:
            LinkRefused: as `link`.
        """
        with self._database.writing() as connection:
            lock_writers(connection, "patients")
            made: list[PatientLink | None] = []
            for change in changes:
                made += [
                    _link(connection, PatientLink(0, old, surviving, change.reason, said_by, now))
                    for old, surviving in change.links
                ]
                if change.demographics != Demographics():
                    for identifier in change.identifiers:
                        _note_demographics(connection, identifier, change.demographics, said_by, now)
            return tuple(link for link in made if link is not None)

    def link(
        self, old: PatientIdentifier, surviving: PatientIdentifier, reason: str, linked_by: str, now: datetime
    ) -> PatientLink | None:
        """Makes every study under `old` one of the patient called `surviving`; None if they are linked already.

        Raises:
            LinkRefused: if `old` has another successor, or `surviving` leads back to `old`.
        """
        change = PatientChange(reason, links=((old, surviving),))
        return next(iter(self.apply([change], linked_by, now)), None)

    def unlink(self, number: int, unlinked_by: str, now: datetime) -> PatientLink:
        """Takes a link back: from now on it is as if it had not been made.

        Raises:
            LookupError: if there is no such link, or it was taken back before.
        """
        with self._database.writing() as connection:
            lock_writers(connection, "patients")
            ended = update(patient_links).where(patient_links.c.number == number, is_in_force)
            ended = ended.values(unlinked_by=unlinked_by, unlinked_at=now)
            row = connection.execute(ended.returning(*patient_links.c)).first()
            if row is None:
                raise LookupError(
                    f"no link {number} is in force; `preread patients list` shows those that are"
                )
            link = _link_of(row)
            _tell(connection, link, f"is no longer replaced: link {number} taken back by {unlinked_by}", now)
            _audit(connection, link, AuditEvent.UNLINKED, unlinked_by, now)
            return link

    def links(self, limit: int) -> tuple[PatientLink, ...]:
        """The links in force, newest first."""
        query = select(patient_links).where(is_in_force).order_by(patient_links.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(_link_of(row) for row in connection.execute(query))

    def history(self, identifier: PatientIdentifier) -> tuple[PatientLink, ...]:
        """Every link from or to an identifier, in force or not, oldest first."""
        with self._database.reading() as connection:
            links = [_link_of(row) for row in connection.execute(_LINKS_EVER, _numbers([identifier]))]
        touching = (link for link in links if identifier in (link.old, link.surviving))
        return tuple(sorted(touching, key=lambda link: link.number))


def known_patients(
    connection: Connection, identifiers: Collection[PatientIdentifier]
) -> tuple[frozenset[PatientIdentifier], KnownPatients]:
    """Follows the links in force from some identifiers, in both directions, to the end.

    Returns:
        All identifiers of the same patients, the given ones among them, and what is known of those.
    """
    found, successors = set(identifiers), dict[PatientIdentifier, PatientIdentifier]()
    unseen = set(identifiers)
    while unseen:
        rows = connection.execute(_LINKS_IN_FORCE, _numbers(unseen))
        touching = [link for link in map(_link_of, rows) if {link.old, link.surviving} & found]
        successors |= {link.old: link.surviving for link in touching}
        unseen = {one for link in touching for one in (link.old, link.surviving)} - found
        found |= unseen
    demographics = _demographics(connection, found)
    return frozenset(found), KnownPatients(survivors(successors), demographics)


def survivors(
    successors: Mapping[PatientIdentifier, PatientIdentifier],
) -> dict[PatientIdentifier, PatientIdentifier]:
    """Follows each chain of successors to its end. There is no cycle in them: `link` makes none."""
    ends = {}
    for old, successor in successors.items():
        while successor in successors:
            successor = successors[successor]
        ends[old] = successor
    return ends


def _numbers(identifiers: Iterable[PatientIdentifier]) -> dict[str, list[str]]:
    return {"numbers": [storable(one.patient_id) for one in identifiers]}


def _link_of(row: Row[*tuple[Any, ...]]) -> PatientLink:
    return PatientLink(
        number=row.number,
        old=PatientIdentifier(row.old_patient_id, row.old_issuer),
        surviving=PatientIdentifier(row.patient_id, row.issuer),
        reason=row.reason,
        linked_by=row.linked_by,
        linked_at=row.linked_at,
        unlinked_by=row.unlinked_by,
        unlinked_at=row.unlinked_at,
    )


def _link(connection: Connection, wanted: PatientLink) -> PatientLink | None:
    """Adds a link unless it is there; see `Patients.link`."""
    if wanted.old == wanted.surviving:
        raise LinkRefused("an identifier cannot replace itself; name two different ones")
    _, known = known_patients(connection, [wanted.old, wanted.surviving])
    before = connection.execute(
        select(patient_links).where(
            patient_links.c.old_patient_id == wanted.old.patient_id,
            patient_links.c.old_issuer == wanted.old.issuer,
            is_in_force,
        )
    ).first()
    if before is not None:
        if _link_of(before).surviving == wanted.surviving:
            return None
        raise LinkRefused(
            f"link {before.number} replaces this identifier by another one already; if that was wrong, "
            f"`preread patients unlink {before.number}` and link again"
        )
    if known.survivor(wanted.surviving) == wanted.old:
        raise LinkRefused(
            "the two are one patient already, the other way round: a link back would have no end. "
            "`preread patients history` shows the links; unlink first to turn them"
        )
    row = {
        "old_patient_id": wanted.old.patient_id,
        "old_issuer": wanted.old.issuer,
        "patient_id": wanted.surviving.patient_id,
        "issuer": wanted.surviving.issuer,
        "reason": wanted.reason,
        "linked_by": wanted.linked_by,
        "linked_at": wanted.linked_at,
    }
    added = _link_of(connection.execute(insert(patient_links).values(row).returning(*patient_links.c)).one())
    _tell(
        connection,
        added,
        f"is replaced by another ({added.reason}, link {added.number}, {added.linked_by})",
        added.linked_at,
    )
    _audit(connection, added, AuditEvent.LINKED, added.linked_by, added.linked_at)
    return added


def _audit(connection: Connection, link: PatientLink, event: AuditEvent, actor: str, now: datetime) -> None:
    detail = (
        f"link {link.number}: {shown_patient([link.old])} is {shown_patient([link.surviving])}, {link.reason}"
    )
    audit(
        connection,
        [AuditRecord(now, event, actor, patient_id=shown_patient([link.surviving]), detail=detail)],
    )


def _tell(connection: Connection, link: PatientLink, what: str, now: datetime) -> None:
    """Adds a sentence to the life of each study that a link is about."""
    of_old = select(study_identifiers.c.study_instance_uid).where(
        study_identifiers.c.patient_id == link.old.patient_id, study_identifiers.c.issuer == link.old.issuer
    )
    rows = [
        row_of(Event(now, study_instance_uid, None, f"an identifier of the patient {what}"))
        for study_instance_uid in connection.scalars(of_old)
    ]
    if rows:
        connection.execute(insert(events), rows)


def _note_demographics(
    connection: Connection, identifier: PatientIdentifier, said: Demographics, said_by: str, now: datetime
) -> None:
    row = row_of(identifier) | row_of(said)
    same = (patient_demographics.c[name] == value for name, value in row.items())
    if connection.execute(select(patient_demographics.c.number).where(*same)).first() is None:
        connection.execute(insert(patient_demographics).values(**row, said_by=said_by, said_at=now))


def _demographics(
    connection: Connection, identifiers: Collection[PatientIdentifier]
) -> dict[PatientIdentifier, tuple[Demographics, ...]]:
    said: dict[PatientIdentifier, tuple[Demographics, ...]] = {}
    for row in connection.execute(_DEMOGRAPHICS, _numbers(identifiers)):
        identifier = PatientIdentifier(row.patient_id, row.issuer)
        demographics = Demographics(row.patient_name, row.birth_date, row.sex)
        said[identifier] = (*said.get(identifier, ()), demographics)
    return said
