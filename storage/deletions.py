"""What is deleted, in small transactions: rows first and files after them, so that a cut leaves files without rows
(litter, swept later) and never a row without its file. The paths that are given back are the caller's to remove."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    distinct,
    exists,
    func,
    insert,
    inspect,
    literal,
    or_,
    select,
    union_all,
    update,
)

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, patient_of
from storage.database import Database, lock_writers
from storage.jobs.rows import lock_study
from storage.jobs.stages import ENDS
from storage.patients import known_patients
from storage.records import Event, InstanceRole
from storage.tables import (
    deleted_instances,
    deliveries,
    events,
    holds,
    instances,
    is_open_delivery,
    is_unread,
    jobs,
    metadata,
    quarantined_messages,
    refusals,
    reports,
    requested_studies,
    result_objects,
    row_of,
    studies,
    study_identifiers,
)

RETENTION = "retention"
"""Who deletes where nobody asked for it."""

_going = jobs.c.stage.not_in(ENDS)


@dataclass(frozen=True, slots=True)
class StudyAge:
    """What has to be known of a study with images here to say whether they are still needed.

    Attributes:
        study_date: "YYYYMMDD" as sent, "" if absent.
        arrived_at: when its newest instance came.
        changed_at: when a job of it last changed, or None.
        is_busy: a job of it has not ended, images of it are unread, or an archive is just sending it.
        newer_exams: exams with a later study date under one of the same patient identifiers whose images are here.
        has_identifier: of a patient; without one it is no prior of anything.
    """

    study_instance_uid: str
    study_date: str
    newest_number: int
    arrived_at: datetime
    changed_at: datetime | None
    is_busy: bool
    is_held: bool
    is_fetched: bool
    has_identifier: bool
    newer_exams: int
    instances: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion took: the files are still there, their rows are not.

    Attributes:
        paths: of the files that are now nobody's, relative to the files folder.
    """

    paths: tuple[str, ...]
    instances: int = 0
    results: int = 0


