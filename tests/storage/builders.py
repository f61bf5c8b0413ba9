"""Rows for tests of the store; each builder takes only what a test is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from storage.index import Index, Put
from storage.jobs import Deliveries, Jobs
from storage.outside_records import (
    Order,
    PriorRequest,
    QuarantinedMessage,
    Report,
    ReportSource,
    ReportStatus,
    RequestedStudy,
)
from storage.records import (
    Delivery,
    Instance,
    InstanceRole,
    Job,
    PatientIdentifier,
    ResultObject,
    Stage,
    Study,
)
from storage.requests import PriorRequests

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
STUDY = "2.25.100"
LEASE_SECONDS = 60.0


def later(seconds: float) -> datetime:
    """NOW and so many seconds."""
    return NOW + timedelta(seconds=seconds)


def an_instance(
    uid: str = "2.25.1", *, study: str = STUDY, content: bytes = b"image", **fields: Any
) -> Instance:
    whole = Instance(
        number=0,
        sop_instance_uid=uid,
        series_instance_uid=f"{study}.1",
        study_instance_uid=study,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="DX",
        view_group="frontal",
        calling_ae_title="XRAY1",
        called_ae_title="PREREAD",
        path=f"studies/{study}/{study}.1/{uid}.dcm",
        sha256=sha256(content).hexdigest(),
        size_bytes=len(content),
        received_at=NOW,
        role=InstanceRole.IMAGE,
    )
    return replace(whole, **fields)


def a_study(uid: str = STUDY, **fields: Any) -> Study:
    whole = Study(
        study_instance_uid=uid,
        patient_id="A1",
        issuer_of_patient_id="",
        patient_name="Doe^Jane",
        birth_date="19500101",
        sex="F",
        study_date="20260301",
        study_time="083000",
        accession_number="",
        study_description="XR CHEST",
    )
    study = replace(whole, **fields)
    if "identifiers" in fields or not study.patient_id:
        return study
    own = PatientIdentifier(study.patient_id, study.issuer_of_patient_id)
    return replace(study, identifiers=(own,))


def put(index: Index, uid: str = "2.25.1", *, study: str = STUDY, **fields: Any) -> Put:
    """Puts an instance with a plain study row."""
    return index.put(an_instance(uid, study=study, **fields), a_study(study))


def a_report(
    text: str = "FINDINGS: Clear.", *, patient_id: str = "A1", issuer: str = "", **fields: Any
) -> Report:
    """One version of a report; without a `report_key` its accession number is the key."""
    whole = Report(
        number=0,
        report_key=fields.get("accession_number", "ACC1"),
        status=ReportStatus.FINAL,
        source=ReportSource.HL7,
        text=text,
        patients=(PatientIdentifier(patient_id, issuer),),
        birth_date="19500101",
        accession_number="ACC1",
        study_instance_uid="",
        observed_at="20260301083000",
        reported_at="20260301100000",
        procedure="XR CHEST",
        origin="RIS 1",
        received_at=NOW,
    )
    return replace(whole, **fields)


def a_quarantined_message(content: bytes = b"MSH|", **fields: Any) -> QuarantinedMessage:
    digest = sha256(content).hexdigest()
    whole = QuarantinedMessage(
        number=0,
        at=NOW,
        times=1,
        origin="10.1.2.3",
        reason="it has no MSH segment",
        path=f"quarantine/{digest}.hl7",
        sha256=digest,
        size_bytes=len(content),
        resolved_at=None,
    )
    return replace(whole, **fields)


def an_open_job(index: Index, jobs: Jobs, study: str = STUDY) -> Job:
    """A study of one image and its job, at stage gather."""
    number = put(index, f"{study}.7", study=study).instance.number
    job = jobs.open(study, number, "quiet for 60 s", NOW)
    assert job is not None
    return job


def claimed(jobs: Jobs, stage: Stage = Stage.GATHER, now: datetime = NOW, owner: str = "worker 1") -> Job:
    """The oldest due job of a stage, leased."""
    job = jobs.claim([stage], owner, now, LEASE_SECONDS)
    assert job is not None
    return job


def at_compose(index: Index, jobs: Jobs, study: str = STUDY) -> Job:
    """A job leased at stage compose."""
    an_open_job(index, jobs, study)
    jobs.advance(claimed(jobs), Stage.READ, NOW, manifest_json="{}", event="gathered")
    jobs.advance(claimed(jobs, Stage.READ), Stage.COMPOSE, NOW, reading_json="{}", event="read")
    return claimed(jobs, Stage.COMPOSE)


def a_result(job: Job, kind: str = "report_sr", content: bytes = b"report") -> ResultObject:
    uid = f"{job.study_instance_uid}.{job.revision}.{sum(kind.encode())}"
    digest = sha256(content).hexdigest()
    path = f"results/{job.study_instance_uid}/{kind}.dcm"
    return ResultObject(uid, "1.2.840.10008.5.1.4.1.1.88.11", job.number, kind, path, digest, len(content))


def composed(index: Index, jobs: Jobs, *destinations: str, study: str = STUDY) -> Job:
    """A job at stage deliver with a report and a picture on their way to each destination."""
    job = at_compose(index, jobs, study)
    results = (a_result(job), a_result(job, "secondary_capture"))
    everywhere = {name: [result.sop_instance_uid for result in results] for name in destinations}
    return jobs.advance(job, Stage.DELIVER, NOW, results=results, destinations=everywhere, event="composed")


def claimed_deliveries(
    deliveries: Deliveries, now: datetime = NOW, owner: str = "sender 1"
) -> tuple[Delivery, ...]:
    """All due deliveries of the pair that waits longest, leased."""
    return deliveries.claim(owner, now, LEASE_SECONDS)


def texts(jobs: Jobs, study: str = STUDY) -> list[str]:
    """The sentences in the life of a study."""
    return [event.text for event in jobs.events_of_study(study)]


def done(index: Index, jobs: Jobs, study: str = STUDY, now: datetime = NOW) -> Job:
    """A study of one image that was read and delivered; its job."""
    job = composed(index, jobs, "PACS", study=study)
    for delivery in claimed_deliveries(jobs.deliveries):
        jobs.deliveries.delivered(delivery, 0x0000, now)
    return jobs.job(job.number)


PRIOR = "2.25.50"


def a_prior(uid: str = PRIOR, **fields: Any) -> RequestedStudy:
    """An earlier exam as the archive "arch", which sends as "ARCH", has told of it."""
    return replace(RequestedStudy(uid, 0, "arch", "ARCH", "20250301", NOW), **fields)


def an_asked_archive(
    index: Index, jobs: Jobs, requests: PriorRequests, study: str = STUDY, *archives: str
) -> PriorRequest:
    """A request for the priors of a new job, leased."""
    requests.ask(an_open_job(index, jobs, study).number, archives or ("arch",), NOW, later(60))
    request = requests.claim("asker 1", NOW, LEASE_SECONDS)
    assert request is not None
    return request


def being_fetched(index: Index, jobs: Jobs, requests: PriorRequests) -> PriorRequest:
    """A request whose archive is just sending the study PRIOR."""
    request = requests.found(an_asked_archive(index, jobs, requests), [a_prior()], NOW)
    requests.fetching(request, PRIOR, NOW)
    return request


def an_order(**fields: Any) -> Order:
    whole = Order(
        source="ris",
        accession_number="4711",
        study_instance_uid=STUDY,
        placer_order_number="P1",
        filler_order_number="F1",
        patient_id="A1",
        issuer_of_patient_id="",
        patient_name="Doe^Jane",
        birth_date="19500101",
        sex="F",
        requested_procedure="XR CHEST 2 VIEWS",
        indication="Cough for two weeks.",
        scheduled_date="20260301",
        scheduled_time="0830",
        heard_at=NOW,
    )
    return replace(whole, **fields)
