"""Reports in tables: a row of CSV or a line of JSON to a report version. Pure.

Columns, all but a text and something to go by may be left out; others are ignored:

    text                    the whole report; or, instead of it, any of the sections
    findings, impression, indication, comparison, technique
    patient_id, issuer      as in Patient ID and Issuer of Patient ID
    birth_date              YYYYMMDD or YYYY-MM-DD
    report_id               the same for all versions of one report; without it the accession number
    accession_number, study_instance_uid
    status                  a word or code of HL7 Table 0123; left out: final
    observed_at, reported_at    of the exam and of this version: YYYYMMDD[HHMM[SS]] or ISO 8601, local
                            if there is no offset from UTC
    procedure               what was done, in words
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from agent.hl7.oru import is_draft_text, status_of
from agent.hl7.times import date_digits, local_digits
from agent.identity import too_long
from storage.outside_records import Report, ReportSource, ReportStatus
from storage.records import PatientIdentifier

SECTIONS = ("indication", "technique", "comparison", "findings", "impression")


class RowError(ValueError):
    """A row or resource that is no report, and why, in a sentence that names no patient."""


class OwnDraft(RowError):
    """A draft of ours that came back."""


def _as_text(value: object) -> object:
    """Numbers are what spreadsheets make of identifiers; an empty cell is no value."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return "" if value is None else value


Cell = Annotated[str, BeforeValidator(_as_text)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, str_strip_whitespace=True)

    text: Cell = ""
    findings: Cell = ""
    impression: Cell = ""
    indication: Cell = ""
    comparison: Cell = ""
    technique: Cell = ""
    patient_id: Cell = ""
    issuer: Cell = ""
    birth_date: Cell = ""
    report_id: Cell = ""
    accession_number: Cell = ""
    study_instance_uid: Cell = ""
    status: Cell = ""
    observed_at: Cell = ""
    reported_at: Cell = ""
    procedure: Cell = ""


COLUMNS = tuple(_Row.model_fields)


def report_of_row(row: Mapping[str, object], origin: str, received_at: datetime) -> Report:
    """Makes a report version of a row.

    Args:
        origin: file and line, for a person who looks for it.

    Raises:
        RowError: if there is no text, nothing that it could belong to, or a value of another kind than text; or
            if it is a draft of our own.
    """
    try:
        cells = _Row.model_validate(dict(row))
    except ValidationError as error:
        columns = ", ".join(sorted({str(one["loc"][0]) for one in error.errors(include_input=False)}))
        raise RowError(f"these columns hold no text: {columns}") from None
    sections = [f"{name.upper()}: {told}" for name in SECTIONS if (told := getattr(cells, name))]
    return checked(
        Report(
            number=0,
            report_key=cells.report_id or cells.accession_number or cells.study_instance_uid,
            status=status_of([cells.status]) if cells.status else ReportStatus.FINAL,
            source=ReportSource.FILE,
            text=cells.text or "\n".join(sections),
            patients=(PatientIdentifier(cells.patient_id, cells.issuer),) if cells.patient_id else (),
            birth_date=date_digits(cells.birth_date),
            accession_number=cells.accession_number,
            study_instance_uid=cells.study_instance_uid,
            observed_at=local_digits(cells.observed_at),
            reported_at=local_digits(cells.reported_at),
            procedure=cells.procedure,
            origin=origin,
            received_at=received_at,
        )
    )


def checked(report: Report) -> Report:
    """Gives the report back if it can be of use. Raises RowError if not."""
    if not report.text and report.status is not ReportStatus.CANCELLED:
        raise RowError("it has no text")
    if is_draft_text(report.text):
        raise OwnDraft("it is a draft of our own")
    if not report.report_key:
        raise RowError("it has no report ID, accession number or study UID to go by")
    if not (report.patients or report.study_instance_uid):
        raise RowError("it names neither a patient nor a study UID")
    problem = too_long(
        ("report ID", report.report_key),
        ("accession number", report.accession_number),
        ("study UID", report.study_instance_uid),
        *(("patient ID", one.patient_id) for one in report.patients),
        *(("issuer", one.issuer) for one in report.patients),
    )
    if problem is not None:
        raise RowError(problem)
    return report
