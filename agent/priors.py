"""Decides which earlier exams belong to a case, and says of every other one why it does not. Pure.

A wrong prior is worse than none: it is another person's chest. So where the headers leave a doubt about who
the patient is, the exam is passed over.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import SequenceMatcher

from storage.records import Study

# SequenceMatcher ratio. Slips of the pen had 0.82 to 0.87 ("Smith^John", "Smyth^Jon"), different people up to
# 0.61 ("Johnson^Mary", "Jackson^Marie").
_ALIKE_MIN = 0.7


@dataclass(frozen=True, slots=True)
class PriorRules:
    """What a site wants of priors.

    Attributes:
        count_max: priors at most; the newest are taken.
        window_days: how many days before the current exam a prior may lie.
        report_required: True passes over an exam without a report.
    """

    count_max: int = 3
    window_days: int = 1825
    report_required: bool = False


@dataclass(frozen=True, slots=True)
class PriorCandidate:
    """An exam that may be a prior.

    Attributes:
        study: as the index knows it; text as sent.
        has_frontal_image: True if at least one of its images is a frontal radiograph that can be read.
        has_report: True if somebody else's report is there.
    """

    study: Study
    has_frontal_image: bool = True
    has_report: bool = False


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An exam that is not shown to the model, and why, in words that name no patient."""

    study_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class PriorChoice:
    """What `choose_priors` decided. Every candidate is in `chosen` or in `passed_over`.

    Attributes:
        chosen: oldest first.
        passed_over: in the order of the candidates.
        notes: sentences on chosen priors that a reader of the draft should know of.
    """

    chosen: tuple[PriorCandidate, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = field(default=())


def choose_priors(current: Study, candidates: Sequence[PriorCandidate], rules: PriorRules) -> PriorChoice:
    """Chooses the newest exams of the same patient that lie before the current one.

    The patient is the same if ID and issuer agree and neither birth date, sex nor name speaks against it. An
    issuer missing on one side is made up for only by birth date and sex, both sent and equal; missing on
    both, by an equal birth date and an equal sex or name.
    """
    reasons: dict[int, str] = {}
    for place, candidate in enumerate(candidates):
        twice = any(
            other.study.study_instance_uid == candidate.study.study_instance_uid
            for other in candidates[:place]
        )
        reason = "it is listed twice" if twice else _reason_against(current, candidate, rules)
        if reason is not None:
            reasons[place] = reason
    fit = [place for place in range(len(candidates)) if place not in reasons]
    fit.sort(key=lambda place: _order(candidates[place].study), reverse=True)  # newest first
    for place in fit[rules.count_max :]:
        reasons[place] = f"older than the {rules.count_max} newest (count_max = {rules.count_max})"
    chosen = tuple(candidates[place] for place in reversed(fit[: rules.count_max]))
    passed_over = tuple(
        PassedOver(candidates[place].study.study_instance_uid, reason)
        for place, reason in sorted(reasons.items())
    )
    return PriorChoice(chosen, passed_over, _notes(current, chosen))


def days_between(earlier: str, later: str) -> int | None:
    """Whole days from one DICOM date ("YYYYMMDD" as sent) to another; None if one of them is no date."""
    first, second = _date(earlier), _date(later)
    return None if first is None or second is None else (second - first).days


def _reason_against(current: Study, candidate: PriorCandidate, rules: PriorRules) -> str | None:
    """The first reason why `candidate` is no prior of `current`, or None."""
    study = candidate.study
    if study.study_instance_uid == current.study_instance_uid:
        return "it is the current study"
    if current.conflict is not None:
        return f"the current study is in doubt: {current.conflict}"
    if study.conflict is not None:
        return f"the study is in doubt: {study.conflict}"
    checks: tuple[Callable[[Study, Study], str | None], ...] = (
        _other_id,
        _other_birth_date,
        _other_sex,
        _other_name,
        _unproved,
    )
    for check in checks:
        if (reason := check(current, study)) is not None:
            return reason
    if (reason := _not_earlier(current, study, rules.window_days)) is not None:
        return reason
    if not candidate.has_frontal_image:
        return "it has no frontal image"
    if rules.report_required and not candidate.has_report:
        return "it has no report (report_required = true)"
    return None


def _other_id(current: Study, study: Study) -> str | None:
    if not current.patient_id.strip():
        return "the current study has no patient ID"
    if not study.patient_id.strip():
        return "it has no patient ID"
    if study.patient_id.strip() != current.patient_id.strip():
        return "the patient ID is another one"
    ours, theirs = _issuers(current, study)
    if ours and theirs and ours != theirs:
        return f"issuer of the patient ID differs: {theirs}, current study {ours}"
    return None


def _other_birth_date(current: Study, study: Study) -> str | None:
    ours, theirs = _digits(current.birth_date), _digits(study.birth_date)
    if ours and theirs and ours != theirs:
        return f"birth date differs: {theirs}, current study {ours}"
    return None


def _other_sex(current: Study, study: Study) -> str | None:
    ours, theirs = _sex(current), _sex(study)
    if ours and theirs and ours != theirs:
        return f"sex differs: {theirs}, current study {ours}"
    return None


def _other_name(current: Study, study: Study) -> str | None:
    return "the name is clearly another one" if _names_agree(current, study) is False else None


def _unproved(current: Study, study: Study) -> str | None:
    """A patient ID without its issuer is a number that two hospitals may give to two people."""
    ours, theirs = _issuers(current, study)
    if ours and theirs:
        return None
    same_birth_date = _digits(study.birth_date) == _digits(current.birth_date) != ""
    same_sex = _sex(study) == _sex(current) != ""
    if ours or theirs:
        if same_birth_date and same_sex:
            return None
        where = "the current study" if theirs else "it"
        return f"{where} has no issuer of the patient ID, and birth date and sex are not both sent and equal"
    if same_birth_date and (same_sex or _is_same_name(current, study)):
        return None
    return "no issuer of the patient ID, and birth date and either sex or name are not both sent and equal"


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


def _notes(current: Study, chosen: Sequence[PriorCandidate]) -> tuple[str, ...]:
    notes = []
    for candidate in chosen:
        ours, theirs = _issuers(current, candidate.study)
        if bool(ours) != bool(theirs):
            whose = "the current study" if theirs else "the prior"
            notes.append(
                f"prior {candidate.study.study_instance_uid}: {whose} has no issuer of the patient ID; taken "
                "for the same patient since patient ID, birth date and sex agree"
            )
    return tuple(notes)


def _order(study: Study) -> tuple[str, str, str]:
    return _digits(study.study_date), _time(study.study_time), study.study_instance_uid


def _issuers(current: Study, study: Study) -> tuple[str, str]:
    return current.issuer_of_patient_id.strip(), study.issuer_of_patient_id.strip()


def _digits(text: str) -> str:
    """A date without the dots that ACR-NEMA had in it."""
    return "".join(character for character in text if character.isascii() and character.isdigit())


def _sex(study: Study) -> str:
    return study.sex.strip().upper()


def _date(text: str) -> date | None:
    digits = _digits(text)
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) if len(digits) == 8 else None
    except ValueError:
        return None