class Deletions:
    """Forgets what is old or unwanted. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Studies

    def ages(self, after_number: int, limit: int) -> tuple[StudyAge, ...]:
        """The studies with images here whose newest instance has a number above this, the oldest arrival first."""
        query = _AGES.where(studies.c.newest_number > after_number).limit(limit)
        with self._database.reading() as connection:
            return tuple(
                StudyAge(
                    row.study_instance_uid,
                    row.study_date,
                    row.newest_number,
                    row.received_at,
                    row.changed_at,
                    bool(row.is_busy),
                    bool(row.is_held),
                    row.fetched_from is not None,
                    bool(row.identifiers),
                    row.newer_exams,
                    row.instances,
                    int(row.size_bytes),
                )
                for row in connection.execute(query)
            )

    def forget_images(self, age: StudyAge, because: str, now: datetime) -> Deleted | None:
        """Forgets the instances of a study, unless something has come or begun since its age was taken.

        The study, its jobs and its life stay, and each instance is remembered by its UID: one that is sent again is
        kept, and opens no job.

        Returns:
            None if the images are needed after all: a job of the same patient is on its way, the study is held, or
            something of it came.
        """
        uid = age.study_instance_uid
        with self._database.writing() as connection:
            lock_writers(connection, "intake")
            its_own = studies.c.study_instance_uid == uid
            unchanged = its_own & (studies.c.newest_number == age.newest_number)
            if connection.scalar(select(studies.c.newest_number).where(unchanged).with_for_update()) is None:
                return None
            if _is_needed(connection, uid):
                return None
            deleted = _forget_instances(connection, uid, now)
            connection.execute(update(studies).where(its_own).values(images_deleted_at=now))
            _tell(connection, uid, RETENTION, f"{deleted.instances} instances", because, now)
            _audit(connection, uid, "", deleted, because, now)
            return deleted

    def with_old_results(self, before: datetime, after_uid: str, limit: int) -> tuple[str, ...]:
        """Studies of which every job ended before, and whose result objects are still here, by UID."""
        query = (
            select(jobs.c.study_instance_uid)
            .distinct()
            .join(result_objects, result_objects.c.job_number == jobs.c.number)
            .where(jobs.c.changed_at < before, jobs.c.study_instance_uid > after_uid)
            .order_by(jobs.c.study_instance_uid)
            .limit(limit)
        )
        with self._database.reading() as connection:
            found = list(connection.scalars(query))
            return tuple(uid for uid in found if _have_ended(connection, uid, before))

    def forget_results(
        self, study_instance_uid: str, before: datetime, because: str, now: datetime
    ) -> Deleted:
        """Forgets the objects that we made of a study, and where they went, if all its jobs ended before.

        Their UIDs are remembered: one that comes back is still known as ours.
        """
        with self._database.writing() as connection:
            lock_study(connection, study_instance_uid)
            if not _have_ended(connection, study_instance_uid, before):
                return Deleted(())
            deleted = _forget_results(connection, study_instance_uid, now)
            what = f"{deleted.results} result objects"
            _tell(connection, study_instance_uid, RETENTION, what, because, now)
            return deleted

    def forgettable(self, before: datetime, limit: int) -> tuple[str, ...]:
        """Studies without images or result objects here, whose images went and whose jobs changed before."""
        has_instance = exists().where(instances.c.study_instance_uid == studies.c.study_instance_uid)
        of_study = jobs.c.study_instance_uid == studies.c.study_instance_uid
        has_result = exists().where(of_study, result_objects.c.job_number == jobs.c.number)
        is_newer = exists().where(of_study, or_(jobs.c.changed_at >= before, _going))
        gone = studies.c.images_deleted_at < before
        query = select(studies.c.study_instance_uid).where(
            gone, ~has_instance, ~has_result, ~is_newer, ~_IS_HELD
        )
        with self._database.reading() as connection:
            return tuple(connection.scalars(query.order_by(studies.c.newest_number).limit(limit)))

    def forget_study(self, study_instance_uid: str) -> None:
        """Forgets a study altogether: its row, its jobs with all they read, its life. See `forgettable`."""
        with self._database.writing() as connection:
            _forget_rows(connection, study_instance_uid)

    def delete_study(self, study_instance_uid: str, deleted_by: str, because: str, now: datetime) -> Deleted:
        """Forgets a study with all that was made of it, because somebody wants it so.

        What remains is one sentence in its life, the audit record, and the UIDs of its instances, so that one that is
        sent again opens no job.

        Raises:
            LookupError: if it is unknown, or a job that may need it is on its way: one of its own while it is not
                held, one that a worker has in hand, or one of the same patient.
        """
        with self._database.writing() as connection:
            lock_writers(connection, "intake")
            lock_study(connection, study_instance_uid)
            _refuse_to_delete(connection, study_instance_uid, now)
            patient_id = patient_of(connection, study_instance_uid)
            results = _forget_results(connection, study_instance_uid, now)
            images = _forget_instances(connection, study_instance_uid, now)
            _forget_rows(connection, study_instance_uid)
            deleted = Deleted((*images.paths, *results.paths), images.instances, results.results)
            what = f"the study with {deleted.instances} instances and {deleted.results} result objects"
            _tell(connection, study_instance_uid, deleted_by, what, because, now)
            _audit(connection, study_instance_uid, deleted_by, deleted, because, now, patient_id)
            return deleted

    # What has no study

    def forget_reports(self, received_before: datetime, limit: int) -> int:
        """Forgets report versions from outside DICOM; says how many."""
        return self._forget(reports, reports.c.received_at < received_before, limit)

    def forget_refusals(self, before: datetime, limit: int) -> int:
        """Forgets refusals; says how many."""
        return self._forget(refusals, refusals.c.at < before, limit)

    def forget_messages(self, before: datetime, limit: int) -> Deleted:
        """Forgets messages in quarantine, whether or not somebody has seen to them."""
        old = select(quarantined_messages.c.number, quarantined_messages.c.path)
        old = (
            old.where(quarantined_messages.c.at < before).order_by(quarantined_messages.c.number).limit(limit)
        )
        with self._database.writing() as connection:
            lock_writers(connection, "reports")
            rows = connection.execute(old).all()
            numbers = [row.number for row in rows]
            connection.execute(delete(quarantined_messages).where(quarantined_messages.c.number.in_(numbers)))
            return Deleted(tuple(row.path for row in rows))

    def forget_memories(self, before: datetime, limit: int) -> int:
        """Forgets which instances were deleted, and the sentences on studies that are gone; says how many."""
        uids = select(deleted_instances.c.sop_instance_uid).where(deleted_instances.c.deleted_at < before)
        with self._database.writing() as connection:
            of_those = deleted_instances.c.sop_instance_uid.in_(uids.limit(limit))
            forgotten = int(connection.execute(delete(deleted_instances).where(of_those)).rowcount)
        known = exists().where(studies.c.study_instance_uid == events.c.study_instance_uid)
        return forgotten + self._forget(events, and_(events.c.at < before, ~known), limit)

    def _forget(self, table: Table, condition: ColumnElement[bool], limit: int) -> int:
        oldest = select(table.c.number).where(condition).order_by(table.c.number).limit(limit)
        with self._database.writing() as connection:
            numbers = list(connection.scalars(oldest))
            delete_with_children(connection, table, table.c.number.in_(numbers))
            return len(numbers)

    # Files

    def known_paths(self, paths: Collection[str]) -> frozenset[str]:
        """Those of these paths, relative to the files folder, that a row names: in any table that has paths."""
        named = (
            select(table.c.path).where(table.c.path.in_(paths))
            for table in metadata.sorted_tables
            if "path" in table.c
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(union_all(*named)))

    def all_paths(self) -> Iterator[str]:
        """Every path that a row names, also of a database that lacks the newest tables."""
        with self._database.reading() as connection:
            there = set(inspect(connection).get_table_names())
            tables = (table for table in metadata.sorted_tables if table.name in there)
            named = (select(table.c.path) for table in tables if "path" in table.c)
            yield from connection.execution_options(yield_per=1000).scalars(union_all(*named))


def delete_with_children(connection: Connection, table: Table, condition: ColumnElement[bool]) -> None:
    """Deletes rows and, before them, whatever rows point to them by a foreign key, table by table."""
    for child in metadata.sorted_tables:
        for key in child.foreign_keys:
            if key.column.table is table:
                delete_with_children(connection, child, key.parent.in_(select(key.column).where(condition)))
    connection.execute(delete(table).where(condition))


_IS_HELD = exists().where(holds.c.study_instance_uid == studies.c.study_instance_uid)


def _ages() -> Select[Any]:
    uid = studies.c.study_instance_uid
    of_study = jobs.c.study_instance_uid == uid
    fetching = and_(requested_studies.c.study_instance_uid == uid, requested_studies.c.ended_at.is_(None))
    its_instances = instances.alias("its_instances")
    mine = its_instances.c.study_instance_uid == uid
    columns: dict[str, Any] = {
        "is_busy": or_(is_unread, exists().where(of_study, _going), exists().where(fetching)),
        "is_held": _IS_HELD,
        "changed_at": select(func.max(jobs.c.changed_at)).where(of_study).scalar_subquery(),
        "newer_exams": _newer_exams(),
        "instances": select(func.count()).select_from(its_instances).where(mine).scalar_subquery(),
        "size_bytes": select(func.sum(its_instances.c.size_bytes)).where(mine).scalar_subquery(),
    }
    own = (studies.c.study_date, studies.c.newest_number, studies.c.fetched_from, studies.c.identifiers)
    labelled = (column.label(name) for name, column in columns.items())
    query = select(uid, *own, instances.c.received_at, *labelled)
    return query.join(instances, instances.c.number == studies.c.newest_number).order_by(
        studies.c.newest_number
    )


def _newer_exams() -> ColumnElement[int]:
    """How many exams with images follow on this one under the same identifiers. Links are not followed: without
    them an exam has fewer successors, and is kept rather than deleted."""
    mine, theirs, other = study_identifiers.alias(), study_identifiers.alias(), studies.alias()
    same_patient = and_(theirs.c.patient_id == mine.c.patient_id, theirs.c.issuer == mine.c.issuer)
    joined = mine.join(theirs, same_patient).join(
        other, other.c.study_instance_uid == theirs.c.study_instance_uid
    )
    is_newer = and_(other.c.study_date > studies.c.study_date, other.c.images_deleted_at.is_(None))
    of_study = mine.c.study_instance_uid == studies.c.study_instance_uid
    count = func.count(distinct(other.c.study_instance_uid))
    return select(count).select_from(joined).where(of_study, is_newer).correlate(studies).scalar_subquery()


_AGES = _ages()


def _have_ended(connection: Connection, study_instance_uid: str, before: datetime) -> bool:
    """Every job of the study ended before, nothing of it waits to be delivered, and nobody holds it."""
    of_study = jobs.c.study_instance_uid == study_instance_uid
    numbers = select(jobs.c.number).where(of_study)
    against = (
        select(jobs.c.number).where(of_study, or_(_going, jobs.c.changed_at >= before)),
        select(deliveries.c.number).where(deliveries.c.job_number.in_(numbers), is_open_delivery),
        select(holds.c.held_at).where(holds.c.study_instance_uid == study_instance_uid),
    )
    return all(connection.execute(query.limit(1)).first() is None for query in against)


def _is_needed(connection: Connection, study_instance_uid: str) -> bool:
    of_study = studies.c.study_instance_uid == study_instance_uid
    against = (
        select(holds.c.held_at).where(holds.c.study_instance_uid == study_instance_uid),
        select(studies.c.newest_number).where(of_study, is_unread),
        select(jobs.c.number).where(jobs.c.study_instance_uid == study_instance_uid, _going),
    )
    if any(connection.execute(query.limit(1)).first() is not None for query in against):
        return True
    return _job_of_patient(connection, study_instance_uid) is not None


def _job_of_patient(connection: Connection, study_instance_uid: str) -> Any:
    """A job on its way of another study of the same patient, links followed: it may look at this study's images."""
    of_study = studies.c.study_instance_uid == study_instance_uid
    identifiers = connection.scalar(select(studies.c.identifiers).where(of_study)) or ()
    linked, _ = known_patients(connection, identifiers)
    numbers = [one.patient_id for one in linked]
    theirs = select(study_identifiers.c.study_instance_uid).where(study_identifiers.c.patient_id.in_(numbers))
    query = select(jobs.c.number, jobs.c.study_instance_uid).where(
        _going, jobs.c.study_instance_uid.in_(theirs), jobs.c.study_instance_uid != study_instance_uid
    )
    return connection.execute(query.limit(1)).first()


