"""Builds whole, valid DICOM objects for tests. A test says only what it is about; the rest is plausible.

The same arguments give the same bytes: UIDs are derived from them and the calendar stands still at TODAY.
"""

from collections.abc import Collection
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

TODAY = date(2026, 3, 2)
"""The day of a study with `days_ago=0`."""

_IMPLEMENTATION_CLASS_UID = "2.25.178428137465221842385137482214211902"
_NAMESPACE = UUID("5f0a1d0e-5d0b-4c0e-9a55-0c0ffee0cafe")

# PS3.16 CID 4010: ViewPosition to the view's code.
_VIEW_CODES = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
    "RL": ("399198007", "right lateral"),
    "LATERAL": ("399067008", "lateral"),
}


def a_uid(*parts: object) -> str:
    """A UID derived from `parts`: the same parts give the same UID (PS3.5 B.2)."""
    return f"2.25.{uuid5(_NAMESPACE, '|'.join(map(str, parts))).int}"


def a_day(days_ago: int = 0) -> str:
    """The DICOM date `days_ago` days before TODAY."""
    return (TODAY - timedelta(days=days_ago)).strftime("%Y%m%d")


def a_code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (PS3.3 Section 8)."""
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    code.CodeMeaning = meaning
    return code


def chest_pixels(rows: int, columns: int, *, bits: int = 12) -> NDArray[np.uint16]:
    """(rows, columns) stored values that look a little like a chest: two dark lungs, a bright middle."""
    row = np.linspace(-1.0, 1.0, rows)[:, np.newaxis]
    column = np.linspace(-1.0, 1.0, columns)[np.newaxis, :]
    lungs = sum(np.exp(-(((column - side) / 0.25) ** 2) - (row / 0.6) ** 2) for side in (-0.45, 0.45))
    bright = 0.9 - 0.7 * np.asarray(lungs) + 0.08 * row
    return np.clip(bright * (2**bits - 1), 0, 2**bits - 1).astype(np.uint16)


def a_radiograph(
    *,
    patient_id: str = "A1",
    issuer: str = "",
    name: str = "Doe^Jane",
    birth_date: str = "19500101",
    sex: str = "F",
    study_uid: str | None = None,
    view: str = "PA",
    days_ago: int = 0,
    time: str = "083000",
    number: int = 1,
    modality: str = "DX",
    photometric: str = "MONOCHROME2",
    rows: int = 64,
    columns: int = 48,
    bits: int = 12,
    pixels: NDArray[Any] | None = None,
    window: tuple[float, float] | None = None,
    spacing_mm: tuple[float, float] | None = (0.2, 0.2),
    body_part: str = "CHEST",
    study_description: str = "XR CHEST",
    series_description: str = "",
    indication: str = "",
    accession: str = "",
    manufacturer: str = "Testray",
    charset: str = "ISO_IR 192",
    transfer_syntax: str = ExplicitVRLittleEndian,
    missing: Collection[str] = (),
) -> Dataset:
    """A whole DX (PS3.3 A.26, for presentation) or CR (A.2) image with file meta, ready to write or to send.

    Args:
        study_uid: derived from patient, issuer and day if None, so that views of one day share a study.
        view: ViewPosition as sent ("PA", "AP", "LL", "RL", "LATERAL", "" ...).
        number: of the image in its study; images with different numbers are different instances.
        pixels: (rows, columns) stored values, unsigned; a synthetic chest if None. Bits stored is `bits`.
        window: (center, width); None gives a DX the window of the full range (it must have one), a CR none.
        transfer_syntax: an uncompressed one, or one pydicom can write by itself (RLE, JPEG-LS, JPEG 2000).
        missing: keywords to leave out at the end, for what real senders forget.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = charset
    study_uid = study_uid or a_uid("study", patient_id, issuer, days_ago)
    _identify(dataset, patient_id, issuer, name, birth_date, sex)
    _place_in_study(dataset, study_uid, days_ago, time, accession, study_description)
    stored = chest_pixels(rows, columns, bits=bits) if pixels is None else np.asarray(pixels)
    dataset.SOPClassUID = (
        DigitalXRayImageStorageForPresentation if modality == "DX" else ComputedRadiographyImageStorage
    )
    dataset.SOPInstanceUID = a_uid("instance", study_uid, modality, view, number)
    dataset.SeriesInstanceUID = a_uid("series", study_uid, modality, view)
    dataset.Modality = modality
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.SeriesDescription = series_description
    dataset.Manufacturer = manufacturer
    dataset.BodyPartExamined = body_part
    dataset.ViewPosition = view
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""] if modality == "DX" else ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = ["A", "F"] if view in ("LL", "RL", "LATERAL") else ["L", "F"]
    dataset.AcquisitionDate = dataset.ContentDate = dataset.StudyDate
    dataset.AcquisitionTime = dataset.ContentTime = dataset.StudyTime
    if indication:
        dataset.ReasonForStudy = indication
    if spacing_mm is not None:
        dataset.ImagerPixelSpacing = list(spacing_mm)
    if window is not None:
        dataset.WindowCenter, dataset.WindowWidth = window
    if modality == "DX":
        _complete_dx(dataset, view, photometric, bits)
    _put_pixels(dataset, stored, photometric, bits)
    return _finish(dataset, transfer_syntax, missing)


