"""Reads the headers of a DICOM file: odd content is read as far as it goes, or refused in one sentence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from agent.dicom.charsets import TELLING_KEYWORDS, text_encodings
from agent.dicom.opening import (
    CONTENT_ERRORS,
    Unreadable,
    dataset_of,
    quietly,
    raw_text,
    read_header_elements,
    small_sequence,
    tag_of,
)
from agent.dicom.views import VIEW_KEYWORDS, projection_of
from inference.case import View
from storage.records import NUMBER_CHARACTERS_MAX, PatientIdentifier, Study

__all__ = ["HEADER_TAGS", "Headers", "Unreadable", "headers_from_elements", "headers_of", "read_headers"]

_KEYWORDS = (
    VIEW_KEYWORDS
    | TELLING_KEYWORDS
    | {
        "BitsStored",
        "BodyPartExamined",
        "Columns",
        "ImageType",
        "InstanceNumber",
        "Modality",
        "NumberOfFrames",
        "PatientBirthDate",
        "PatientSex",
        "PhotometricInterpretation",
        "PresentationIntentType",
        "Rows",
        "SOPClassUID",
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyDate",
        "StudyInstanceUID",
        "StudyTime",
    }
)
HEADER_TAGS = frozenset(int(tag_of(keyword)) for keyword in _KEYWORDS)
"""The elements that headers are made of."""

_UID = re.compile(r"[0-9.]{1,64}")
_US_BYTES = 2
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Headers:
    """What we want to know of one instance; text as sent, decoded, "" if absent.

    Attributes:
        transfer_syntax_uid: of the file meta, "" if the file has none.
        view, view_source, is_frontal: see `agent.dicom.views.Projection`.
        view_position: as sent.
        rows, columns, bits_stored: 0 if absent.
        frames: 1 if not sent.
        patient_name: all component groups, joined by "=" (PS3.5 6.2.1).
        birth_date, study_date: "YYYYMMDD"; study_time: "HHMMSS.FFFFFF"; as sent, local.
        other_patient_ids: further numbers of the patient, those with both number and issuer.
        indication: why the exam was asked for, from the first attribute that says it.
        text_doubt: a sentence if the text may be read wrongly, or None.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    view: View
    view_source: str
    is_frontal: bool | None
    view_position: str
    body_part_examined: str
    image_type: tuple[str, ...]
    photometric_interpretation: str
    presentation_intent_type: str
    rows: int
    columns: int
    bits_stored: int
    frames: int
    instance_number: int
    manufacturer: str
    patient_id: str
    issuer_of_patient_id: str
    other_patient_ids: tuple[PatientIdentifier, ...]
    patient_name: str
    birth_date: str
    sex: str
    study_date: str
    study_time: str
    accession_number: str
    study_description: str
    series_description: str
    indication: str
    text_doubt: str | None

    @property
    def view_group(self) -> str:
        """Gives "frontal", "lateral", or "" where the header does not tell."""
        if self.is_frontal:
            return "frontal"
        return "lateral" if self.view is View.LATERAL else ""

    def study(self) -> Study:
        """Gives the study as this one instance knows it; identifiers as sent, see `agent.identity.identified`."""
        own = PatientIdentifier(self.patient_id, self.issuer_of_patient_id)
        return Study(
            study_instance_uid=self.study_instance_uid,
            patient_id=self.patient_id,
            issuer_of_patient_id=self.issuer_of_patient_id,
            patient_name=self.patient_name,
            birth_date=self.birth_date,
            sex=self.sex,
            study_date=self.study_date,
            study_time=self.study_time,
            accession_number=bounded_number(self.accession_number),
            study_description=self.study_description,
            modalities=(self.modality,) if self.modality else (),
            identifiers=(*((own,) if self.patient_id else ()), *self.other_patient_ids),
        )


def read_headers(source: Path | BinaryIO, *, assume_charset: str | None = None) -> Headers:
    """Reads what precedes the pixels of a DICOM file, of any transfer syntax, with or without a preamble.

    Args:
        source: a file, or one opened for binary reading that can seek; it is read from where it stands.
        assume_charset: DICOM term for text with bytes above 127 and no Specific Character Set, as some
            senders are known to send it ("ISO 2022 IR 149"). Without it such text is taken for UTF-8 if it
            is valid UTF-8, else for Latin-1, and `text_doubt` says so.

    Raises:
        Unreadable: if it is no DICOM object, has no usable UIDs, or is beyond the limits of
            `agent.dicom.opening`.
        OSError: if the disk fails.
    """
    return headers_of(read_header_elements(source, _KEYWORDS), assume_charset=assume_charset)


def headers_from_elements(
    elements: Mapping[int, tuple[str, bytes]], transfer_syntax_uid: str, *, assume_charset: str | None = None
) -> Headers:
    """Gives the headers of a dataset whose elements somebody has already found among its bytes.

    Args:
        elements: tag to VR ("" where none was sent) and encoded value, those of HEADER_TAGS that are there.
        transfer_syntax_uid: they are encoded in it.

    Raises:
        Unreadable: as `read_headers`.
    """
    return headers_of(dataset_of(elements, transfer_syntax_uid), assume_charset=assume_charset)


def headers_of(dataset: Dataset, *, assume_charset: str | None = None) -> Headers:
    """Gives the headers of a dataset that is already in memory. Arguments and errors as `read_headers`."""
    try:
        with quietly():
            return _headers_of(dataset, assume_charset)
    except (OSError, *CONTENT_ERRORS) as error:
        raise Unreadable(f"the headers cannot be decoded: {type(error).__name__}") from error