def _refuse_to_delete(connection: Connection, study_instance_uid: str, now: datetime) -> None:
    of_study = jobs.c.study_instance_uid == study_instance_uid
    numbers = select(jobs.c.number).where(of_study)
    held = select(holds.c.held_at).where(holds.c.study_instance_uid == study_instance_uid)
    is_held = connection.execute(held).first() is not None
    going = connection.execute(select(jobs.c.number, jobs.c.stage).where(of_study, _going)).first()
    if going is not None and not is_held:
        raise LookupError(
            f"job {going.number} of study {study_instance_uid} is on its way (stage {going.stage}); "
            f"wait until it has ended, or first: preread hold {study_instance_uid}"
        )
    in_hand = union_all(
        select(jobs.c.lease_owner).where(of_study, jobs.c.lease_until > now),
        select(deliveries.c.lease_owner).where(
            deliveries.c.job_number.in_(numbers), deliveries.c.lease_until > now
        ),
    )
    owner = connection.scalar(in_hand)
    if owner is not None:
        raise LookupError(f"study {study_instance_uid} is just worked on ({owner}); try again in a moment")
    other = _job_of_patient(connection, study_instance_uid)
    if other is not None:
        raise LookupError(
            f"job {other.number} of study {other.study_instance_uid}, the same patient's, is on its way and may look "
            "at this study; try again when it has ended"
        )