def having(dataset: Dataset, **attributes: Any) -> Dataset:
    """The object with these attributes more, by keyword; a list of datasets becomes a sequence."""
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def undeclared(dataset: Dataset) -> Dataset:
    """The object as a sender would send it that forgets Specific Character Set: its text, not decoded, and no word of
    how it is encoded."""
    sent = dcmread(BytesIO(as_bytes(dataset)))
    del sent.SpecificCharacterSet
    # Or pydicom would decode the names once more when they are written.
    sent.set_original_encoding(*sent.original_encoding, "iso8859")
    return sent


def a_report_sr(
    *,
    patient_id: str = "A1",
    issuer: str = "",
    name: str = "Doe^Jane",
    birth_date: str = "19500101",
    sex: str = "F",
    study_uid: str | None = None,
    days_ago: int = 0,
    time: str = "083000",
    number: int = 1,
    findings: str = "The lungs are clear. The heart is of normal size.",
    impression: str = "No acute disease.",
    indication: str = "Cough.",
    headings: str = "loinc",
    verified: bool = True,
    manufacturer: str = "Dictaphone",
    observer: str = "Reader^Rita",
    accession: str = "",
    charset: str = "ISO_IR 192",
    transfer_syntax: str = ExplicitVRLittleEndian,
    missing: Collection[str] = (),
) -> Dataset:
    """A plausible Basic Text SR of a radiologist (PS3.3 A.35.1, TID 2000) in the study of the same arguments.

    Args:
        findings, impression, indication: "" leaves the section out.
        headings: "loinc" (today's CID 7001), "dcm" (its older edition), or "free" (one long text).
        observer: person observer; "" writes a device observer called as `manufacturer` instead.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = charset
    study_uid = study_uid or a_uid("study", patient_id, issuer, days_ago)
    _identify(dataset, patient_id, issuer, name, birth_date, sex)
    _place_in_study(dataset, study_uid, days_ago, time, accession, "XR CHEST")
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.SOPInstanceUID = a_uid("report", study_uid, number)
    dataset.SeriesInstanceUID = a_uid("report series", study_uid)
    dataset.Modality = "SR"
    dataset.SeriesNumber = 100
    dataset.InstanceNumber = number
    dataset.Manufacturer = manufacturer
    dataset.ContentDate, dataset.ContentTime = dataset.StudyDate, dataset.StudyTime
    dataset.ReferencedPerformedProcedureStepSequence = Sequence()
    dataset.PerformedProcedureCodeSequence = Sequence()
    dataset.CompletionFlag = "COMPLETE"
    _verify(dataset, verified, observer)
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = Sequence([a_code("18748-4", "LN", "Diagnostic Imaging Report")])
    dataset.ContinuityOfContent = "SEPARATE"
    sections = {"indication": indication, "findings": findings, "impression": impression}
    dataset.ContentSequence = Sequence(
        [*_observed_by(observer, manufacturer), *_report_content(sections, headings)]
    )
    return _finish(dataset, transfer_syntax, missing)


def as_bytes(dataset: Dataset) -> bytes:
    """The bytes of `dataset` as a DICOM file (PS3.10)."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write(dataset: Dataset, path: Path) -> Path:
    """Writes `dataset` as a DICOM file (PS3.10) and gives `path` back. Folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def mutilated(content: bytes, bites: list[tuple[float, int]], cut: float) -> bytes:
    """`content` with some bytes changed, each at a share of its length, and cut short."""
    bitten = bytearray(content)
    for place, value in bites:
        bitten[int(place * (len(bitten) - 1))] = value
    return bytes(bitten[: int(len(bitten) * (1 - cut * cut))])


def _identify(dataset: Dataset, patient_id: str, issuer: str, name: str, birth_date: str, sex: str) -> None:
    dataset.PatientName = name
    dataset.PatientID = patient_id
    if issuer:
        dataset.IssuerOfPatientID = issuer
    dataset.PatientBirthDate = birth_date
    dataset.PatientSex = sex


def _place_in_study(
    dataset: Dataset, study_uid: str, days_ago: int, time: str, accession: str, description: str
) -> None:
    dataset.StudyInstanceUID = study_uid
    dataset.StudyDate = a_day(days_ago)
    dataset.StudyTime = time
    dataset.StudyID = "1"
    dataset.AccessionNumber = accession
    dataset.ReferringPhysicianName = "Ref^Anna"
    dataset.StudyDescription = description


def _complete_dx(dataset: Dataset, view: str, photometric: str, bits: int) -> None:
    """What PS3.3 A.26 wants of a DX image beyond a CR."""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = Sequence([a_code("51185008", "SCT", "Chest")])
    dataset.DetectorType = "DIRECT"
    dataset.PositionerType = "NONE"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1 if photometric == "MONOCHROME2" else 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.AcquisitionContextSequence = Sequence()
    if view in _VIEW_CODES:
        value, meaning = _VIEW_CODES[view]
        dataset.ViewCodeSequence = Sequence([a_code(value, "SCT", meaning)])
        dataset.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    if "WindowCenter" not in dataset:
        dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits


def _put_pixels(dataset: Dataset, stored: NDArray[Any], photometric: str, bits: int) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    kind = np.dtype("u1" if bits <= 8 else "<u2")
    encoded = stored.astype(kind).tobytes()
    dataset.add_new("PixelData", "OB" if bits <= 8 else "OW", encoded + b"\0" * (len(encoded) % 2))


def _finish(dataset: Dataset, transfer_syntax: str, missing: Collection[str]) -> Dataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_CLASS_UID)
    dataset.file_meta = meta
    if UID(transfer_syntax).is_compressed and not UID(transfer_syntax).is_deflated:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    for keyword in missing:
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def _verify(dataset: Dataset, verified: bool, observer: str) -> None:
    dataset.VerificationFlag = "VERIFIED" if verified else "UNVERIFIED"
    if not verified:
        return
    signature = Dataset()
    signature.VerifyingObserverName = observer or "Reader^Rita"
    signature.VerifyingObserverIdentificationCodeSequence = Sequence()
    signature.VerifyingOrganization = "Clinic"
    signature.VerificationDateTime = f"{dataset.StudyDate}{dataset.StudyTime}"
    dataset.VerifyingObserverSequence = Sequence([signature])


def _content(value_type: str, concept: Dataset, relationship: str, **values: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = Sequence([concept])
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _observed_by(observer: str, manufacturer: str) -> list[Dataset]:
    """TID 1001 observation context: one person, or one device."""
    kind = a_code("121006", "DCM", "Person") if observer else a_code("121007", "DCM", "Device")
    observer_type = _content(
        "CODE",
        a_code("121005", "DCM", "Observer Type"),
        "HAS OBS CONTEXT",
        ConceptCodeSequence=Sequence([kind]),
    )
    if observer:
        who = _content(
            "PNAME",
            a_code("121008", "DCM", "Person Observer Name"),
            "HAS OBS CONTEXT",
            PersonName=observer,
        )
        return [observer_type, who]
    device_uid = _content(
        "UIDREF",
        a_code("121012", "DCM", "Device Observer UID"),
        "HAS OBS CONTEXT",
        UID=a_uid("device", manufacturer),
    )
    device_name = _content(
        "TEXT",
        a_code("121013", "DCM", "Device Observer Name"),
        "HAS OBS CONTEXT",
        TextValue=manufacturer,
    )
    return [observer_type, device_uid, device_name]


# Section name to (heading, text item) codes of TID 2000, as today's edition and an older one have them.
_REPORT_CODES = {
    "loinc": {
        "indication": (("55115-0", "LN", "Request"), ("121062", "DCM", "Request")),
        "findings": (("59776-5", "LN", "Findings"), ("121071", "DCM", "Finding")),
        "impression": (("19005-8", "LN", "Impressions"), ("121073", "DCM", "Impression")),
    },
    "dcm": {
        "indication": (("121062", "DCM", "Request"), ("121062", "DCM", "Request")),
        "findings": (("121070", "DCM", "Findings"), ("121071", "DCM", "Finding")),
        "impression": (("121072", "DCM", "Impressions"), ("121073", "DCM", "Impression")),
    },
}


def _report_content(sections: dict[str, str], headings: str) -> list[Dataset]:
    told = {section: text for section, text in sections.items() if text}
    if headings == "free":
        whole = "\r\n".join(f"{section.upper()}: {text}" for section, text in told.items())
        return [_content("TEXT", a_code("111412", "DCM", "Narrative Summary"), "CONTAINS", TextValue=whole)]
    content = []
    for section, text in told.items():
        heading, concept = _REPORT_CODES[headings][section]
        line = _content("TEXT", a_code(*concept), "CONTAINS", TextValue=text)
        content.append(
            _content(
                "CONTAINER",
                a_code(*heading),
                "CONTAINS",
                ContinuityOfContent="SEPARATE",
                ContentSequence=Sequence([line]),
            )
        )
    return content