def _time(text: str) -> str:
    """ "HHMMSSFFFFFF" of a DICOM time, filled with zeros (PS3.5 6.2); "" if it is none."""
    whole, _, fraction = text.strip().replace(":", "").partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) in (2, 4, 6)):
        return ""
    return whole.ljust(6, "0") + _digits(fraction)[:6].ljust(6, "0")


def _names_agree(current: Study, study: Study) -> bool | None:
    """True if the names are alike in one script, False if they differ in each, None if none can be compared.

    Any component group is compared with any other: senders put 홍^길동 into the first or the third.
    """
    pairs = [(mine, other) for mine in _groups(current) for other in _groups(study)]
    compared = [_alike(mine, other) for mine, other in pairs if _script(mine) == _script(other) != ""]
    return any(compared) if compared else None


def _is_same_name(current: Study, study: Study) -> bool:
    """True if one name has all the words of the other, in one of their scripts: more than a family's name."""
    pairs = [(_words(mine), _words(other)) for mine in _groups(current) for other in _groups(study)]
    return any(
        len(mine) > 1 and len(others) > 1 and (set(mine) <= set(others) or set(others) <= set(mine))
        for mine, others in pairs
    )


def _groups(study: Study) -> list[str]:
    return study.patient_name.split("=")


def _script(group: str) -> str:
    """ "latin", "other", or "" if the group holds no name."""
    letters = "".join(_words(group))
    if not letters:
        return ""
    return "latin" if any(letter.isascii() and letter.isalpha() for letter in letters) else "other"


def _alike(ours: str, theirs: str) -> bool:
    """A shared word (a married name keeps the given one), or the same letters but for slips of the pen."""
    mine, others = _words(ours), _words(theirs)
    if {word for word in mine if len(word) > 1} & {word for word in others if len(word) > 1}:
        return True
    return SequenceMatcher(None, "".join(mine), "".join(others), autojunk=False).ratio() >= _ALIKE_MIN


def _words(group: str) -> list[str]:
    """The words of one name component group, in lower case and without accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", group) if not unicodedata.combining(c))
    return re.findall(r"\w+", unicodedata.normalize("NFC", plain).casefold())