def _forget_instances(connection: Connection, study_instance_uid: str, now: datetime) -> Deleted:
    of_study = instances.c.study_instance_uid == study_instance_uid
    paths = tuple(connection.scalars(select(instances.c.path).where(of_study)))
    uids = select(instances.c.sop_instance_uid, instances.c.role).where(of_study)
    _remember(connection, study_instance_uid, uids, now)
    connection.execute(delete(instances).where(of_study))
    return Deleted(paths, instances=len(paths))


def _forget_results(connection: Connection, study_instance_uid: str, now: datetime) -> Deleted:
    numbers = select(jobs.c.number).where(jobs.c.study_instance_uid == study_instance_uid)
    of_study = result_objects.c.job_number.in_(numbers)
    paths = tuple(connection.scalars(select(result_objects.c.path).where(of_study)))
    ours = literal(InstanceRole.OURS, deleted_instances.c.role.type)
    _remember(
        connection, study_instance_uid, select(result_objects.c.sop_instance_uid, ours).where(of_study), now
    )
    delete_with_children(connection, result_objects, of_study)
    return Deleted(paths, results=len(paths))


def _remember(
    connection: Connection, study_instance_uid: str, uids: Select[str, InstanceRole], now: datetime
) -> None:
    """Keeps the UID and the role of what is about to be deleted; one that was deleted before is kept once."""
    for uid, role in connection.execute(uids).all():
        connection.execute(delete(deleted_instances).where(deleted_instances.c.sop_instance_uid == uid))
        row = {"sop_instance_uid": uid, "study_instance_uid": study_instance_uid, "role": role}
        connection.execute(insert(deleted_instances).values(**row, deleted_at=now))


def _forget_rows(connection: Connection, study_instance_uid: str) -> None:
    for table in (events, requested_studies):
        connection.execute(delete(table).where(table.c.study_instance_uid == study_instance_uid))
    delete_with_children(connection, studies, studies.c.study_instance_uid == study_instance_uid)


def _tell(
    connection: Connection, study_instance_uid: str, actor: str, what: str, because: str, now: datetime
) -> None:
    event = Event(now, study_instance_uid, None, f"{what} deleted by {actor}: {because}")
    connection.execute(insert(events), row_of(event))


def _audit(
    connection: Connection,
    study_instance_uid: str,
    actor: str,
    deleted: Deleted,
    because: str,
    now: datetime,
    patient_id: str | None = None,
) -> None:
    patient = patient_of(connection, study_instance_uid) if patient_id is None else patient_id
    count = deleted.instances + deleted.results
    record = AuditRecord(now, AuditEvent.DELETED, actor, "", study_instance_uid, patient, count, because)
    audit(connection, [record])
