"""The rows of the store as frozen values; what crosses the border of `storage`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

NUMBER_CHARACTERS_MAX = 256
"""A longer number of a patient, an issuer or an order is none: DICOM has 64 and 16 characters for them (PS3.5 Table
6.2-1), HL7 250. They are looked up by index, and PostgreSQL has 2,704 bytes for all that is in an entry of one: three
of them fit, whatever script of today they are in (3 bytes a character in UTF-8)."""


class Stage(StrEnum):
    """Where a job stands on the line. Moves only right, or sideways to an end."""

    GATHER = "gather"
    READ = "read"
    COMPOSE = "compose"
    DELIVER = "deliver"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class Priority(StrEnum):
    """How soon a study is to be read."""

    STAT = "stat"
    URGENT = "urgent"
    ROUTINE = "routine"


class InstanceRole(StrEnum):
    """What an instance is to us."""

    IMAGE = "image"
    """A radiograph; the only role whose arrival opens a job."""
    REPORT = "report"
    """A structured report of somebody else."""
    OTHER = "other"
    """Kept, looked at by nobody: presentation states, key objects, PDF."""
    OURS = "ours"
    """Made by preread and come back from a PACS: a no-op."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored DICOM file, byte for byte as sent.

    Attributes:
        number: rises with arrival; 0 until the index has given it one.
        path: relative to the files folder.
        sha256: of the dataset as it was sent, without the file's own preamble and meta; lower-case hex.
        modality: as sent, "" if absent.
        view_group: "frontal", "lateral", or "" where the header does not tell.
        received_at: UTC, aware.
        role: by SOP Class; OURS if the SOP Instance UID is one of our result objects.
    """

    number: int
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    view_group: str
    calling_ae_title: str
    called_ae_title: str
    path: str
    sha256: str
    size_bytes: int
    received_at: datetime
    role: InstanceRole


@dataclass(frozen=True, slots=True, order=True)
class PatientIdentifier:
    """A patient's number and who gave it (PS3.3 C.2.2; HL7 v2 data type CX).

    Equal ones mean the same: they are in the form that `peers.toml` wants, see `agent.identity`.

    Attributes:
        patient_id: never empty.
        issuer: the assigning authority, "" if nobody said; such a number may belong to several people.
    """

    patient_id: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """What the index knows of one study; text as sent, "" if absent.

    Attributes:
        birth_date, study_date: "YYYYMMDD" as sent; study_time: "HHMMSS.FFFFFF" as sent (local, no zone).
        conflict: a sentence if instances of this study name two patients; then nobody reads it.
        fetched_from: the archive that it was fetched from as a prior, or None. Such a study is not read, until
            images of it come that nobody asked for.
        identifiers: of the patient: that of Patient ID first, then those of Other Patient IDs; () if there are none.
        images_deleted_at: when retention last deleted instances of it, or None.
    """

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    study_date: str
    study_time: str
    accession_number: str
    study_description: str
    modalities: tuple[str, ...] = ()
    conflict: str | None = None
    fetched_from: str | None = None
    identifiers: tuple[PatientIdentifier, ...] = ()
    images_deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A study that somebody holds: nothing is done with it and nothing of it is deleted until it is released."""

    study_instance_uid: str
    held_at: datetime
    held_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Demographics:
    """What a patient registry says of a person, as it said it; "" for what it does not say.

    Attributes:
        patient_name: components joined by "^" as in DICOM; birth_date: "YYYYMMDD".
    """

    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class PatientChange:
    """What a message of a patient registry changes for one patient (HL7 v2 ADT).

    Attributes:
        reason: "merge", "change of ID" or "update".
        links: (old identifier, surviving identifier); none for an update.
        identifiers: of the patient, after the change.
        demographics: of the patient, after the change.
    """

    reason: str
    links: tuple[tuple[PatientIdentifier, PatientIdentifier], ...] = ()
    identifiers: tuple[PatientIdentifier, ...] = ()
    demographics: Demographics = Demographics()


