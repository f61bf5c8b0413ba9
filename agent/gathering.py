"""What the store knows of a patient, laid out for the step `gather`: earlier exams, their images and reports."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.dicom.headers import Headers, Unreadable, read_headers
from agent.dicom.reports import StructuredReport, load_report
from agent.errors import GiveUp, TryLater
from agent.fetching import NOTHING_AWAITED, Awaited, awaited, study_query
from agent.identity import rules_of_peers
from agent.lost import lost
from agent.manifest import ManifestExam, ManifestImage, ManifestReport
from agent.priors import PriorCandidate, PriorRules, choose_priors, days_between, reason_against_study
from agent.reports.choosing import report_for
from agent.sections import ReportText, find_sections, only_points_elsewhere, report_text
from agent.selection import Selection, SelectionRules, select_images
from config.settings import Settings
from inference.engine import PRIOR_USE, PriorUse
from storage.files import Files
from storage.index import Index
from storage.outside_records import ExplainedStudy, Report, ReportStatus
from storage.records import Instance, InstanceRole, Job, KnownPatients, Study
from storage.reports import Reports
from storage.requests import PriorRequests


@dataclass(frozen=True, slots=True)
class Priors:
    """The earlier exams that the model will see, oldest first, what was passed over, and why reports were left."""

    exams: tuple[ManifestExam, ...]
    passed_over: tuple[ExplainedStudy, ...]
    notes: tuple[str, ...] = ()


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


def await_priors(
    job: Job, study: Study, requests: PriorRequests, settings: Settings, now: datetime
) -> Awaited:
    """Asks the archives for the priors of a study, once, and waits until they have come or the wait is over.

    Returns:
        what was asked for and did not come, and what was not asked for; its `reason` is None.

    Raises:
        TryLater: while something may still come. The archives are asked by other workers: see `agent.requesting`.
    """
    archives = [archive.name for archive in settings.archives_for_priors()]
    if (
        not archives
        or study_query(study, settings.reading.priors.window_days, rules_of_peers(settings.peers)) is None
    ):
        return NOTHING_AWAITED
    asked = requests.of_job(job.number)
    if not asked:
        requests.ask(job.number, archives, now, now + timedelta(seconds=settings.reading.priors.wait_seconds))
        asked = requests.of_job(job.number)
    uids = {uid for request in asked for uid in request.study_instance_uids}
    found = awaited(asked, requests.studies(uids), now)
    if found.reason is not None:
        raise TryLater(found.reason, found.after_seconds)
    return found


def selection_of(
    instances: Sequence[Instance], files: Files, settings: Settings, rules: SelectionRules
) -> Selection:
    """Reads the headers of the radiographs among these instances and chooses those a model may see.

    Raises:
        GiveUp: if the file of one is gone.
        TryLater: if the disk with the stored files is away.
    """
    headers: list[Headers] = []
    unreadable: list[tuple[str, str]] = []
    for instance in instances:
        if instance.role is InstanceRole.IMAGE:
            try:
                charset = settings.assumed_charset(instance.calling_ae_title)
                headers.append(read_headers(files.absolute(instance.path), assume_charset=charset))
            except Unreadable as error:
                unreadable.append((instance.sop_instance_uid, error.reason))
            except FileNotFoundError as error:
                raise lost(instance.path, files) from error
    selection = select_images(headers, rules)
    return Selection(selection.images, (*unreadable, *selection.left_out))


def exam_of(
    study: Study,
    images: Sequence[Headers],
    instances: Sequence[Instance],
    settings: Settings,
    *,
    report: ManifestReport | None = None,
    days_before: int | None = 0,
) -> ManifestExam:
    """Writes down one exam as the model will see it."""
    by_uid = {instance.sop_instance_uid: instance for instance in instances}
    return ManifestExam(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date,
        study_time=study.study_time,
        images=tuple(
            ManifestImage(
                sop_instance_uid=image.sop_instance_uid,
                series_instance_uid=image.series_instance_uid,
                path=by_uid[image.sop_instance_uid].path,
                view=image.view.value,
                rows=image.rows,
                columns=image.columns,
                assumed_charset=settings.assumed_charset(by_uid[image.sop_instance_uid].calling_ae_title)
                or "",
            )
            for image in images
        ),
        report=report,
        days_before=days_before,
    )


def prior_rules_of(settings: Settings, current_images: int) -> PriorRules:
    """What `reading.toml` says of priors, as far as the engine can look at them: no other is worth choosing.

    Args:
        current_images: how many images of the current exam the model is shown.
    """
    wanted, name, use = settings.reading.priors, settings.reading.engine.name, _use_of(settings)
    count_max, count_because = wanted.count_max, f"priors.count_max = {wanted.count_max}"
    if use.count_max < count_max:
        count_max, count_because = use.count_max, f"engine {name} looks at {use.count_max or 'none'}"
    if count_max and use.images_with_current_max <= current_images:
        taken = f"engine {name} takes {use.images_with_current_max} with those of a prior"
        count_max, count_because = 0, f"the current exam has {current_images} images, {taken}"
    needs_report = use.report_letters_min > 0
    return PriorRules(
        count_max=count_max,
        count_because=count_because,
        window_days=wanted.window_days,
        report="required" if needs_report else wanted.report,
        report_because=f"engine {name} needs one{'' if use.takes_impression else ' with findings'}"
        if needs_report
        else f'priors.report = "{wanted.report}"',
        views=wanted.views,
    )


def priors_to_fetch(settings: Settings) -> PriorRules:
    """What is worth fetching: as for those that are here, but what an exam holds is not known before it comes."""
    rules = prior_rules_of(settings, current_images=1)
    count_max = settings.reading.priors.count_max if rules.count_max else 0
    return replace(rules, count_max=count_max, report="optional")


def priors_of(
    current: Study,
    current_images: int,
    index: Index,
    files: Files,
    reports: Reports,
    settings: Settings,
    asked: Awaited = NOTHING_AWAITED,
) -> Priors:
    """Chooses the earlier exams of the patient from what is in the store, with the reason for each that is there.

    Args:
        current_images: how many images of the current exam the model is shown.
        asked: what archives answered; radiographs that only they have are passed over.
    """
    rules, use = prior_rules_of(settings, current_images), _use_of(settings)
    images_max = min(
        settings.reading.priors.images_max, use.images_max, use.images_with_current_max - current_images
    )
    history = index.history(current.identifiers)
    studies = [study for study in history.studies if study.study_instance_uid != current.study_instance_uid]
    # Files are opened only of those that patient and time leave in question: a patient may have hundreds.
    open_ones = [
        study.study_instance_uid
        for study in studies
        if reason_against_study(current, study, rules, history.known) is None
    ]
    instances = index.instances_of(open_ones)
    exams: dict[str, ManifestExam] = {}
    candidates: list[PriorCandidate] = []
    left: dict[str, tuple[str, ...]] = {}
    for study in studies:
        candidate = PriorCandidate(study)
        if study.study_instance_uid in instances:
            of_study = instances[study.study_instance_uid]
            selection = _selection_of_prior(of_study, files, settings)
            others = [other for other in studies if other is not study]
            report, left[study.study_instance_uid] = _report_of(
                study, others, of_study, history.known, files, reports, settings
            )
            candidate = _candidate(study, selection, report, use)
            exams[study.study_instance_uid] = exam_of(
                study,
                selection.images[:images_max],
                of_study,
                settings,
                report=report,
                days_before=days_between(study.study_date, current.study_date),
            )
        candidates.append(candidate)
    choice = choose_priors(current, candidates, rules, history.known)
    here = {study.study_instance_uid for study in studies}
    elsewhere = [one for one in asked.passed_over if one.study_instance_uid not in here]
    return Priors(
        exams=tuple(
            replace(exams[one.study_instance_uid], chosen_because=one.reason) for one in choice.chosen
        ),
        passed_over=(*choice.passed_over, *elsewhere),
        notes=tuple(
            f"prior {one.study_instance_uid}: {reason}"
            for one in choice.chosen
            for reason in left[one.study_instance_uid]
        )
        + asked.notes,
    )


def _selection_of_prior(instances: Sequence[Instance], files: Files, settings: Settings) -> Selection:
    """As `selection_of`; a file that is gone costs the exam."""
    try:
        return selection_of(instances, files, settings, rules_of(settings))
    except GiveUp as error:
        return Selection((), tuple((instance.sop_instance_uid, error.reason) for instance in instances))


def _use_of(settings: Settings) -> PriorUse:
    return PRIOR_USE.get(settings.reading.engine.name, PriorUse())


def _candidate(
    study: Study, selection: Selection, report: ManifestReport | None, use: PriorUse
) -> PriorCandidate:
    because = "; ".join(sorted({reason for _, reason in selection.left_out})) or "no radiograph is here"
    counts = report is not None and (use.takes_impression or report.section != "impression")
    letters = sum(letter.isalpha() for letter in report.text) if report is not None else 0
    return PriorCandidate(
        study,
        no_image_because=None if selection.images else because,
        has_frontal_image=any(image.is_frontal is not False for image in selection.images),
        has_report=counts and letters >= use.report_letters_min,
    )


def _report_of(
    study: Study,
    others: Sequence[Study],
    instances: Sequence[Instance],
    known: KnownPatients,
    files: Files,
    reports: Reports,
    settings: Settings,
) -> tuple[ManifestReport | None, tuple[str, ...]]:
    """The report of an exam that holds, as DICOM or from outside it, and why others were left."""
    choice = report_for(study, others, reports, known, settings)
    structured = _newest_structured_report(instances, files, settings)
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
    instances: Sequence[Instance], files: Files, settings: Settings
) -> tuple[StructuredReport, str] | None:
    """The structured report that holds, of those that are no drafts of ours, with its SOP Instance UID.

    A verified one before any other, then the one written last, then the one that came last: an archive sends them
    in any order.
    """
    found = [
        (report, instance.sop_instance_uid)
        for instance in instances
        if instance.role is InstanceRole.REPORT
        and (report := _structured_report(instance, files, settings)) is not None
    ]
    return max(reversed(found), key=lambda one: (one[0].is_verified, one[0].written_at), default=None)


def _structured_report(instance: Instance, files: Files, settings: Settings) -> StructuredReport | None:
    charset = settings.assumed_charset(instance.calling_ae_title)
    try:
        return load_report(files.absolute(instance.path), assume_charset=charset)
    except FileNotFoundError:
        lost(instance.path, files)
        return None


def _shown(text: ReportText | None, sop_instance_uid: str, origin: str) -> ManifestReport | None:
    """What of a report the model sees: its findings, else its impression, each with the addenda, else all of it."""
    if text is None:
        return None
    for section, words in (("findings", text.findings), ("impression", text.impression)):
        if words and not only_points_elsewhere(words):
            told = _with_addenda(words, text.addenda)
            return ManifestReport(told, section, sop_instance_uid, origin, bool(text.addenda))
    return ManifestReport(text.whole, "whole", sop_instance_uid, origin)


def _with_addenda(words: str, addenda: Sequence[str]) -> str:
    """A section and below it the addenda, each ended: engines that join lines would run one into the next."""
    if not addenda:
        return words
    return "\n".join(one if one.endswith((".", "!", "?", "。")) else f"{one}." for one in (words, *addenda))