def _headers_of(dataset: Dataset, assume_charset: str | None) -> Headers:
    encodings, doubt = text_encodings(dataset, assume_charset)
    meta = getattr(dataset, "file_meta", None) or Dataset()
    projection = projection_of(dataset, encodings)

    def text(keyword: str) -> str:
        return raw_text(dataset, keyword, encodings)

    return Headers(
        sop_class_uid=_uid(dataset, "SOPClassUID", raw_text(meta, "MediaStorageSOPClassUID", ("latin_1",))),
        sop_instance_uid=_uid(
            dataset, "SOPInstanceUID", raw_text(meta, "MediaStorageSOPInstanceUID", ("latin_1",))
        ),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        transfer_syntax_uid=raw_text(meta, "TransferSyntaxUID", ("latin_1",)),
        modality=text("Modality").upper(),
        view=projection.view,
        view_source=projection.source,
        is_frontal=projection.is_frontal,
        view_position=text("ViewPosition"),
        body_part_examined=text("BodyPartExamined"),
        image_type=tuple(part.strip() for part in text("ImageType").split("\\") if part.strip()),
        photometric_interpretation=text("PhotometricInterpretation").upper(),
        presentation_intent_type=text("PresentationIntentType").upper(),
        rows=_whole_number(dataset, "Rows"),
        columns=_whole_number(dataset, "Columns"),
        bits_stored=_whole_number(dataset, "BitsStored"),
        frames=_whole_number(dataset, "NumberOfFrames") or 1,
        instance_number=_whole_number(dataset, "InstanceNumber"),
        manufacturer=text("Manufacturer"),
        patient_id=text("PatientID"),
        issuer_of_patient_id=issuer_of(dataset, encodings),
        other_patient_ids=_other_patient_ids(dataset, encodings),
        patient_name=text("PatientName").rstrip("="),  # trailing empty groups may be sent or not
        birth_date=text("PatientBirthDate"),
        sex=text("PatientSex").upper(),
        study_date=text("StudyDate"),
        study_time=text("StudyTime"),
        accession_number=text("AccessionNumber"),
        study_description=text("StudyDescription"),
        series_description=text("SeriesDescription"),
        indication=_indication(dataset, encodings),
        text_doubt=doubt,
    )


def _uid(dataset: Dataset, keyword: str, fallback: str = "") -> str:
    uid = raw_text(dataset, keyword, ("latin_1",)) or fallback
    if not uid:
        raise Unreadable(f"{keyword} is missing: not a DICOM composite object")
    if not _UID.fullmatch(uid):
        raise Unreadable(
            f"{keyword} is not a UID (PS3.5 9.1): {len(uid)} characters, or others than digits and dots"
        )
    return uid


def _whole_number(dataset: Dataset, keyword: str) -> int:
    element = dataset.get_item(tag_of(keyword), keep_deferred=True)
    if element is None:
        return 0
    if isinstance(element, RawDataElement) and element.VR == "US" and len(element.value or b"") == _US_BYTES:
        # By far the commonest; pydicom's own way is right as well and takes ten times as long.
        return int.from_bytes(element.value, "little" if element.is_little_endian else "big")
    try:
        value = dataset[element.tag].value
    except (OSError, *CONTENT_ERRORS):
        return 0
    first = value[0] if isinstance(value, (list, tuple)) or hasattr(value, "append") else value
    text = str(first).strip()
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else 0


def bounded_number(text: str) -> str:
    """Gives an accession number as it was sent; "" for one that is longer than any: half of it might be another's."""
    return text if len(text) <= NUMBER_CHARACTERS_MAX else ""


def issuer_of(dataset: Dataset, encodings: tuple[str, ...]) -> str:
    """Issuer of Patient ID, else the Universal Entity ID of its qualifiers (PS3.3 C.2.2, Table 10-18)."""
    issuer = raw_text(dataset, "IssuerOfPatientID", encodings)
    if issuer:
        return issuer
    qualifiers = small_sequence(dataset, "IssuerOfPatientIDQualifiersSequence")
    return raw_text(qualifiers[0], "UniversalEntityID", encodings) if qualifiers else ""


def _other_patient_ids(dataset: Dataset, encodings: tuple[str, ...]) -> tuple[PatientIdentifier, ...]:
    """Other Patient IDs Sequence (PS3.3 C.2.2). What names no issuer is left: nobody knows whose number it is."""
    found = (
        PatientIdentifier(raw_text(one, "PatientID", encodings), issuer_of(one, encodings))
        for one in small_sequence(dataset, "OtherPatientIDsSequence")
    )
    return tuple(dict.fromkeys(one for one in found if one.patient_id and one.issuer))


def _indication(dataset: Dataset, encodings: tuple[str, ...]) -> str:
    """The first of: reason for the procedure or the study, patient history, admitting diagnoses."""
    requests = small_sequence(dataset, "RequestAttributesSequence")
    said = [
        raw_text(dataset, "ReasonForTheRequestedProcedure", encodings),
        *(raw_text(request, "ReasonForTheRequestedProcedure", encodings) for request in requests),
        raw_text(dataset, "ReasonForStudy", encodings),
        raw_text(dataset, "AdditionalPatientHistory", encodings),
        raw_text(dataset, "AdmittingDiagnosesDescription", encodings),
    ]
    return next((text for text in said if text), "")