@dataclass(frozen=True, slots=True)
class PatientLink:
    """One identifier's replacement by another; rows are ended and never deleted, so they are the history too.

    Attributes:
        number: 0 until the store has given it one.
        old, surviving: studies under `old` are those of the patient called `surviving`.
        reason: "merge", "change of ID", or the operator's words.
        linked_by: who said so: a registry's message, or an operator.
        unlinked_at, unlinked_by: since when it holds no more and who said so; None while it holds.
    """

    number: int
    old: PatientIdentifier
    surviving: PatientIdentifier
    reason: str
    linked_by: str
    linked_at: datetime
    unlinked_by: str | None = None
    unlinked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownPatients:
    """What links and registries say of some identifiers.

    Attributes:
        surviving: identifier to the one that is valid today, for those that a link has replaced.
        demographics: what registries have said of an identifier, oldest first.
    """

    surviving: Mapping[PatientIdentifier, PatientIdentifier] = field(default_factory=dict)
    demographics: Mapping[PatientIdentifier, tuple[Demographics, ...]] = field(default_factory=dict)

    def survivor(self, identifier: PatientIdentifier) -> PatientIdentifier:
        """The identifier that this one has become; itself if nothing replaced it."""
        return self.surviving.get(identifier, identifier)

    def linked(self, identifiers: Sequence[PatientIdentifier]) -> tuple[PatientIdentifier, ...]:
        """These identifiers, those that they have become, and all others that have become those."""
        ends = dict.fromkeys(map(self.survivor, identifiers))
        replaced = (old for old, end in self.surviving.items() if end in ends)
        return tuple(dict.fromkeys((*identifiers, *ends, *replaced)))


@dataclass(frozen=True, slots=True)
class Job:
    """One pass of one study along the line; a row of the worklist.

    Attributes:
        revision: 1, 2, ... within the study.
        watermark: the highest instance number this pass saw.
        complete_because: why the study was called complete, a sentence.
        attempts: tries of the present stage that ended badly.
        waiting_since: when the present stage first said "later", or None.
        due_at: not before this time. UTC, aware, like every time here.
        problem: a sentence for a person, or None.
        manifest_json, reading_json: opaque to storage, None until made.
        claim_number: rises with each claim; tells this lease from a later one, of the same owner too.
        rule: name of the rule that it falls under, "" if none fits, None until that is decided.
        yields_seconds: it lets those go first that become due within this time after it and yield nothing.
        claimed_at: when it was claimed last, or None.
    """

    number: int
    study_instance_uid: str
    revision: int
    watermark: int
    stage: Stage
    complete_because: str
    attempts: int
    due_at: datetime
    waiting_since: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    problem: str | None
    manifest_json: str | None
    reading_json: str | None
    opened_at: datetime
    changed_at: datetime
    claim_number: int = 0
    rule: str | None = None
    priority: Priority = Priority.ROUTINE
    yields_seconds: float = 0.0
    claimed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One thing that we made to be sent: a DICOM object, or a message for one receiver.

    Attributes:
        sop_instance_uid: of a message a UID derived from its receiver and its bytes.
        sop_class_uid: "" for a message.
        kind: a key of OUTPUTS (agent.outputs) or a kind of message (agent.outgoing).
        path: relative to the files folder.
    """

    sop_instance_uid: str
    sop_class_uid: str
    job_number: int
    kind: str
    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result object on its way to one destination.

    Attributes:
        last_status: DIMSE status of the last try, or None if none came back.
        done_at: when nothing more was to be done: the destination has it, and has committed to it where it must.
        failed_at: when we gave up, or it was stopped, or None.
        is_stopped: nobody wants it sent any more; `problem` says why.
        claim_number, claimed_at: as for a Job; claim_number above 0 the destination may have it, whatever was noted.
        replaced_by: the kind of output that goes instead, since the destination refuses this one's SOP Class; or None.
        taken_at: when the destination last took it, or None.
        transaction_uid: of the storage commitment asked for it last (PS3.4 J.3.2), or None.
    """

    number: int
    job_number: int
    sop_instance_uid: str
    destination: str
    attempts: int
    due_at: datetime
    waiting_since: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    last_status: int | None
    problem: str | None
    done_at: datetime | None
    failed_at: datetime | None
    claim_number: int = 0
    claimed_at: datetime | None = None
    is_stopped: bool = False
    replaced_by: str | None = None
    taken_at: datetime | None = None
    transaction_uid: str | None = None


