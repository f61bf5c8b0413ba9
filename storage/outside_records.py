"""What others tell us beside images, and what we ask of them: reports, orders, requests; as frozen values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from storage.records import PatientIdentifier


class ReportStatus(StrEnum):
    """How far a report had come when this version of it was sent."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    CANCELLED = "cancelled"
    """Withdrawn: no version of this report may be shown until a later one takes it back."""


class ReportSource(StrEnum):
    """By which tongue a report came. Structured reports are not among them: they are instances."""

    HL7 = "hl7"
    FHIR = "fhir"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Report:
    """One version of somebody's report, as it came from outside DICOM; text as sent, "" if absent.

    Attributes:
        number: rises with arrival; 0 until the store has given it one.
        report_key: the same for all versions of one report: its filler order number, else its accession
            number, else its Study Instance UID, else what else tells it from others.
        patients: every identifier it names the patient by.
        observed_at: when the images were made, "YYYYMMDDHHMMSS" or less of it, in this machine's local time.
        reported_at: when this version was written, in the same form; versions are ordered by it.
        procedure: names and codes of what was done, one a line.
        origin: for a person who looks for it: sender and message control ID, or file and line.
        received_at: UTC, aware.
    """

    number: int
    report_key: str
    status: ReportStatus
    source: ReportSource
    text: str
    patients: tuple[PatientIdentifier, ...]
    birth_date: str
    accession_number: str
    study_instance_uid: str
    observed_at: str
    reported_at: str
    procedure: str
    origin: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """A message that could not be taken in; its bytes are kept until somebody has seen to it.

    Attributes:
        number: rises with arrival; 0 until the store has given it one.
        at: when these bytes came first.
        times: how often the same bytes came.
        origin: address of the sender, or name of the file.
        reason: a sentence that names no patient.
        path: of its bytes, relative to the files folder.
        resolved_at: when a replay took it in, or None.
    """

    number: int
    at: datetime
    times: int
    origin: str
    reason: str
    path: str
    sha256: str
    size_bytes: int
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class ExplainedStudy:
    """An earlier exam, and why the model is shown it or is not, in words that name no patient."""

    study_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class PriorRequest:
    """One archive that is asked for the earlier exams of one patient, for a job or ahead of it for an order.

    Attributes:
        archive: its name in peers.toml.
        job_number, order_number: what it is asked for; one of the two is None.
        expires_at: afterwards nobody waits for it any more.
        found_at: when it had answered which exams there are, or None.
        study_instance_uids: the exams that were chosen; () before.
        passed_over: radiographs that it has, that are not here and were not chosen; () before.
        note: a sentence for the reader of the draft on what it answered, or None.
        waiting_since: when the archive first could not be asked, or None.
        problem: why it waits or was given up, a sentence, or None.
        done_at: when everything chosen had come or been given up; failed_at: when the request was.
        claim_number: as for a Job.
    """

    number: int
    archive: str
    job_number: int | None
    order_number: int | None
    asked_at: datetime
    expires_at: datetime
    found_at: datetime | None
    study_instance_uids: tuple[str, ...]
    note: str | None
    attempts: int
    due_at: datetime
    waiting_since: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    problem: str | None
    done_at: datetime | None
    failed_at: datetime | None
    claim_number: int = 0
    passed_over: tuple[ExplainedStudy, ...] = ()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Requests to one archive that have the same problem.

    Attributes:
        count: how many.
        since: when the first of them was opened.
        problem: a sentence.
    """

    archive: str
    count: int
    since: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class RequestedStudy:
    """An earlier exam that is, or was last, fetched from an archive; one row for each study.

    Attributes:
        request_number: the request that fetches it; the others that chose it wait for that one.
        archive: its name; sender: the calling AE title that the images come with.
        study_date: "YYYYMMDD" as the archive told it.
        fetching_since: when the archive was told to send it, or None while it waits for its turn.
        ended_at: when it had come, or was given up.
        problem: what is missing, a few words ("1 of 2 objects came"), or None.
    """

    study_instance_uid: str
    request_number: int
    archive: str
    sender: str
    study_date: str
    asked_at: datetime
    fetching_since: datetime | None = None
    ended_at: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One exam that was ordered, as far as it is known before its images; text as sent, "" if absent.

    Attributes:
        number: 0 until stored.
        source: who told of it last: the name of a worklist, or of an HL7 sender.
        accession_number, study_instance_uid: at least one of them is there.
        scheduled_date, scheduled_time: "YYYYMMDD", "HHMMSS", local.
        heard_at: when it was last told of.
        priority: a value of Priority, in whatever words it was told; "" if nobody said.
    """

    source: str
    accession_number: str
    study_instance_uid: str
    placer_order_number: str
    filler_order_number: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    requested_procedure: str
    indication: str
    scheduled_date: str
    scheduled_time: str
    heard_at: datetime
    number: int = 0
    priority: str = ""
