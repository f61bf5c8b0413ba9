"""What the store knows of a patient, laid out for the step `gather`: earlier exams, their images and reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.dicom.headers import Headers, Unreadable, read_headers
from agent.dicom.reports import StructuredReport, load_report
from agent.errors import TryLater
from agent.fetching import awaited, study_query
from agent.manifest import ManifestExam, ManifestImage, ManifestReport, PassedOverStudy
from agent.priors import PriorCandidate, PriorRules, choose_priors, days_between
from agent.reports.matching import choose_report
from agent.sections import ReportText, find_sections, report_text
from agent.selection import Selection, SelectionRules, select_images
from config.settings import Settings
from storage.files import Files
from storage.index import Index
from storage.records import Instance, InstanceRole, Job, Report, ReportStatus, Study
from storage.reports import Reports
from storage.requests import PriorRequests


@dataclass(frozen=True, slots=True)
class Priors:
    """The earlier exams that the model will see, oldest first, and what was passed over."""

    exams: tuple[ManifestExam, ...]
    passed_over: tuple[PassedOverStudy, ...]
    notes: tuple[str, ...]


def rules_of(settings: Settings) -> SelectionRules:
    """What `reading.toml` says of studies, as the pure rules take it."""
    study = settings.reading.study
    return SelectionRules(
        settle_seconds=study.settle_seconds,
        complete_when_views=frozenset(study.complete_when_views),
        study_age_days_max=study.study_age_days_max,
        body_parts=frozenset(part.upper() for part in study.body_parts),
        description_words=frozenset(word.lower() for word in study.description_words),
        read_if_unnamed=study.read_if_unnamed,
        images_max=study.images_max,
    )


def prior_rules_of(settings: Settings) -> PriorRules:
    """What `reading.toml` says of priors, as the pure rules take it."""
    priors = settings.reading.priors
    return PriorRules(count_max=priors.count_max, window_days=priors.window_days)


def await_priors(
    job: Job, study: Study, requests: PriorRequests, settings: Settings, now: datetime
) -> tuple[str, ...]:
    """Asks the archives for the priors of a study, once, and waits until they have come or the wait is over.

    Returns:
        sentences for the reader of the draft on what was asked for and did not come.

    Raises:
        TryLater: while something may still come. The archives are asked by other workers: see `agent.requesting`.
    """
    archives = [archive.name for archive in settings.archives_for_priors()]
    if not archives or study_query(study, prior_rules_of(settings).window_days) is None:
        return ()
    asked = requests.of_job(job.number)
    if not asked:
        requests.ask(job.number, archives, now, now + timedelta(seconds=settings.reading.priors.wait_seconds))
        asked = requests.of_job(job.number)
    uids = {uid for request in asked for uid in request.study_instance_uids}
    found = awaited(asked, requests.studies(uids), now)
    if found.reason is not None:
        raise TryLater(found.reason, found.after_seconds)
    return found.notes


def selection_of(instances: Sequence[Instance], files: Files, rules: SelectionRules) -> Selection:
    """Reads the headers of the radiographs among these instances and chooses those a model may see."""
    headers: list[Headers] = []
    unreadable: list[tuple[str, str]] = []
    for instance in instances:
        if instance.role is InstanceRole.IMAGE:
            try:
                headers.append(read_headers(files.absolute(instance.path)))
            except Unreadable as error:
                unreadable.append((instance.sop_instance_uid, error.reason))
    selection = select_images(headers, rules)
    return Selection(selection.images, (*unreadable, *selection.left_out))


def exam_of(
    study: Study,
    images: Sequence[Headers],
    instances: Sequence[Instance],
    *,
    report: ManifestReport | None = None,
    days_before: int | None = 0,
) -> ManifestExam:
    """Writes down one exam as the model will see it."""
    paths = {instance.sop_instance_uid: instance.path for instance in instances}
    return ManifestExam(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date,
        study_time=study.study_time,
        images=tuple(
            ManifestImage(
                sop_instance_uid=image.sop_instance_uid,
                series_instance_uid=image.series_instance_uid,
                path=paths[image.sop_instance_uid],
                view=image.view.value,
                rows=image.rows,
                columns=image.columns,
            )
            for image in images
        ),
        report=report,
        days_before=days_before,
    )


def priors_of(current: Study, index: Index, files: Files, reports: Reports, settings: Settings) -> Priors:
    """Chooses the earlier exams of the patient from what is in the store, with the reason for each that is not."""
    rules = prior_rules_of(settings)
    exams: dict[str, ManifestExam] = {}
    candidates: list[PriorCandidate] = []
    reasons: dict[str, tuple[str, ...]] = {}
    studies = index.studies_of_patient(current.patient_id) if current.patient_id else ()
    for study in studies:
        if study.study_instance_uid == current.study_instance_uid:
            continue
        instances = index.instances(study.study_instance_uid)
        others = [other for other in studies if other is not study]
        report, reasons[study.study_instance_uid] = _report_of(
            study, others, instances, files, reports, settings
        )
        exam, has_frontal_image = _prior_exam(study, current, instances, files, report, settings)
        exams[study.study_instance_uid] = exam
        candidates.append(PriorCandidate(study, has_frontal_image, exam.report is not None))
    choice = choose_priors(current, candidates, rules)
    chosen = [candidate.study.study_instance_uid for candidate in choice.chosen]
    told = [f"prior {uid}: {reason}" for uid in chosen for reason in reasons[uid]]
    return Priors(
        exams=tuple(exams[uid] for uid in chosen),
        passed_over=tuple(PassedOverStudy(one.study_instance_uid, one.reason) for one in choice.passed_over),
        notes=(*choice.notes, *told),
    )


def _prior_exam(
    study: Study,
    current: Study,
    instances: Sequence[Instance],
    files: Files,
    report: ManifestReport | None,
    settings: Settings,
) -> tuple[ManifestExam, bool]:
    selection = selection_of(instances, files, rules_of(settings))
    images = selection.images[: settings.reading.priors.images_max]
    exam = exam_of(
        study,
        images,
        instances,
        report=report,
        days_before=days_between(study.study_date, current.study_date),
    )
    return exam, any(image.is_frontal is not False for image in images)


def _report_of(
    study: Study,
    others: Sequence[Study],
    instances: Sequence[Instance],
    files: Files,
    reports: Reports,
    settings: Settings,
) -> tuple[ManifestReport | None, tuple[str, ...]]:
    """The newest valid report of an exam, as DICOM or from outside it, and why others were left."""
    versions = reports.versions_for(study.study_instance_uid, study.accession_number, [study.patient_id])
    choice = choose_report(study, versions, others, settings.reading.priors.report_window_hours)
    structured = _newest_structured_report(instances, files)
    if structured is not None and choice.withdrawn_at and structured[0].written_at <= choice.withdrawn_at:
        structured = None
    if choice.attached is not None and (
        structured is None or _is_newer(choice.attached.report, structured[0])
    ):
        report = choice.attached.report
        text = report_text(find_sections(report.text))
        origin = f"{report.source} {report.status} report {report.origin}, by {choice.attached.because}"
        return _shown(text, "", origin), choice.reasons
    if structured is not None:
        found, sop_instance_uid = structured
        return _shown(found.text, sop_instance_uid, f"structured report {sop_instance_uid}"), choice.reasons
    return None, choice.reasons


def _is_newer(report: Report, structured: StructuredReport) -> bool:
    """A report that is not preliminary is worth more than one that nobody has verified; else the later one."""
    is_definite = report.status is not ReportStatus.PRELIMINARY
    return (is_definite, report.reported_at) > (structured.is_verified, structured.written_at)


def _newest_structured_report(
    instances: Sequence[Instance], files: Files
) -> tuple[StructuredReport, str] | None:
    """The structured report that came last and is not a draft of ours, with its SOP Instance UID."""
    for instance in reversed(instances):
        if instance.role is InstanceRole.REPORT:
            report = load_report(files.absolute(instance.path))
            if report is not None:
                return report, instance.sop_instance_uid
    return None


def _shown(text: ReportText | None, sop_instance_uid: str, origin: str) -> ManifestReport | None:
    """What of a report the model sees: its findings, else its impression, else all of it."""
    if text is None:
        return None
    for section, words in (
        ("findings", text.findings),
        ("impression", text.impression),
        ("whole", text.whole),
    ):
        if words:
            return ManifestReport(words, section, sop_instance_uid, origin)
    return None