@dataclass(frozen=True, slots=True)
class SecondReading:
    """What a second engine says of the case of a job, for comparison: kept here, never made into anything, never sent.

    Attributes:
        reading_json: opaque to storage, None until it is there.
        done_at: when it was read; failed_at: when it was given up, `problem` says why; None both while it is open.
        claim_number, claimed_at: as for a Job.
    """

    number: int
    job_number: int
    attempts: int
    due_at: datetime
    waiting_since: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    problem: str | None
    reading_json: str | None
    done_at: datetime | None
    failed_at: datetime | None
    claim_number: int = 0
    claimed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TroubledDestination:
    """A destination that took nothing when it was tried last; it has no row while all is well.

    Attributes:
        failures: tries in a row that ended so.
        since: when the first of them did.
        rests_until: it is left alone until then, or None if there were too few of them for that.
        problem: of the last one, a sentence.
    """

    name: str
    failures: int
    since: datetime
    rests_until: datetime | None
    problem: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Deliveries to one destination that have the same problem.

    Attributes:
        is_given_up: whether they failed for good; if not, they are tried again.
        count: how many.
        since: when the first of them failed, or began to wait; None for one that is only to be tried again.
        problem: a sentence.
    """

    destination: str
    is_given_up: bool
    count: int
    since: datetime | None
    problem: str


class ClosingKind(StrEnum):
    """Why nothing more goes out for a study."""

    WITHDRAWN = "withdrawn"
    """A person took the draft back."""
    REPORTED = "reported"
    """A radiologist's report is there; a draft has nothing to add."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of the drafts of one study; rows are reopened and never deleted, so they are the history too.

    Attributes:
        because: a sentence.
        report_number: of the report that closed it, or None.
        reopened_at: when an operator asked for another reading, or None while it holds.
    """

    study_instance_uid: str
    kind: ClosingKind
    because: str
    report_number: int | None
    closed_at: datetime
    reopened_at: datetime | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One sentence in the life of a study. `job_number` is None for what happens before a job."""

    at: datetime
    study_instance_uid: str
    job_number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that came to the port and was not taken, and why.

    Attributes:
        status: DIMSE status answered, or None if the connection never got that far.
        sop_instance_uid: "" if unknown.
    """

    at: datetime
    calling_ae_title: str
    address: str
    sop_instance_uid: str
    status: int | None
    reason: str


class StepOutcome(StrEnum):
    """How one try of a step, or of a delivery, ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    ERROR = "error"
    """By an error of ours; it may be tried again."""
    LATER = "later"
    """A destination did not take it for now. A step that waits leaves no row."""


class Beside(StrEnum):
    """Work beside the line; it is no stage of a job, and timed as one."""

    SECOND_READING = "second reading"


def timed_work(word: str) -> Stage | Beside:
    """Gives what was timed by its word. Raises ValueError if it is none."""
    return Beside.SECOND_READING if word == Beside.SECOND_READING else Stage(word)


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long one try of a step, of one delivery or of a second reading took from its claim to its commit.

    Attributes:
        done_by: the engine of a reading, the destination of a delivery, "" for the rest.
    """

    at: datetime
    stage: Stage | Beside
    outcome: StepOutcome
    done_by: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process of preread, as it last said that it runs.

    Attributes:
        role: "serve", "read" or "read --second".
        config_digest: of the settings it runs with.
        engine: what it reads with and the digest of the weights, as words; "" for `serve`.
    """

    role: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    config_digest: str
    engine: str = ""
