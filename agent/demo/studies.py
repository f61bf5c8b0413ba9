"""Synthetic patients as DICOM: digital radiographs and radiologists' reports, made from the phantom's truth."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from agent.dicom.uids import derived_uid
from inference.phantom.cases import HELD_OUT_SEED_MIN, SyntheticExam, exams, patient

DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"

# Name, character set: what the archive of a hospital in that country would send.
NAMES = (
    ("Larsen^Ida", "ISO_IR 100"),
    ("Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149"),
    ("Okafor^Emeka", "ISO_IR 100"),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87"),
    ("Люксембург^Роза", "ISO_IR 144"),
    ("Buc^Jérôme", "ISO_IR 100"),
    ("Santos^Maria", "ISO_IR 192"),
    ("Weiß^Jürgen", "ISO_IR 100"),
    ("Haddad^Leila", "ISO_IR 192"),
    ("Novak^Petra", "ISO_IR 192"),
    ("Nguyen^An", "ISO_IR 192"),
    ("Smith^Ada", "ISO_IR 192"),
)


@dataclass(frozen=True, slots=True)
class DemoPatient:
    """One synthetic patient with the exam to be reported and, often, an earlier one.

    Attributes:
        name: of the person, as in the DICOM header's first group.
        current, prior: the truth; `prior` is None for a first visit.
        prior_objects: images and the radiologist's report of the earlier exam.
        current_objects: images of the exam to be reported.
    """

    patient_id: str
    name: str
    current: SyntheticExam
    prior: SyntheticExam | None
    prior_objects: tuple[Dataset, ...]
    current_objects: tuple[Dataset, ...]

    @property
    def study_instance_uid(self) -> str:
        return str(self.current_objects[0].StudyInstanceUID)


@dataclass(frozen=True, slots=True)
class _Person:
    patient_id: str
    name: str
    charset: str
    birth_date: str
    sex: str


def demo_patient(position: int, now: datetime, *, rows: int, columns: int) -> DemoPatient:
    """Makes the synthetic patient number `position` with an exam taken at `now` (local time of the hospital).

    Two of three patients have an earlier exam with a radiologist's report; one of four was taken on a system
    that sends MONOCHROME1.
    """
    seed = HELD_OUT_SEED_MIN + position
    name, charset = NAMES[position % len(NAMES)]
    person = _Person(
        f"DEMO{position + 1:04d}",
        name,
        charset,
        f"{1940 + position * 5 % 60}0{position % 9 + 1}15",
        "FM"[position % 2],
    )
    history = exams(patient(seed), 2 if position % 3 else 1)
    current, prior = history[-1], history[-2] if len(history) > 1 else None
    polarity = "MONOCHROME1" if position % 4 == 3 else "MONOCHROME2"
    prior_objects: tuple[Dataset, ...] = ()
    if prior is not None:
        taken = now - timedelta(days=prior.days_before_last)
        images = _images(person, prior, taken, polarity, rows, columns)
        prior_objects = (*images, _report(person, prior, taken, images[0]))
    return DemoPatient(
        person.patient_id,
        name.split("=")[0],
        current,
        prior,
        prior_objects,
        _images(person, current, now, polarity, rows, columns),
    )


def _common(person: _Person, taken: datetime, sop_class: str, *parts: str) -> Dataset:
    study = ("demo study", person.patient_id, taken.date().isoformat())
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = person.charset.split("\\")
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = derived_uid(*study, *parts)
    dataset.StudyInstanceUID = derived_uid(*study)
    dataset.StudyDate = dataset.ContentDate = taken.strftime("%Y%m%d")
    dataset.StudyTime = dataset.ContentTime = taken.strftime("%H%M%S")
    dataset.AccessionNumber = f"{taken:%y%m%d}{person.patient_id[-4:]}"
    dataset.StudyID = "1"
    dataset.StudyDescription = "Chest X-ray (synthetic)"
    dataset.ReferringPhysicianName = ""
    dataset.PatientName = person.name
    dataset.PatientID = person.patient_id
    dataset.IssuerOfPatientID = "DEMO"
    dataset.PatientBirthDate = person.birth_date
    dataset.PatientSex = person.sex
    dataset.Manufacturer = "preread"
    dataset.ManufacturerModelName = "phantom"
    dataset.SoftwareVersions = "1"
    return dataset


def _images(
    person: _Person, exam: SyntheticExam, taken: datetime, polarity: str, rows: int, columns: int
) -> tuple[Dataset, ...]:
    return tuple(
        _radiograph(person, exam, view, number, taken, polarity, rows, columns)
        for number, view in enumerate(exam.views, start=1)
    )


def _radiograph(
    person: _Person,
    exam: SyntheticExam,
    view: str,
    number: int,
    taken: datetime,
    polarity: str,
    rows: int,
    columns: int,
) -> Dataset:
    dataset = _common(person, taken, DX_FOR_PRESENTATION, "image", view)
    dataset.Modality = "DX"
    dataset.SeriesInstanceUID = derived_uid(str(dataset.StudyInstanceUID), "series", "DX")
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "Chest (synthetic)"
    dataset.InstanceNumber = number
    dataset.AcquisitionDate, dataset.AcquisitionTime = dataset.StudyDate, dataset.StudyTime
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA" if view == "PA" else "LL"
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.PatientOrientation = ["L", "F"] if view == "PA" else ["P", "F"]
    dataset.ImageLaterality = "U"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.AnatomicRegionSequence = [_code(("51185008", "SCT", "Chest"))]
    dataset.ViewCodeSequence = [_view_code(view)]
    dataset.AcquisitionContextSequence = []
    dataset.PositionerType = "NONE"
    dataset.DetectorType = "DIRECT"
    dataset.DetectorID = "PHANTOM"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1 if polarity == "MONOCHROME1" else 1
    dataset.ImagerPixelSpacing = [400 / rows, 400 / rows]
    _set_pixels(dataset, exam.draw(view, rows, columns) >> 4, polarity)
    return dataset


def _set_pixels(dataset: Dataset, pixels: np.ndarray, polarity: str) -> None:
    """12 bits stored; for MONOCHROME1 dense is dark, as such a system sends it (PS3.3 C.7.6.3.1.2)."""
    stored = (4095 - pixels if polarity == "MONOCHROME1" else pixels).astype("<u2")  # (rows, columns)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = polarity
    dataset.PresentationLUTShape = "INVERSE" if polarity == "MONOCHROME1" else "IDENTITY"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.PixelData = stored.tobytes()


def _report(person: _Person, exam: SyntheticExam, taken: datetime, image: Dataset) -> Dataset:
    """What the radiologist of that day wrote, as a verified Basic Text SR (TID 2000)."""
    dataset = _common(person, taken, BASIC_TEXT_SR, "report")
    dataset.Modality = "SR"
    dataset.SeriesInstanceUID = derived_uid(str(dataset.StudyInstanceUID), "series", "SR")
    dataset.SeriesNumber = 2
    dataset.InstanceNumber = 1
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "VERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.PerformedProcedureCodeSequence = []
    verifier = Dataset()
    verifier.VerifyingOrganization = "Demo Hospital"
    verifier.VerificationDateTime = taken.strftime("%Y%m%d%H%M%S")
    verifier.VerifyingObserverName = "Demo^Radiologist"
    verifier.VerifyingObserverIdentificationCodeSequence = []
    dataset.VerifyingObserverSequence = [verifier]
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(image)]
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = [_code(("18748-4", "LN", "Diagnostic Imaging Report"))]
    dataset.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2000"
    dataset.ContentTemplateSequence = [template]
    observer = _item("HAS OBS CONTEXT", "PNAME", ("121008", "DCM", "Person Observer Name"))
    observer.PersonName = "Demo^Radiologist"
    dataset.ContentSequence = [
        observer,
        _section(("59776-5", "LN", "Findings"), ("121071", "DCM", "Finding"), exam.report(None)),
        _section(("19005-8", "LN", "Impressions"), ("121073", "DCM", "Impression"), exam.impression(None)),
    ]
    return dataset


def _section(heading: tuple[str, str, str], concept: tuple[str, str, str], text: str) -> Dataset:
    section = _item("CONTAINS", "CONTAINER", heading)
    section.ContinuityOfContent = "SEPARATE"
    entry = _item("CONTAINS", "TEXT", concept)
    entry.TextValue = text
    section.ContentSequence = [entry]
    return section


def _item(relationship: str, value_type: str, name: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, value_type
    item.ConceptNameCodeSequence = [_code(name)]
    return item


def _evidence(image: Dataset) -> Dataset:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = (
        image.SOPClassUID,
        image.SOPInstanceUID,
    )
    series.ReferencedSOPSequence, series.SeriesInstanceUID = [instance], image.SeriesInstanceUID
    study.ReferencedSeriesSequence, study.StudyInstanceUID = [series], image.StudyInstanceUID
    return study


def _code(code: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def _view_code(view: str) -> Dataset:
    """CID 4010; a postero-anterior view needs no modifier here but DX wants the (empty) sequence."""
    item = _code(
        ("272479007", "SCT", "postero-anterior") if view == "PA" else ("399173006", "SCT", "left lateral")
    )
    item.ViewModifierCodeSequence = []
    return item
