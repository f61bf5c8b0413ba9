"""Instances and studies: what came in, what nobody has read yet, what was not taken and why."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from storage.audit_records import AuditEvent, AuditRecord
from storage.audits import audit, audit_refusal, shown_patient
from storage.columns import storable
from storage.database import Database, lock_writers
from storage.identity import conflict_of, known_identifiers, union
from storage.patients import known_patients
from storage.records import (
    Event,
    Instance,
    InstanceRole,
    KnownPatients,
    PatientIdentifier,
    Refusal,
    Study,
)
from storage.tables import (
    columns_of,
    deleted_instances,
    events,
    instances,
    is_unread,
    jobs,
    refusals,
    requested_studies,
    result_objects,
    row_of,
    studies,
    study_identifiers,
)

_FILLED_LATER = (
    "patient_id",
    "issuer_of_patient_id",
    "birth_date",
    "patient_name",
    "sex",
    "study_date",
    "study_time",
    "accession_number",
    "study_description",
)

# The statements of `put` are made once: SQLAlchemy takes longer to put one together than SQLite to run it,
# and the listener is measured in images a second.
_FIND_INSTANCE = select(*columns_of(instances, Instance)).where(
    instances.c.sop_instance_uid == bindparam("uid")
)
_FIND_STUDY = select(*columns_of(studies, Study)).where(studies.c.study_instance_uid == bindparam("uid"))
_STUDIES_OF_NUMBERS = (
    select(*columns_of(studies, Study))
    .where(
        studies.c.study_instance_uid.in_(
            select(study_identifiers.c.study_instance_uid).where(
                study_identifiers.c.patient_id.in_(bindparam("numbers", expanding=True))
            )
        )
    )
    .order_by(studies.c.newest_number.desc())
    .limit(bindparam("studies_max"))
)
_UIDS: BindParameter[Any] = bindparam("uids", expanding=True)
_UNREAD_AT_ONCE = 1_000  # UIDs in one statement; SQLite takes 32,766
_ARRIVED = (
    select(instances)
    .where(instances.c.study_instance_uid.in_(_UIDS), instances.c.role != InstanceRole.OURS)
    .order_by(instances.c.study_instance_uid, instances.c.number)
)
_REVISIONS = (
    select(jobs.c.study_instance_uid, func.max(jobs.c.revision))
    .where(jobs.c.study_instance_uid.in_(_UIDS))
    .group_by(jobs.c.study_instance_uid)
)
_ROLE = instances.c.role.type
_WAS_DELETED = deleted_instances.c.sop_instance_uid == bindparam("uid")
_IS_OURS = or_(
    select(result_objects.c.kind).where(result_objects.c.sop_instance_uid == bindparam("uid")).exists(),
    select(deleted_instances.c.role)
    .where(_WAS_DELETED, deleted_instances.c.role == InstanceRole.OURS)
    .exists(),
)
_ADD_INSTANCE = (
    insert(instances)
    .values(
        role=case((_IS_OURS, literal(InstanceRole.OURS, _ROLE)), else_=bindparam("sent_role", type_=_ROLE))
    )
    .returning(
        instances.c.number, instances.c.role, select(deleted_instances.c.role).where(_WAS_DELETED).exists()
    )
)
_ADD_STUDY = insert(studies)
_ADD_IDENTIFIER = insert(study_identifiers)
_ADD_EVENT = insert(events)
_FIND_ASKED = select(requested_studies.c.archive).where(
    requested_studies.c.study_instance_uid == bindparam("uid"),
    requested_studies.c.sender == bindparam("sender"),
    # Not from the moment of asking: an exam that is routed to us while we wait for our turn at the
    # archive would be taken for a prior, and nobody would read it.
    requested_studies.c.fetching_since.is_not(None),
    requested_studies.c.ended_at.is_(None),
)
_COUNT_OTHER = (
    update(studies)
    .where(studies.c.study_instance_uid == bindparam("uid"))
    .values(newest_number=bindparam("number"))
)
_COUNT_IMAGE = _COUNT_OTHER.values(newest_image_number=bindparam("number"))


class PutVerdict(StrEnum):
    """What became of an instance that was put."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same SOP Instance UID and the same bytes: here already, nothing changed."""
    DIFFERENT = "different"
    """The same SOP Instance UID and other bytes: not stored, to be refused."""
    GONE = "gone"
    """It came without a file, as a duplicate of one that has been deleted meanwhile: not stored, to be sent again."""


