"""What the store knows of a patient, laid out for the step `gather`: earlier exams, their images and reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.dicom.headers import Headers, Unreadable, read_headers
from agent.dicom.reports import load_report
from agent.errors import TryLater
from agent.fetching import awaited, study_query
from agent.manifest import ManifestExam, ManifestImage, ManifestReport, PassedOverStudy
from agent.priors import PriorCandidate, PriorRules, choose_priors, days_between
from agent.selection import Selection, SelectionRules, select_images
from config.settings import Settings
from storage.files import Files
from storage.index import Index
from storage.records import Instance, InstanceRole, Job, Study
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
        TryLater: while something may still come. The archives are asked by other workers: see `agent.asking`.
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


def priors_of(current: Study, index: Index, files: Files, settings: Settings) -> Priors:
    """Chooses the earlier exams of the patient from what is in the store, with the reason for each that is not."""
    rules = prior_rules_of(settings)
    exams: dict[str, ManifestExam] = {}
    candidates: list[PriorCandidate] = []
    for study in index.studies_of_patient(current.patient_id) if current.patient_id else ():
        if study.study_instance_uid == current.study_instance_uid:
            continue
        exam, has_frontal_image = _prior_exam(study, current, index, files, settings)
        exams[study.study_instance_uid] = exam
        candidates.append(PriorCandidate(study, has_frontal_image, exam.report is not None))
    choice = choose_priors(current, candidates, rules)
    return Priors(
        exams=tuple(exams[candidate.study.study_instance_uid] for candidate in choice.chosen),
        passed_over=tuple(PassedOverStudy(one.study_instance_uid, one.reason) for one in choice.passed_over),
        notes=choice.notes,
    )


def _prior_exam(
    study: Study, current: Study, index: Index, files: Files, settings: Settings
) -> tuple[ManifestExam, bool]:
    instances = index.instances(study.study_instance_uid)
    selection = selection_of(instances, files, rules_of(settings))
    images = selection.images[: settings.reading.priors.images_max]
    exam = exam_of(
        study,
        images,
        instances,
        report=_newest_report(instances, files),
        days_before=days_between(study.study_date, current.study_date),
    )
    return exam, any(image.is_frontal is not False for image in images)


def _newest_report(instances: Sequence[Instance], files: Files) -> ManifestReport | None:
    """The report that came last and is not a draft of ours; its findings, else its impression, else all of it."""
    for instance in reversed(instances):
        if instance.role is not InstanceRole.REPORT:
            continue
        report = load_report(files.absolute(instance.path))
        if report is None:
            continue
        for section, text in (
            ("findings", report.findings),
            ("impression", report.impression),
            ("whole", report.whole),
        ):
            if text:
                return ManifestReport(text, section, instance.sop_instance_uid)
    return None
