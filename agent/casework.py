"""What needs pixels: a Manifest becomes a Case, a Reading becomes objects, an Answer a picture."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.dicom.charsets import declare_charset
from agent.dicom.headers import Unreadable
from agent.dicom.opening import CONTENT_ERRORS, read_header_dataset, read_whole
from agent.dicom.pixels import FILE_BYTES_MAX, load
from agent.dicom.uids import derived_uid, path_of
from agent.errors import GiveUp
from agent.lost import lost
from agent.manifest import Manifest, ManifestExam, as_shown, load_manifest, load_reading, not_shown
from agent.outgoing.building import message_for
from agent.outgoing.draft import Draft, study_date_of, study_time_of
from agent.outputs import (
    KINDS_WITH_PICTURES,
    OUTPUTS,
    Device,
    Narrative,
    Ordered,
    Predecessor,
    Sources,
    Stamp,
    build,
    encode,
    needs_pixels,
)
from agent.outputs.capture import KIND as PICTURE_KIND
from agent.outputs.capture import draw, layout_of
from agent.outputs.encapsulated_pdf import KIND as PDF_KIND
from agent.outputs.marks import images_of, marked_images, marks_of
from agent.outputs.report_sr import KIND as REPORT_KIND
from agent.outputs.report_sr import reasons_of
from agent.outputs.withdrawal import (
    REJECTION_KIND,
    build_rejection_note,
    build_withdrawal_picture,
    build_withdrawal_sr,
)
from agent.outputs.wording import not_made
from config.settings import Settings
from inference.calibration import Calibration
from inference.case import Case, Exam, Image, View
from inference.question import Answer
from inference.reading import EngineIdentity, Finding, Reading, Status
from storage.files import Files
from storage.jobs import Jobs
from storage.records import Job, ResultObject, Study

if TYPE_CHECKING:
    from pydicom import Dataset

log = structlog.get_logger()

_REPORTS = frozenset({"report_sr", "findings_sr", "findings_sr_air"})
"""Who takes one of these takes structured reports."""

_LIKELY_OF_ODD_SOURCES = (*CONTENT_ERRORS, RuntimeError, AssertionError, GiveUp)
"""Not of a disk or of memory, which may be there again at the next try."""

_TELLING = (PDF_KIND, REPORT_KIND)
"""The kinds that tell in words what is missing of a draft; made last, the text report at the very end."""

Rendering = Literal["voi", "minmax", "equalised"]


def case_of(manifest: Manifest, files: Files, settings: Settings) -> tuple[Case, tuple[str, ...]]:
    """Loads every image of the manifest and renders it for the model.

    Returns:
        The case, and a sentence for each prior that had to stay out because one of its images cannot be shown.

    Raises:
        GiveUp: if an image of the current study cannot be shown, or its rule's adapter is no longer there.
        TryLater: if the whole folder of files is away.
    """
    adapter, rendering = _adapter(manifest, settings), settings.reading.engine.rendering
    current = Exam(tuple(_images(manifest.current, files, rendering)))
    priors: list[Exam] = []
    problems: list[str] = []
    for prior in manifest.priors:
        try:
            images = tuple(_images(prior, files, rendering))
        except GiveUp as error:
            problems.append(not_shown(prior.study_instance_uid, error.reason))
        else:
            exam = Exam(images, days_before=prior.days_before)
            if prior.report is not None:
                exam = replace(exam, report=prior.report.text, report_section=prior.report.section)
            priors.append(exam)
    return Case(current, tuple(priors), manifest.indication, adapter), tuple(problems)


def _adapter(manifest: Manifest, settings: Settings) -> str | None:
    rule = manifest.rule
    if rule is None or rule.adapter is None:
        return None
    if rule.adapter not in [one.name for one in settings.reading.adapters]:
        raise GiveUp(
            f'adapter "{rule.adapter}", which rule "{rule.name}" reads with, is no longer in reading.toml; put it '
            f"back, then: preread again {manifest.current.study_instance_uid}"
        )
    return rule.adapter


def _images(exam: ManifestExam, files: Files, rendering: Rendering) -> list[Image]:
    loaded = []
    for one in exam.images:
        try:
            image = load(files.absolute(one.path), rendering=rendering, key=one.sop_instance_uid)
        except FileNotFoundError as error:
            raise lost(one.path, files) from error
        loaded.append(
            Image(image.key, image.pixels, View(one.view), image.row_spacing_mm, image.column_spacing_mm)
        )
    return loaded


def drawn_answer(answer: Answer, manifest: Manifest, files: Files) -> NDArray[np.uint8]:
    """Draws the current image that was asked about, with the places of the answer.

    Returns:
        RGB (rows, columns, 3), laid out as a secondary capture; not the size of the stored image.

    Raises:
        GiveUp: if the image cannot be shown.
    """
    asked_about = answer.turns[-1].image_keys[-1]
    exam = replace(
        manifest.current,
        images=tuple(image for image in manifest.current.images if image.sop_instance_uid == asked_about),
    )
    (header,), (image,) = _headers(exam, files), _images(exam, files, "voi")
    findings = tuple(Finding(place.name, Status.PRESENT, boxes=place.boxes) for place in answer.places)
    reading = Reading(findings, answer.text, answer.turns, answer.engine)
    marks = marks_of(Sources((header,)), reading).on(header)
    foot = f"{answer.engine.model_name} {answer.engine.version}, task {answer.task}"
    return draw(image, layout_of(header), marks, answer.engine, foot)


def calibrations_of(settings: Settings) -> tuple[Calibration, ...]:
    """What `reading.toml` says of scores, as the pure rules take it."""
    return tuple(
        Calibration(one.finding, one.slope, one.intercept, one.fitted_on, one.weights_digest)
        for one in settings.reading.calibrations
    )


def results_of(
    job: Job,
    manifest: Manifest,
    reading: Reading,
    files: Files,
    jobs: Jobs,
    settings: Settings,
    kinds: Collection[str],
) -> tuple[tuple[ResultObject, ...], tuple[str, ...]]:
    """Makes and writes the objects of these kinds.

    The same job gives the same UIDs again; the same bytes only by the same version and under the same settings.

    Returns:
        The objects, and a sentence for each kind that could not be made. Each of them but the text report may fail:
        an odd value in one image shall not cost the draft.

    Raises:
        Exception: what went wrong, if it was the text report or nothing else was made.
    """
    manifest = as_shown(manifest, reading)
    predecessors = _predecessors(job, files, jobs)
    with_pixels = not KINDS_WITH_PICTURES.isdisjoint(kinds)
    unseen, unseen_pixels = _no_longer_seen(
        manifest.current, predecessors, files, jobs, with_pixels=with_pixels
    )
    sources = Sources(
        current=_headers(manifest.current, files, with_pixels_where_needed=True),
        priors=tuple(_prior_headers(manifest, files)),
        pixels=unseen_pixels | _pixels(manifest.current, files) if with_pixels else {},
        predecessors=predecessors,
        no_longer_seen=unseen,
        ordered=_ordered(manifest),
    )
    narrative, stamp = _narrative(manifest), _stamp(job, settings)
    made: dict[str, tuple[ResultObject, ...]] = {}
    failures: list[Exception] = []
    problems: list[str] = []
    for kind in sorted(kinds, key=lambda kind: _TELLING.index(kind) if kind in _TELLING else -1):
        told = replace(narrative, notes=(*narrative.notes, *problems))
        try:
            datasets = build(kind, sources, reading, told, stamp)
            made[kind] = tuple(_kept(dataset, kind, job.number, files) for dataset in datasets)
        except _LIKELY_OF_ODD_SOURCES as error:
            if kind == REPORT_KIND:
                raise
            log.exception("internal error; the draft goes without", job=job.number, kind=kind)
            failures.append(error)
            problems.append(not_made(kind, job.number))
    if failures and not any(made.values()):
        raise failures[0]
    return tuple(one for kind in kinds for one in made.get(kind, ())), tuple(problems)


def withdrawal_objects(
    job: Job,
    manifest: Manifest,
    engine: EngineIdentity,
    because: str,
    held: Mapping[str, Sequence[ResultObject]],
    files: Files,
    jobs: Jobs,
    settings: Settings,
) -> dict[str, ResultObject]:
    """Makes and writes what tells each destination that a draft is withdrawn, by the destination's name.

    Args:
        job: the draft's, with revision and time of the withdrawal.
        held: what each destination may hold; those that hold nothing are told nothing.
    """
    sources = Sources(
        current=_headers(manifest.current, files),
        predecessors=_predecessors(job, files, jobs),
        ordered=_ordered(manifest),
    )
    stamp = _stamp(job, settings)
    made = {}
    for index, destination in enumerate(settings.peers.destinations):
        objects = [one for one in held.get(destination.name, ()) if one.kind in OUTPUTS]
        if not objects:
            continue
        if destination.rejection_notes:
            rejected = [read_header_dataset(files.absolute(one.path)) for one in objects]
            kind, note = (
                REJECTION_KIND,
                build_rejection_note(sources, rejected, index, because, engine, stamp),
            )
        elif _REPORTS.isdisjoint(one.kind for one in objects):
            kind, note = PICTURE_KIND, build_withdrawal_picture(sources, because, engine, stamp)
        else:
            kind, note = "report_sr", build_withdrawal_sr(sources, because, engine, stamp)
        made[destination.name] = _kept(note, kind, job.number, files)
    return made


def _kept(dataset: "Dataset", kind: str, job_number: int, files: Files) -> ResultObject:
    """Writes an object and gives its row.

    Its file is named by its bytes, too: what a try wrote before it was cut off has no row and was sent to nobody, and
    the next try may make other bytes under the same UID, since time, version or settings are others by then.
    """
    uid, content = str(dataset.SOPInstanceUID), encode(dataset)
    digest = hashlib.sha256(content).hexdigest()
    path = f"{path_of('results', uid)}.{digest[:16]}.dcm"
    files.put(path, content)
    return ResultObject(uid, str(dataset.SOPClassUID), job_number, kind, path, digest, len(content))


def draft_of(
    job: Job,
    manifest: Manifest,
    reading: Reading,
    study: Study,
    files: Files,
    jobs: Jobs,
    settings: Settings,
) -> Draft:
    """Gathers what messages tell of a draft, its objects aside."""
    manifest = as_shown(manifest, reading)
    sources = Sources(
        current=_headers(manifest.current, files),
        priors=tuple(_prior_headers(manifest, files)),
    )
    narrative, stamp = _narrative(manifest), _stamp(job, settings)
    marks = marks_of(sources, reading)
    reasons = reasons_of(sources, reading, narrative, marks)
    earlier = [
        one
        for one in jobs.jobs_of_study(job.study_instance_uid)
        if one.revision < job.revision and one.reading_json is not None and jobs.results_of_job(one.number)
    ]
    return Draft(
        study=study,
        order=manifest.order,
        revision=job.revision,
        made_at=stamp.now,
        observed_at=_observed_at(study),
        device=stamp.device,
        reading=reading,
        marks=marks.marks,
        indication=manifest.indication,
        reasons=tuple(words for key, words in reasons if key != "turn"),
        replaces=max((one.revision for one in earlier), default=None),
        earlier=tuple(load_reading(one.reading_json or "").findings for one in earlier),
    )


def messages_of(
    draft: Draft, job_number: int, files: Files, settings: Settings, *, names: Collection[str] | None = None
) -> dict[str, ResultObject]:
    """Makes and writes what each receiver gets of a draft, by the receiver's name.

    Args:
        names: of those who get it; None for all.
    """
    made = {}
    for receiver in settings.peers.receivers:
        if names is not None and receiver.name not in names:
            continue
        message = message_for(receiver, draft)
        path = path_of("messages", message.uid) + message.ending
        files.put(path, message.content)
        digest = hashlib.sha256(message.content).hexdigest()
        size_bytes = len(message.content)
        made[receiver.name] = ResultObject(
            message.uid, "", job_number, message.kind, path, digest, size_bytes
        )
    return made


def _observed_at(study: Study) -> datetime | None:
    """Study date and time in the zone of this machine; None without a time, or where its clock ends (year 1)."""
    day, time = study_date_of(study), study_time_of(study)
    if not (day and time):
        return None
    try:
        return datetime.strptime(day + time.ljust(6, "0"), "%Y%m%d%H%M%S").astimezone()
    except (ValueError, OverflowError):
        return None


def _headers(
    exam: ManifestExam, files: Files, *, with_pixels_where_needed: bool = False
) -> "tuple[Dataset, ...]":
    """Reads the headers of an exam's images; whole images where a presentation state must find its own window.

    Each names the character set that its text is written in, also where its sender did not.
    """
    headers = []
    for image in exam.images:
        path = files.absolute(image.path)
        try:
            header = read_header_dataset(path)
            declare_charset(header, image.assumed_charset or None)
            if with_pixels_where_needed and needs_pixels(header):
                header = read_whole(path, bytes_max=FILE_BYTES_MAX)
                declare_charset(header, image.assumed_charset or None)
        except Unreadable as error:
            raise GiveUp(f"study {exam.study_instance_uid}: {error.reason}") from error
        except FileNotFoundError as error:
            raise lost(image.path, files) from error
        headers.append(header)
    return tuple(headers)


def _prior_headers(manifest: Manifest, files: Files) -> "Iterator[Dataset]":
    """The headers of priors that can be referred to; one that was deleted meanwhile is named by the Manifest alone."""
    for prior in manifest.priors:
        with suppress(GiveUp):
            yield from _headers(prior, files)


def _ordered(manifest: Manifest) -> Ordered:
    order = manifest.order
    if order is None:
        return Ordered()
    return Ordered(order.placer_order_number, order.filler_order_number, order.requested_procedure)


def _pixels(exam: ManifestExam, files: Files) -> dict[str, Image]:
    # A picture is for people: always as a viewer would show it, whatever the model was shown.
    return {image.key: image for image in _images(exam, files, "voi")}


def _predecessors(job: Job, files: Files, jobs: Jobs) -> tuple[Predecessor, ...]:
    earlier = jobs.previous_results(job.study_instance_uid, job.revision)
    revisions = {one.number: one.revision for one in jobs.jobs_of_study(job.study_instance_uid)}
    predecessors = []
    for result in earlier:
        if result.kind not in OUTPUTS:
            continue
        made = read_header_dataset(files.absolute(result.path))
        predecessors.append(
            Predecessor(
                kind=result.kind,
                study_instance_uid=job.study_instance_uid,
                series_instance_uid=str(made.SeriesInstanceUID),
                sop_class_uid=result.sop_class_uid,
                sop_instance_uid=result.sop_instance_uid,
                revision=revisions[result.job_number],
                images=images_of(made),
                marked=marked_images(made),
            )
        )
    return tuple(predecessors)


def _no_longer_seen(
    current: ManifestExam,
    predecessors: Sequence[Predecessor],
    files: Files,
    jobs: Jobs,
    *,
    with_pixels: bool,
) -> "tuple[tuple[Dataset, ...], dict[str, Image]]":
    """The headers and, if asked for, pixels of images that objects of earlier revisions are of, and that the model
    did not see this time."""
    seen = {image.sop_instance_uid for image in current.images}
    wanted = dict.fromkeys(uid for one in predecessors for uid in one.images if uid not in seen)
    if not wanted:
        return (), {}
    manifests = [
        load_manifest(one.manifest_json)
        for one in jobs.jobs_of_study(current.study_instance_uid)
        if one.manifest_json is not None
    ]
    known = {image.sop_instance_uid: image for one in manifests for image in one.current.images}
    unseen = replace(current, images=tuple(known[uid] for uid in wanted if uid in known))
    with suppress(GiveUp):  # deleted meanwhile: then nobody can show it either
        headers = _headers(unseen, files, with_pixels_where_needed=True)
        return headers, _pixels(unseen, files) if with_pixels else {}
    return (), {}


def _narrative(manifest: Manifest) -> Narrative:
    """What there is to say of a Manifest as the model saw it."""
    dated = [prior.study_date or "without a date" for prior in manifest.priors]
    passed_over = [(one.study_instance_uid, one.reason) for one in manifest.passed_over]
    return Narrative(
        indication=manifest.indication,
        comparison=", ".join(f"chest radiograph {_readable(day)}" for day in dated) or None,
        reports=_reports(manifest.priors),
        chosen=tuple((prior.study_instance_uid, prior.chosen_because) for prior in manifest.priors),
        passed_over=(*passed_over, *manifest.left_out),
        complete_because=manifest.complete_because,
        notes=(*manifest.notes, *other_parts(manifest)),
    )


def other_parts(manifest: Manifest) -> tuple[str, ...]:
    """A sentence for each report of which the model saw another part than the findings: models learned from findings.

    Args:
        manifest: as the model saw it.
    """
    said = {
        "whole": "all of it",
        "impression": "its impression",
        "impression and addendum": "its impression with the addendum",
    }
    return tuple(
        f"The report of the earlier exam {prior.study_instance_uid} does not set findings apart; "
        f"{said[prior.report.part]} was taken."
        for prior in manifest.priors
        if prior.report is not None and prior.report.section != "findings"
    )


def _reports(priors: Sequence[ManifestExam]) -> tuple[str, ...]:
    return tuple(
        f"{prior.report.part} of the report of {_readable(prior.study_date)}, "
        f"{prior.report.origin or prior.report.sop_instance_uid}"
        for prior in priors
        if prior.report is not None
    )


def _readable(day: str) -> str:
    """A DICOM date as 2025-06-01; anything else as it is."""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else day


def _stamp(job: Job, settings: Settings) -> Stamp:
    device, outputs = settings.agent.device, settings.reading.outputs
    return Stamp(
        # Not the time of this try: composing the same job again must make the same bytes.
        now=job.opened_at.astimezone(),
        device=Device(
            software_version=version("preread"),
            serial_number=device.device_serial_number,
            uid=derived_uid("device", device.ae_title, device.device_serial_number),
            institution_name=device.institution_name,
        ),
        revision=job.revision,
        language=outputs.language,
        charset=outputs.charset,
        series_number_base=outputs.series_number_base,
    )
