"""Reads what archives and worklists answer to a query: odd content is read as far as it goes, or left out."""

import re
from dataclasses import dataclass, replace
from datetime import datetime

from pydicom.dataset import Dataset

from agent.dicom.charsets import text_encodings
from agent.dicom.headers import bounded_number, issuer_of
from agent.dicom.opening import CONTENT_ERRORS, quietly, raw_text, small_sequence
from storage.outside_records import Order
from storage.records import Priority, Study

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_UID_LENGTH_MAX = 64

_PRIORITIES = {
    "STAT": Priority.STAT,
    "HIGH": Priority.URGENT,
    **dict.fromkeys(("ROUTINE", "MEDIUM", "LOW"), Priority.ROUTINE),
}
"""Requested Procedure Priority (PS3.3 Table C.4-11)."""


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """One study that an archive has.

    Attributes:
        study: as answered, with its `modalities` (Modalities in Study); () if the archive does not tell.
        instances: Number of Study Related Instances, or None if the archive does not tell.
    """

    study: Study
    instances: int | None = None


def found_study(answer: Dataset, *, assume_charset: str | None, default_issuer: str) -> FoundStudy | None:
    """Reads one answer to a query on study level (PS3.4 C.6.2.1); None if it names no study.

    Args:
        assume_charset: DICOM term for text with bytes above 127 and no Specific Character Set.
        default_issuer: Issuer of Patient ID where the answer has none.
    """
    try:
        with quietly():
            encodings, _ = text_encodings(answer, assume_charset)
            uid = _uid(answer)
            if not uid:
                return None
            instances = raw_text(answer, "NumberOfStudyRelatedInstances", encodings)
            study = Study(
                study_instance_uid=uid,
                **_patient(answer, encodings, default_issuer),  # type: ignore[arg-type]
                study_date=raw_text(answer, "StudyDate", encodings),
                study_time=raw_text(answer, "StudyTime", encodings),
                accession_number=raw_text(answer, "AccessionNumber", encodings),
                study_description=raw_text(answer, "StudyDescription", encodings),
                modalities=modalities_of(answer, "ModalitiesInStudy"),
            )
            return FoundStudy(study, int(instances) if re.fullmatch(r"[0-9]{1,9}", instances) else None)
    except (OSError, *CONTENT_ERRORS):
        return None


def with_patient(found: FoundStudy, answer: Dataset, *, assume_charset: str | None) -> FoundStudy:
    """Fills what a study does not tell of its patient from an answer on patient level (PS3.4 C.6.1.1)."""
    try:
        with quietly():
            encodings, _ = text_encodings(answer, assume_charset)
            told = _patient(answer, encodings, "")
    except (OSError, *CONTENT_ERRORS):
        return found
    missing = {name: text for name, text in told.items() if text and not getattr(found.study, name)}
    return replace(found, study=replace(found.study, **missing))  # type: ignore[arg-type]


def modalities_of(answer: Dataset, keyword: str) -> tuple[str, ...]:
    """Gives the modalities that an answer names, each once; () if none."""
    words = raw_text(answer, keyword, ("latin_1",)).upper().split("\\")
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))


def found_order(
    entry: Dataset, source: str, now: datetime, *, assume_charset: str | None, default_issuer: str
) -> Order | None:
    """Reads one entry of a modality worklist (PS3.4 Table K.6-1); None if it could not be found again.

    That is one without a patient ID, or with neither accession number nor Study Instance UID.
    """
    try:
        with quietly():
            encodings, _ = text_encodings(entry, assume_charset)
            patient = _patient(entry, encodings, default_issuer)
            steps = small_sequence(entry, "ScheduledProcedureStepSequence")
            step = steps[0] if steps else Dataset()

            def text(keyword: str, dataset: Dataset = entry) -> str:
                return raw_text(dataset, keyword, encodings)

            reasons = ("ReasonForTheRequestedProcedure", "ReasonForTheImagingServiceRequest")
            order = Order(
                source=source,
                accession_number=bounded_number(text("AccessionNumber")),
                study_instance_uid=_uid(entry),
                placer_order_number=text("PlacerOrderNumberImagingServiceRequest"),
                filler_order_number=text("FillerOrderNumberImagingServiceRequest"),
                patient_id=patient["patient_id"],
                issuer_of_patient_id=patient["issuer_of_patient_id"],
                patient_name=patient["patient_name"],
                birth_date=patient["birth_date"],
                sex=patient["sex"],
                requested_procedure=text("RequestedProcedureDescription")
                or text("ScheduledProcedureStepDescription", step),
                indication=next((said for keyword in reasons if (said := text(keyword))), ""),
                scheduled_date=text("ScheduledProcedureStepStartDate", step),
                scheduled_time=text("ScheduledProcedureStepStartTime", step),
                heard_at=now,
                priority=_PRIORITIES.get(text("RequestedProcedurePriority").upper(), ""),
            )
    except (OSError, *CONTENT_ERRORS):
        return None
    return order if order.patient_id and (order.accession_number or order.study_instance_uid) else None


def _patient(answer: Dataset, encodings: tuple[str, ...], default_issuer: str) -> dict[str, str]:
    return {
        "patient_id": raw_text(answer, "PatientID", encodings),
        "issuer_of_patient_id": issuer_of(answer, encodings) or default_issuer,
        "patient_name": raw_text(answer, "PatientName", encodings).rstrip("="),
        "birth_date": raw_text(answer, "PatientBirthDate", encodings),
        "sex": raw_text(answer, "PatientSex", encodings).upper(),
    }


def _uid(answer: Dataset) -> str:
    uid = raw_text(answer, "StudyInstanceUID", ("latin_1",))
    return uid if len(uid) <= _UID_LENGTH_MAX and _UID.fullmatch(uid) else ""