@dataclass(frozen=True, slots=True)
class Put:
    """The answer of `Index.put`.

    Attributes:
        instance: as it stands in the index: with its number, and for a duplicate with the path and
            time of the first one.
    """

    verdict: PutVerdict
    instance: Instance


@dataclass(frozen=True, slots=True)
class UnreadStudy:
    """A study with images that no job has seen.

    Attributes:
        newest_number: the highest instance number of the study, our own objects left out; the
            watermark of the job to be opened.
        newest_received_at: when the newest of these came: since when the study is silent.
        oldest_received_at: when the oldest image came that no job has seen.
        instances: all images (role IMAGE) of the study, by number, those read before included.
        next_revision: of the job to be opened: 1 for a study never read.
    """

    study_instance_uid: str
    newest_number: int
    newest_received_at: datetime
    oldest_received_at: datetime
    instances: tuple[Instance, ...]
    next_revision: int


@dataclass(frozen=True, slots=True)
class PatientHistory:
    """The studies that may be of one patient, and what is known of the identifiers they came under.

    Attributes:
        studies: those that share a patient ID with the patient's identifiers, of any issuer; newest arrival first.
    """

    studies: tuple[Study, ...] = ()
    known: KnownPatients = field(default_factory=KnownPatients)


class Index:
    """The index of what was received. Safe for several threads and processes.

    Args:
        refusals_max: how many refusals are kept; the oldest go first.
    """

    def __init__(self, database: Database, *, refusals_max: int = 10_000) -> None:
        self._database = database
        self._refusals_max = refusals_max

    def put(self, instance: Instance, study: Study) -> Put:
        """Takes an instance into the index, with what its header says of its study, in one commit.

        Its file must be stored for good before; only for a duplicate, which leaves what is here as it is, the path
        may be "". The role becomes OURS if we made the object.
        A study's first instance makes its row; later ones fill what was empty and add their
        modality. If one names another patient, the study gets its `conflict`.

        A study whose first instance comes from an archive that is just being asked for it is a prior, and not
        read: `fetched_from` says so. If later, asked by nobody, an image of it is sent, be it one that is here
        already, then somebody wants it read: it becomes a study like any other.
        """
        return self.put_many([(instance, study)])[0]

    def put_many(self, arrivals: Sequence[tuple[Instance, Study]]) -> list[Put]:
        """Takes several instances in with one commit, each judged as by `put`, in this order.

        Raises:
            ValueError: if an instance comes with another study than its own; then none is stored.
        """
        for instance, study in arrivals:
            if instance.study_instance_uid != study.study_instance_uid:
                raise ValueError(
                    f"instance {instance.sop_instance_uid} is of study {instance.study_instance_uid}, "
                    f"not of {study.study_instance_uid}"
                )
        with self._database.writing() as connection:
            # One at a time: a number must not appear after a higher one of its study. A job opened
            # between the two would have the late one below its watermark, and nobody would read it.
            lock_writers(connection, "intake")
            puts = [_put(connection, instance, study) for instance, study in arrivals]
            stored = zip(puts, arrivals, strict=True)
            audit(
                connection,
                [
                    _received(instance, study)
                    for put, (instance, study) in stored
                    if put.verdict == PutVerdict.STORED
                ],
            )
            return puts

    def is_asked_for(self, study_instance_uid: str, sender: str) -> bool:
        """Says whether an archive that sends as `sender` has been told to send this study, and has not ended."""
        with self._database.reading() as connection:
            return _asked_from(connection, study_instance_uid, sender) is not None

    def known(self, sop_instance_uid: str) -> Instance | None:
        """The stored instance of this SOP Instance UID, or None."""
        with self._database.reading() as connection:
            return _instance(connection, sop_instance_uid)

    def instances(self, study_instance_uid: str, up_to_number: int | None = None) -> tuple[Instance, ...]:
        """The instances of a study, of every role, by number; with `up_to_number` none above it."""
        query = select(instances).where(instances.c.study_instance_uid == study_instance_uid)
        if up_to_number is not None:
            query = query.where(instances.c.number <= up_to_number)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(instances.c.number)).mappings()
            return tuple(Instance(**row) for row in rows)

    def study(self, study_instance_uid: str) -> Study | None:
        """What is known of a study, or None."""
        with self._database.reading() as connection:
            return _study(connection, study_instance_uid)

    def history(self, identifiers: Collection[PatientIdentifier], studies_max: int = 1000) -> PatientHistory:
        """Finds what is here of the patient with these identifiers; nothing if there are none.

        Links between identifiers are followed now, so one made or taken back counts from the next call on.

        Args:
            studies_max: the studies that arrived last, so many at most.
        """
        if not identifiers:
            return PatientHistory()
        with self._database.reading() as connection:
            linked, known = known_patients(connection, identifiers)
            asked = {"numbers": sorted({one.patient_id for one in linked}), "studies_max": studies_max}
            rows = connection.execute(_STUDIES_OF_NUMBERS, asked)
            return PatientHistory(tuple(Study(*row) for row in rows), known)

    def known_patients(self, identifiers: Collection[PatientIdentifier]) -> KnownPatients:
        """What links, as they are now, and registries say of these identifiers."""
        if not identifiers:
            return KnownPatients()
        with self._database.reading() as connection:
            return known_patients(connection, identifiers)[1]

    def instances_of(self, study_instance_uids: Collection[str]) -> dict[str, tuple[Instance, ...]]:
        """The instances of several studies, of every role, by number; each study asked for is there."""
        query = select(instances).where(instances.c.study_instance_uid.in_(study_instance_uids))
        found: dict[str, list[Instance]] = {uid: [] for uid in study_instance_uids}
        with self._database.reading() as connection:
            for row in connection.execute(query.order_by(instances.c.number)).mappings():
                found[row["study_instance_uid"]].append(Instance(**row))
        return {uid: tuple(group) for uid, group in found.items()}

    def in_doubt(self, limit: int) -> tuple[Study, ...]:
        """The studies whose instances name two patients, newest first; nobody reads them."""
        query = select(*columns_of(studies, Study)).where(studies.c.conflict.is_not(None))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(studies.c.newest_number.desc()).limit(limit))
            return tuple(Study(*row) for row in rows)

    def recent_studies(self, limit: int) -> tuple[Study, ...]:
        """The studies in which something arrived last, newest first."""
        query = select(*columns_of(studies, Study)).order_by(studies.c.newest_number.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(Study(**row) for row in connection.execute(query).mappings())

    def unread(self) -> tuple[UnreadStudy, ...]:
        """The studies with images above the watermark of their jobs, fetched priors left out.

        Costs what is unread, not what is stored: see `is_unread` and its index. A study with a
        `conflict` is among them, so that somebody gets to say why it is not read.
        """
        watermarks = select(studies.c.study_instance_uid, studies.c.watermark).where(is_unread)
        revision_of: dict[str, int] = {}
        rows: list[Instance] = []
        with self._database.reading() as connection:
            watermark_of = dict(connection.execute(watermarks).all())
            # By UID, not by a join or a subquery: for a join SQLite walks through all instances, for a subquery
            # PostgreSQL does (0.5 s with a million of them, and this is asked every second).
            uids = list(watermark_of)
            for first in range(0, len(uids), _UNREAD_AT_ONCE):
                asked = {"uids": uids[first : first + _UNREAD_AT_ONCE]}
                rows += [Instance(**row) for row in connection.execute(_ARRIVED, asked).mappings()]
                revision_of |= dict(connection.execute(_REVISIONS, asked).all())
        by_study = groupby(rows, key=lambda instance: instance.study_instance_uid)
        return tuple(
            _unread_study(list(group), watermark_of[uid], revision_of.get(uid, 0) + 1)
            for uid, group in by_study
        )

    def refuse(self, refusal: Refusal, kind: str = "") -> None:
        """Writes down what was not taken; beyond `refusals_max` the oldest are forgotten.

        A connection that was refused, rather than an object, is audited.

        Args:
            kind: the reason without what the other side chose, so that refusals can be counted together; "" = its
                words are all ours.
        """
        with self._database.writing() as connection:
            added = insert(refusals).values(row_of(refusal)).returning(refusals.c.number)
            number = connection.execute(added).scalar_one()
            connection.execute(delete(refusals).where(refusals.c.number <= number - self._refusals_max))
            if not refusal.sop_instance_uid:
                who, where = refusal.calling_ae_title, refusal.address
                alert = AuditRecord(
                    refusal.at, AuditEvent.REFUSED, who, where, instances=1, detail=refusal.reason
                )
                audit_refusal(connection, replace(alert, is_success=False), kind or refusal.reason)

    def refusals(self, limit: int) -> tuple[Refusal, ...]:
        """The last refusals, newest first."""
        query = select(*columns_of(refusals, Refusal)).order_by(refusals.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(Refusal(**row) for row in connection.execute(query).mappings())

    def counts(self) -> dict[str, int]:
        """How much there is: studies, unread_studies, instances, size_bytes of these, refusals.

        Counted anew on each call: for a page or a health check, not for a loop.
        """
        count = select(func.count())
        queries = {
            "studies": count.select_from(studies),
            "unread_studies": count.select_from(studies).where(is_unread),
            "instances": count.select_from(instances),
            "size_bytes": select(func.coalesce(func.sum(instances.c.size_bytes), 0)),
            "refusals": count.select_from(refusals),
        }
        with self._database.reading() as connection:
            return {name: int(connection.execute(query).scalar_one()) for name, query in queries.items()}


def _unread_study(arrived: list[Instance], watermark: int, next_revision: int) -> UnreadStudy:
    images = tuple(instance for instance in arrived if instance.role == InstanceRole.IMAGE)
    return UnreadStudy(
        study_instance_uid=arrived[0].study_instance_uid,
        newest_number=arrived[-1].number,
        newest_received_at=max(instance.received_at for instance in arrived),
        oldest_received_at=min(image.received_at for image in images if image.number > watermark),
        instances=images,
        next_revision=next_revision,
    )


def _received(instance: Instance, study: Study) -> AuditRecord:
    patient_id, uid = shown_patient(study.identifiers), instance.study_instance_uid
    sender = instance.calling_ae_title
    return AuditRecord(instance.received_at, AuditEvent.RECEIVED, sender, "", uid, patient_id, instances=1)


def _instance(connection: Connection, sop_instance_uid: str) -> Instance | None:
    row = connection.execute(_FIND_INSTANCE, {"uid": sop_instance_uid}).first()
    return None if row is None else Instance(*row)


def _study(connection: Connection, study_instance_uid: str) -> Study | None:
    row = connection.execute(_FIND_STUDY, {"uid": study_instance_uid}).first()
    return None if row is None else Study(*row)


def _put(connection: Connection, instance: Instance, study: Study) -> Put:
    known = _instance(connection, instance.sop_instance_uid)
    if known is not None:
        is_same = known.sha256 == instance.sha256
        if is_same:
            _want_read(connection, _study(connection, known.study_instance_uid), instance)
        return Put(PutVerdict.DUPLICATE if is_same else PutVerdict.DIFFERENT, known)
    if not instance.path:
        return Put(PutVerdict.GONE, instance)
    modalities = union(study.modalities, (instance.modality,))
    study = replace(study, modalities=modalities, identifiers=_storable(study.identifiers))
    before = _study(connection, study.study_instance_uid)
    if before is None:
        _add_study(connection, study, instance)
    stored, is_back = _add_instance(connection, instance)
    numbers = {"uid": study.study_instance_uid, "number": stored.number}
    # One that was deleted and is sent again is kept as a prior; nobody asked to have it read a second time.
    opens_a_job = stored.role == InstanceRole.IMAGE and not is_back
    connection.execute(_COUNT_IMAGE if opens_a_job else _COUNT_OTHER, numbers)
    if before is not None and stored.role != InstanceRole.OURS:
        _fill_study(connection, before, study, stored)
        _want_read(connection, before, stored)
    return Put(PutVerdict.STORED, stored)


def _add_instance(connection: Connection, instance: Instance) -> tuple[Instance, bool]:
    """The instance with its number and role, and whether it was here before and was deleted."""
    sent = {name: value for name, value in row_of(instance).items() if name not in ("number", "role")}
    sent |= {"uid": instance.sop_instance_uid, "sent_role": instance.role}
    number, role, is_back = connection.execute(_ADD_INSTANCE, sent).one()
    return replace(instance, number=number, role=role), bool(is_back)


def _storable(identifiers: tuple[PatientIdentifier, ...]) -> tuple[PatientIdentifier, ...]:
    return tuple(PatientIdentifier(storable(one.patient_id), storable(one.issuer)) for one in identifiers)


def _add_study(connection: Connection, study: Study, first: Instance) -> None:
    archive = _asked_from(connection, study.study_instance_uid, first.calling_ae_title)
    row = row_of(study) | {"fetched_from": archive}
    row |= {"newest_number": 0, "newest_image_number": 0, "watermark": 0}
    connection.execute(_ADD_STUDY, row)
    _add_identifiers(connection, study.study_instance_uid, study.identifiers)
    because = "" if archive is None else f", fetched from {archive} as a prior"
    _note(connection, first, f"is the first of this study{because}")


def _asked_from(connection: Connection, study_instance_uid: str, sender: str) -> str | None:
    """The archive that is sending this study because we asked for it, or None."""
    return connection.scalar(_FIND_ASKED, {"uid": study_instance_uid, "sender": sender})


def _want_read(connection: Connection, before: Study | None, arrived: Instance) -> None:
    """Lets a fetched prior be read after all, if this image of it was sent without our asking."""
    if before is None or before.fetched_from is None or arrived.role != InstanceRole.IMAGE:
        return
    uid = before.study_instance_uid
    if _asked_from(connection, uid, arrived.calling_ae_title) is None:
        connection.execute(
            update(studies).where(studies.c.study_instance_uid == uid).values(fetched_from=None)
        )
        _note(
            connection,
            arrived,
            f"was not asked for: the study, fetched from {before.fetched_from}, is to be read",
        )


def _fill_study(connection: Connection, before: Study, arrived: Study, instance: Instance) -> None:
    """Adds what an arriving instance tells more of its study; nothing that is there is overwritten."""
    changes: dict[str, object] = {
        name: getattr(arrived, name)
        for name in _FILLED_LATER
        if getattr(arrived, name) and not getattr(before, name)
    }
    modalities = union(before.modalities, arrived.modalities)
    if modalities != before.modalities:
        changes["modalities"] = modalities
    conflict = conflict_of(before, arrived, instance)
    if conflict is None and arrived.identifiers != before.identifiers:
        known = known_identifiers(before.identifiers, arrived.identifiers)
        if known != before.identifiers:
            changes["identifiers"] = known
            added = [identifier for identifier in known if identifier not in before.identifiers]
            _add_identifiers(connection, arrived.study_instance_uid, added)
    if conflict is not None and before.conflict is None:
        changes["conflict"] = conflict
        _note(connection, instance, "names another patient than this study had; nobody will read it")
    if changes:
        of_study = studies.c.study_instance_uid == arrived.study_instance_uid
        connection.execute(update(studies).where(of_study).values(changes))


def _add_identifiers(
    connection: Connection, study_instance_uid: str, identifiers: Sequence[PatientIdentifier]
) -> None:
    rows = [row_of(identifier) | {"study_instance_uid": study_instance_uid} for identifier in identifiers]
    if rows:
        connection.execute(_ADD_IDENTIFIER, rows)


def _note(connection: Connection, instance: Instance, what: str) -> None:
    event = Event(
        at=instance.received_at,
        study_instance_uid=instance.study_instance_uid,
        job_number=None,
        text=f"instance {instance.sop_instance_uid} from {instance.calling_ae_title} {what}",
    )
    connection.execute(_ADD_EVENT, row_of(event))
