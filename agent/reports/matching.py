"""Decides which outside report belongs to a study, and which of its versions holds. Pure.

A wrong report is worse than none: the model would be told of somebody else's chest. So where two reports or two
studies fit equally well, nothing is attached, and the reason is said.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.identity import names_patient_of
from storage.identity import are_two, whole_date
from storage.outside_records import Report, ReportStatus
from storage.records import Study

_RANK = {
    ReportStatus.PRELIMINARY: 0,
    ReportStatus.FINAL: 1,
    ReportStatus.CORRECTED: 2,
    ReportStatus.CANCELLED: 3,
}
# What every description of a radiograph says, whatever it shows.
_WORDS_OF_NO_PART = frozenset(
    (
        *(
            "xr",
            "cr",
            "dx",
            "dr",
            "rx",
            "img",
            "xray",
            "ray",
            "radiograph",
            "radiography",
            "exam",
            "examination",
        ),
        *("view", "views", "pa", "ap", "lat", "lateral", "one", "two", "single", "portable", "bilateral"),
        *("left", "right", "with", "without", "contrast", "and", "of", "the"),
    )
)
# Beginnings of words that name an exam which is no radiograph; short ones are whole words.
_OTHER_EXAMS = frozenset(("ct", "mr", "mri", "mrt", "us", "nm", "pet", "spect", "echo", "ecg", "ekg"))
_OTHER_EXAMS_BEGIN = (
    *("tomogra", "computertomo", "magnet", "kernspin", "ultraso", "sono", "mammo", "scinti", "szinti"),
    *("angio", "fluoro", "durchleucht", "biops", "echocard"),
)
_SAME_PART = {
    "thorax": "chest",
    "thorac": "chest",
    "cxr": "chest",
    "lung": "chest",
    "lungs": "chest",
    "흉부": "chest",
}


SURE_TIES = ("study UID", "accession number")
"""What a report may name so that no other study comes into question: `AttachedReport.because`."""


@dataclass(frozen=True, slots=True)
class AttachedReport:
    """A version of an outside report that belongs to a study.

    Attributes:
        because: what ties it to the study, for a person: "study UID", "accession number and patient", ...
    """

    report: Report
    because: str


@dataclass(frozen=True, slots=True)
class ReportChoice:
    """What `choose_report` decided.

    Attributes:
        attached: the newest valid version, or None.
        withdrawn_at: when the newest withdrawal of a report of this study was written ("YYYYMMDDHHMMSS" or less),
            "" if there is none: what is older than that must not be shown, whichever way it came.
        reasons: why others were not attached, in sentences that name no patient.
    """

    attached: AttachedReport | None = None
    withdrawn_at: str = ""
    reasons: tuple[str, ...] = ()


def version_order(report: Report) -> tuple[bool, str, int, int]:
    """Sorts versions of one report, the one that holds last.

    A preliminary never replaces anything else, however late it comes; otherwise the time it was written decides,
    then the status, then the order of arrival.
    """
    is_definite = report.status is not ReportStatus.PRELIMINARY
    return is_definite, report.reported_at.ljust(14, "0"), _RANK[report.status], report.number


def choose_report(
    study: Study, versions: Sequence[Report], others: Sequence[Study], window_hours: float
) -> ReportChoice:
    """Chooses the report of a study among versions of reports that may be of it.

    A report belongs to the study if it names its Study Instance UID; else its accession number and the patient;
    else, if it has no accession number of another order and is of no other kind of exam, the patient, the time
    within the window and the part of the body, if no other report and no other study of the patient fits as well.

    Args:
        others: the patient's other studies.
        window_hours: hours between the time in the report and the study's.
    """
    reasons: list[str] = []
    sure: list[AttachedReport] = []
    likely: list[AttachedReport] = []
    for report in _newest_of_each(versions, study):
        tie = _sure_tie(report, study)
        if tie is not None:
            against = _patient_speaks_against(report, study, is_proof=tie == SURE_TIES[0])
            if against is None:
                sure.append(AttachedReport(report, tie))
            else:
                reasons.append(f"report {report.origin} has the {tie} of this study, but {against}")
        elif _is_likely(report, study, window_hours):
            rivals = [other for other in others if _is_likely(report, other, window_hours)]
            if rivals:
                reasons.append(
                    f"report {report.origin} fits {len(rivals) + 1} studies of the patient by time and procedure; "
                    "attached to none"
                )
            else:
                likely.append(AttachedReport(report, "patient, time and procedure"))
    if not sure and len(likely) > 1:
        reasons.append(
            f"{len(likely)} reports fit this study by patient, time and procedure; none was attached"
        )
        likely = []
    return _choice(sure or likely, reasons)


def _choice(attached: Sequence[AttachedReport], reasons: Sequence[str]) -> ReportChoice:
    withdrawn = [one.report for one in attached if one.report.status is ReportStatus.CANCELLED]
    valid = [one for one in attached if one.report.status is not ReportStatus.CANCELLED and one.report.text]
    newest = max(valid, key=lambda one: version_order(one.report), default=None)
    said = [f"report {report.origin} was withdrawn" for report in withdrawn]
    return ReportChoice(newest, max((one.reported_at for one in withdrawn), default=""), (*reasons, *said))


def _newest_of_each(versions: Iterable[Report], study: Study) -> list[Report]:
    """The version that holds of each report; it keeps what earlier ones knew of study and accession number.

    Versions are grouped by key and patient: two hospitals may give one number to two people.
    """
    groups: dict[tuple[str, bool], list[Report]] = defaultdict(list)
    for version in versions:
        is_others = bool(version.patients) and not names_patient_of(version.patients, study)
        groups[version.report_key, is_others].append(version)
    return [_with_names_of_all(group) for group in groups.values()]


def _with_names_of_all(versions: list[Report]) -> Report:
    newest = max(versions, key=version_order)
    named = [newest, *reversed(versions)]
    return replace(
        newest,
        study_instance_uid=next((one.study_instance_uid for one in named if one.study_instance_uid), ""),
        accession_number=next((one.accession_number for one in named if one.accession_number), ""),
        patients=next((one.patients for one in named if one.patients), ()),
        birth_date=next((one.birth_date for one in named if one.birth_date), ""),
    )


def _sure_tie(report: Report, study: Study) -> str | None:
    if report.study_instance_uid == study.study_instance_uid:
        return SURE_TIES[0]
    accession = study.accession_number.strip()
    if accession and accession in (report.accession_number, report.report_key):
        return SURE_TIES[1]
    return None


def _patient_speaks_against(report: Report, study: Study, *, is_proof: bool) -> str | None:
    """Why the patient is another one, or None. A study UID is proof where only the ID was changed since."""
    if are_two(whole_date(report.birth_date), whole_date(study.birth_date)):
        return "names another birth date"
    if is_proof or names_patient_of(report.patients, study):
        return None
    return "not its patient" if report.patients else "no patient"


def _is_likely(report: Report, study: Study, window_hours: float) -> bool:
    if report.study_instance_uid or not names_patient_of(report.patients, study):
        return False
    if _is_of_another_order(report, study) or _names_another_exam(report.procedure, study.study_description):
        return False
    if _patient_speaks_against(report, study, is_proof=False) is not None:
        return False
    told, made = _time(report.observed_at), _time(study.study_date + study.study_time.partition(".")[0])
    if told is None or made is None or abs(told - made) > timedelta(hours=window_hours):
        return False
    return bool(_parts(report.procedure) & _parts(study.study_description))


def _is_of_another_order(report: Report, study: Study) -> bool:
    """True if the report has an accession number, and it is another one than the study's.

    A number that is the report's key as well may be its filler order number, which many sites do not use as accession
    number: it speaks against the study only if both are written alike, "X-2041" and "X-2077".
    """
    ours, theirs = study.accession_number.strip(), report.accession_number
    if not ours or not theirs:
        return False
    return theirs != report.report_key or _form(theirs) == _form(ours)


def _form(number: str) -> str:
    """How a number is written: "A-9999" for "X-2041"."""
    return re.sub(r"[^\W\d_]", "A", re.sub(r"\d", "9", number))


def _names_another_exam(procedure: str, description: str) -> bool:
    """True if the report is of a CT, an ultrasound, ... and the study's own description does not say the same."""
    return bool(_other_exams(procedure) - _other_exams(description))


def _other_exams(text: str) -> frozenset[str]:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    return frozenset(word for word in words if word in _OTHER_EXAMS or word.startswith(_OTHER_EXAMS_BEGIN))


def _parts(description: str) -> frozenset[str]:
    """The words of a description that may tell one part of the body from another."""
    words = re.findall(r"[^\W\d_]+", description.casefold())
    return frozenset(_SAME_PART.get(word, word) for word in words if len(word) > 1) - _WORDS_OF_NO_PART


def _time(digits: str) -> datetime | None:
    """A local time of at least "YYYYMMDDHHMM": a date alone is no time, and every exam of that day would fit."""
    digits = digits.replace(":", "")
    form = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    try:
        return datetime.strptime(digits, form) if form and digits.isdecimal() else None  # noqa: DTZ007 - local as sent
    except ValueError:
        return None
