"""Decides which earlier exams archives are asked for, and how long a study waits for them. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.descriptions import names_chest, names_other_part
from agent.dicom.answers import FoundStudy
from agent.identity import IdentifierRules, in_one_form, names_patient_of, number_elsewhere
from agent.priors import PriorCandidate, PriorRules, choose_priors
from agent.selection import RADIOGRAPHY, SelectionRules
from storage.identity import are_two, whole_date
from storage.outside_records import ExplainedStudy, Order, PriorRequest, RequestedStudy
from storage.records import KnownPatients, PatientIdentifier, Study

_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StudyQuery:
    """The studies of one patient within some days.

    Attributes:
        first_date, last_date: "YYYYMMDD", both included.
    """

    patient_id: str
    first_date: str
    last_date: str


@dataclass(frozen=True, slots=True)
class Here:
    """What our own store has of a patient.

    Attributes:
        studies: all that are here, whatever they show.
        shown: Study Instance UIDs of those that would be shown as priors if no other came.
        incomplete: of those that were fetched before and did not come whole.
    """

    studies: Sequence[Study] = ()
    shown: Collection[str] = ()
    incomplete: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class ToFetch:
    """What of an archive's studies is fetched, and why the other radiographs that are not here are not."""

    chosen: tuple[FoundStudy, ...] = ()
    passed_over: tuple[ExplainedStudy, ...] = ()


@dataclass(frozen=True, slots=True)
class Awaited:
    """What a study that is to be read still waits for.

    Attributes:
        reason: a sentence on what it waits for, or None if it waits for nothing.
        after_seconds: when to look again.
        notes: sentences for the reader of the draft on what has not come.
        passed_over: radiographs that only an archive has and that were not fetched.
    """

    reason: str | None
    after_seconds: float
    notes: tuple[str, ...]
    passed_over: tuple[ExplainedStudy, ...] = ()


NOTHING_AWAITED = Awaited(None, 0.0, ())


def study_query(current: Study, window_days: int, rules: IdentifierRules) -> StudyQuery | None:
    """Says what to ask an archive for; None if the study's patient or day is not known, and so no prior can be."""
    last, number = _date(current.study_date), number_elsewhere(current, rules)
    if last is None or not number:
        return None
    first = last - timedelta(days=window_days)
    return StudyQuery(number, f"{first:%Y%m%d}", f"{last:%Y%m%d}")


def choose_to_fetch(
    current: Study,
    found: Sequence[FoundStudy],
    here: Here,
    rules: PriorRules,
    shown_max: int,
    chests: SelectionRules,
    known: KnownPatients,
) -> ToFetch:
    """Chooses, of the studies that an archive has, those that would be priors and are not here yet.

    The rules are those of `agent.priors`: nothing is moved that would be passed over for its patient or its date, or
    since enough of what is here goes first, nor what its description names as another part of the body. What an exam
    holds is not known before it comes, so as many are fetched as `rules` take, even if fewer are shown: those that are
    named as chests first, then the doubtful ones. A study whose modalities nobody tells may be a radiograph.

    Args:
        rules: with the number that is fetched at most.
        shown_max: how many priors the model is shown.
        chests: what a site takes for a radiograph of the chest.
        known: links between the patient's identifiers.
    """
    uids_here = {study.study_instance_uid for study in here.studies}
    whole = uids_here - set(here.incomplete)
    theirs = {
        one.study.study_instance_uid: one
        for one in found
        if one.study.study_instance_uid not in whole
        and (not one.study.modalities or RADIOGRAPHY & set(one.study.modalities))
    }
    shown = set(here.shown) - set(theirs)
    ours = [PriorCandidate(study) for study in here.studies if study.study_instance_uid in shown]
    candidates = [
        PriorCandidate(one.study, no_image_because=names_other_part(one.study.study_description, chests))
        for one in theirs.values()
    ]
    worth, not_worth = _beside(current, ours, candidates, replace(rules, count_max=shown_max), known)
    named = [replace(one, is_named_chest=names_chest(one.study.study_description, chests)) for one in worth]
    fetched = replace(rules, count_because=f"priors.count_max = {rules.count_max}")
    choice = choose_priors(current, named, fetched, known)
    return ToFetch(
        chosen=tuple(theirs[one.study_instance_uid] for one in choice.chosen),
        passed_over=tuple(
            one for one in (*not_worth, *choice.passed_over) if one.study_instance_uid not in uids_here
        ),
    )


def _beside(
    current: Study,
    ours: Sequence[PriorCandidate],
    theirs: Sequence[PriorCandidate],
    rules: PriorRules,
    known: KnownPatients,
) -> tuple[list[PriorCandidate], list[ExplainedStudy]]:
    """Parts those of theirs that would be shown beside ours, each taken by itself, from the others."""
    worth, not_worth = [], []
    for candidate in theirs:
        choice = choose_priors(current, [candidate, *ours], rules, known)
        uid = candidate.study.study_instance_uid
        against = [one for one in choice.passed_over if one.study_instance_uid == uid]
        not_worth += against
        if not against:
            worth.append(candidate)
    return worth, not_worth


