"""The rows of the store as frozen values; what crosses the border of `storage`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Stage(StrEnum):
    """Where a job stands on the line. Moves only right, or sideways to an end."""

    GATHER = "gather"
    READ = "read"
    COMPOSE = "compose"
    DELIVER = "deliver"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


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
        wanted_by_job: the job that fetched it as a prior, or None.
        identifiers: of the patient: that of Patient ID first, then those of Other Patient IDs; () if there are none.
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
    wanted_by_job: int | None = None
    identifiers: tuple[PatientIdentifier, ...] = ()


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


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One DICOM object that we made. `path` is relative to the files folder; `kind` is a key of OUTPUTS."""

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
        done_at: when the destination took it, or None.
        failed_at: when we gave up, or None.
        claim_number: as for a Job.
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
