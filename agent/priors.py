"""Decides which earlier exams belong to a case, and says of each why it does or does not. Pure.

A wrong prior is worse than none: it is another person's chest. So where the headers leave a doubt about who
the patient is (`agent.identity`), the exam is passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from agent.identity import difference, digits_of, evidence
from storage.outside_records import ExplainedStudy
from storage.records import KnownPatients, Study

Report = Literal["optional", "preferred", "required"]


@dataclass(frozen=True, slots=True)
class PriorRules:
    """What a site wants of priors and its engine can look at.

    Attributes:
        count_max: priors at most; the newest are taken.
        count_because, report_because: where these come from, for the reasons: a setting or the engine.
        window_days: how many days before the current exam a prior may lie.
        report: whether an exam with a radiologist's report goes before a newer one without, or is the only kind taken.
        views: "frontal" passes over an exam without a frontal image.
    """

    count_max: int = 3
    count_because: str = "priors.count_max = 3"
    window_days: int = 1825
    report: Report = "optional"
    report_because: str = 'priors.report = "optional"'
    views: Literal["frontal", "any"] = "frontal"


@dataclass(frozen=True, slots=True)
class PriorCandidate:
    """An exam that may be a prior.

    Attributes:
        study: as the index knows it; text as sent.
        no_image_because: why none of its images can be shown, or None if one can.
        has_frontal_image: False if none of its images can be a frontal radiograph.
        has_report: True if somebody else's report is there, with words enough for the engine.
        is_named_chest: False if nobody has looked at it and nothing says that it shows the chest: then it goes behind.
    """

    study: Study
    no_image_because: str | None = None
    has_frontal_image: bool = True
    has_report: bool = False
    is_named_chest: bool = True


@dataclass(frozen=True, slots=True)
class PriorChoice:
    """What `choose_priors` decided. Every candidate is in `chosen` or in `passed_over`.

    Attributes:
        chosen: oldest first.
        passed_over: in the order of the candidates.
    """

    chosen: tuple[ExplainedStudy, ...] = ()
    passed_over: tuple[ExplainedStudy, ...] = ()


def choose_priors(
    current: Study,
    candidates: Sequence[PriorCandidate],
    rules: PriorRules,
    known: KnownPatients | None = None,
) -> PriorChoice:
    """Chooses the newest exams of the same patient that lie before the current one and that the engine can use.

    Args:
        known: links between patient identifiers; None = there are none.
    """
    known = known or KnownPatients()
    reasons: dict[int, str] = {}
    seen: set[str] = set()
    for place, candidate in enumerate(candidates):
        twice = candidate.study.study_instance_uid in seen
        seen.add(candidate.study.study_instance_uid)
        reason = "it is listed twice" if twice else _reason_against(current, candidate, rules, known)
        if reason is not None:
            reasons[place] = reason
    fit = [place for place in range(len(candidates)) if place not in reasons]
    fit.sort(key=lambda place: _rank(candidates[place], rules), reverse=True)
    taken = fit[: rules.count_max]
    for place in fit[rules.count_max :]:
        reasons[place] = _not_among_the_first(candidates[place], [candidates[one] for one in taken], rules)
    taken.sort(key=lambda place: _order(candidates[place].study))
    return PriorChoice(
        chosen=tuple(
            ExplainedStudy(
                candidates[place].study.study_instance_uid,
                _why_chosen(current, candidates[place], len(fit), fit.index(place) + 1, known),
            )
            for place in taken
        ),
        passed_over=tuple(
            ExplainedStudy(candidates[place].study.study_instance_uid, reason)
            for place, reason in sorted(reasons.items())
        ),
    )


def reason_against_study(current: Study, study: Study, rules: PriorRules, known: KnownPatients) -> str | None:
    """Why a study is no prior whatever it holds: another patient, or another time; None if its content decides."""
    if study.study_instance_uid == current.study_instance_uid:
        return "it is the current study"
    if current.conflict is not None:
        return f"the current study is in doubt: {current.conflict}"
    if study.conflict is not None:
        return f"the study is in doubt: {study.conflict}"
    if rules.count_max == 0:
        return f"no earlier exam is wanted ({rules.count_because})"
    return difference(current, study, known) or _not_earlier(current, study, rules.window_days)


def days_between(earlier: str, later: str) -> int | None:
    """Whole days from one DICOM date ("YYYYMMDD" as sent) to another; None if one of them is no date."""
    first, second = _date(earlier), _date(later)
    return None if first is None or second is None else (second - first).days


def _reason_against(
    current: Study, candidate: PriorCandidate, rules: PriorRules, known: KnownPatients
) -> str | None:
    """The first reason why `candidate` is no prior of `current`, or None."""
    if (reason := reason_against_study(current, candidate.study, rules, known)) is not None:
        return reason
    if candidate.no_image_because is not None:
        return f"it has no image to show: {candidate.no_image_because}"
    if rules.views == "frontal" and not candidate.has_frontal_image:
        return "it has no frontal image"
    if rules.report == "required" and not candidate.has_report:
        return f"it has no report ({rules.report_because})"
    return None


def _rank(candidate: PriorCandidate, rules: PriorRules) -> tuple[bool, bool, tuple[str, str, str]]:
    has_preferred = rules.report == "preferred" and candidate.has_report
    return candidate.is_named_chest, has_preferred, _order(candidate.study)


def _not_among_the_first(
    candidate: PriorCandidate, taken: Sequence[PriorCandidate], rules: PriorRules
) -> str:
    if any(_order(candidate.study) > _order(one.study) for one in taken):
        if not candidate.is_named_chest:
            return f"older ones named as chests go first, and nothing names it as one ({rules.count_because})"
        return f"it has no report, and older ones with a report go first ({rules.report_because})"
    return f"older than the {rules.count_max} that go first ({rules.count_because})"


def _why_chosen(
    current: Study, candidate: PriorCandidate, fit_count: int, place: int, known: KnownPatients
) -> str:
    days = days_between(candidate.study.study_date, current.study_date)
    report = "with a report" if candidate.has_report else "without a report"
    rank = "the only one that fits" if fit_count == 1 else f"number {place} of {fit_count} that fit"
    return f"{evidence(current, candidate.study, known)}; {days} days before, {report}, {rank}"


def _not_earlier(current: Study, study: Study, window_days: int) -> str | None:
    days = days_between(study.study_date, current.study_date)
    if days is None:
        whose = "the current study" if _date(current.study_date) is None else "it"
        return f"{whose} has no study date, so nobody knows which came first"
    if days < 0:
        return f"it is {-days} days later than the current study"
    if days > window_days:
        return f"it is {days} days old (window_days = {window_days})"
    if days > 0:
        return None
    ours, theirs = _time(current.study_time), _time(study.study_time)
    if not ours or not theirs:
        return "it is of the same day, and no study time says which came first"
    return None if theirs < ours else f"it is of the same day and not earlier: {theirs}, current study {ours}"


def _order(study: Study) -> tuple[str, str, str]:
    return digits_of(study.study_date), _time(study.study_time), study.study_instance_uid


def _date(text: str) -> date | None:
    digits = digits_of(text)
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) if len(digits) == 8 else None
    except ValueError:
        return None


def _time(text: str) -> str:
    """ "HHMMSSFFFFFF" of a DICOM time, filled with zeros (PS3.5 6.2); "" if it is none."""
    whole, _, fraction = text.strip().replace(":", "").partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) in (2, 4, 6)):
        return ""
    return whole.ljust(6, "0") + digits_of(fraction)[:6].ljust(6, "0")