def what_is_missing(came: int, failed: int | None, *, is_whole: bool) -> str | None:
    """Says in a few words what of a fetched study is missing, or None.

    Args:
        came: objects of it that are here now.
        failed: those that the archive says it could not send; None if it did not count.
        is_whole: True if the archive said that it has sent everything.
    """
    if came == 0:
        return "nothing came"
    if failed:
        return f"{came} of {came + failed} objects came"
    return None if is_whole else f"{came} objects came before it broke off"


def awaited(requests: Sequence[PriorRequest], studies: Sequence[RequestedStudy], now: datetime) -> Awaited:
    """Says what a job waits for, and what it will not get any more.

    Args:
        requests: those of the job.
        studies: what became of the studies that the requests chose.
    """
    by_uid = {study.study_instance_uid: study for study in studies}
    waits: list[str] = []
    notes: list[str] = []
    for request in requests:
        seconds = (request.expires_at - request.asked_at).total_seconds()
        is_over = now >= request.expires_at
        if request.note:
            notes.append(request.note)
        if request.found_at is None and request.failed_at is not None:
            notes.append(f"{request.archive} could not be asked for earlier exams")
        elif request.found_at is None:
            silent = f"{request.archive} was asked for earlier exams and did not answer in {seconds:g} s"
            (notes if is_over else waits).append(
                silent if is_over else f"earlier exams from {request.archive}"
            )
        for uid in request.study_instance_uids:
            if uid not in by_uid:
                continue  # it was here already
            missing = _still_missing(by_uid[uid], seconds, is_over=is_over)
            if missing is None and by_uid[uid].ended_at is None:
                waits.append(f"prior of {_day(by_uid[uid].study_date)} from {by_uid[uid].archive}")
            elif missing is not None:
                notes.append(missing)
    reason = f"waits for {', '.join(dict.fromkeys(waits))}" if waits else None
    after_seconds = _look_again(requests, now) if waits else 0.0
    return Awaited(reason, after_seconds, tuple(dict.fromkeys(notes)), _left_in_archives(requests))


def _left_in_archives(requests: Sequence[PriorRequest]) -> tuple[ExplainedStudy, ...]:
    left = {
        one.study_instance_uid: ExplainedStudy(one.study_instance_uid, f"{one.reason} (in {request.archive})")
        for request in reversed(requests)  # of an exam in two archives, the reason of the one asked first
        for one in request.passed_over
    }
    return tuple(left.values())


def _still_missing(study: RequestedStudy, seconds: float, *, is_over: bool) -> str | None:
    asked = f"prior of {_day(study.study_date)} was asked from {study.archive}"
    if study.ended_at is not None:
        return f"{asked}: {study.problem}" if study.problem else None
    return f"{asked} and did not come in {seconds:g} s" if is_over else None


def _look_again(requests: Sequence[PriorRequest], now: datetime) -> float:
    """A second at first, then less and less often, and never after the end."""
    waited = max((now - request.asked_at).total_seconds() for request in requests)
    left = max((request.expires_at - now).total_seconds() for request in requests)
    return max(0.05, min(max(_POLL_SECONDS, waited / 4), left))


def order_of(study: Study, orders: Sequence[Order], rules: IdentifierRules) -> Order | None:
    """Chooses the order that a study was made for, or None.

    Args:
        orders: those that name the study or its accession number, newest first. One of another patient is no
            order of this study: accession numbers are given twice, too.
    """
    return next((order for order in orders if _is_same_patient(study, order, rules)), None)


def exam_ordered(order: Order) -> Study:
    """Gives the exam that an order is for, as if it had come, so that its priors can be chosen.

    An order without a day is taken for today's, by the clock of when it was heard.
    """
    return Study(
        study_instance_uid=order.study_instance_uid,
        patient_id=order.patient_id,
        issuer_of_patient_id=order.issuer_of_patient_id,
        patient_name=order.patient_name,
        birth_date=order.birth_date,
        sex=order.sex,
        study_date=order.scheduled_date or f"{order.heard_at.astimezone():%Y%m%d}",
        study_time=order.scheduled_time,
        accession_number=order.accession_number,
        study_description=order.requested_procedure,
    )


def _is_same_patient(study: Study, order: Order, rules: IdentifierRules) -> bool:
    if are_two(whole_date(study.birth_date), whole_date(order.birth_date)):
        return False
    named = PatientIdentifier(order.patient_id, order.issuer_of_patient_id)
    if names_patient_of(in_one_form([named], rules), study):
        return True
    # What identifies nobody, "UNKNOWN", is the same on both sides where study or accession number are, too.
    is_same_issuer = not are_two(study.issuer_of_patient_id.strip(), named.issuer.strip())
    return is_same_issuer and study.patient_id.strip() == named.patient_id.strip() != ""


def _date(text: str) -> datetime | None:
    digits = text.strip().replace(".", "")
    try:
        return datetime.strptime(digits, "%Y%m%d") if len(digits) == 8 else None  # noqa: DTZ007 - a DICOM date
    except ValueError:
        return None


def _day(date: str) -> str:
    day = _date(date)
    return f"{day:%Y-%m-%d}" if day is not None else "an unknown day"
