"""The printed draft: Encapsulated PDF (PS3.3 A.45.1), the words of the text report and the pictures.

For systems that show documents and no structured reports. Its words are taken from the text report itself, so that
the two cannot differ.
"""

from highdicom import SOPClass
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EncapsulatedPDFStorage

from agent.outputs.capture import picture_of, pictured
from agent.outputs.heading import finished, heading
from agent.outputs.marks import Mark, Marks, marks_of
from agent.outputs.normalise import evidence, normalised, sop_instance_uid
from agent.outputs.page import Draft, PagePicture, Section, pdf_of
from agent.outputs.report_sr import build_report_sr
from agent.outputs.sr import concept
from agent.outputs.stamp import Narrative, Sources, Stamp
from agent.outputs.wording import as_text, banner, phrase, program
from inference.reading import EngineIdentity, Reading

KIND = "encapsulated_pdf"

PICTURE_SIDE_PX_MAX = 1024
"""Longest side of a film on the page: some 150 dots per inch across its width."""


def build_encapsulated_pdf(
    sources: Sources, reading: Reading, narrative: Narrative, stamp: Stamp
) -> tuple[Dataset, ...]:
    """Makes one document of the draft.

    Raises:
        ValueError: if the pixels of an image to be shown are not in `sources.pixels`, or of another size.
    """
    (report,) = build_report_sr(sources, reading, narrative, stamp)
    marks = marks_of(sources, reading)
    shown = pictured(sources, marks)
    pictures = [_picture(header, marks, sources, reading, stamp) for header in shown]
    *clinical, reasons = _sections(report)
    draft = Draft(
        warning=banner(reading.engine),
        patient=_patient(report),
        maker=f"{stamp.device.model_name} {stamp.device.software_version}. {program(reading.engine)}",
        parts=(*clinical, *pictures, reasons),
        now=stamp.now,
    )
    return (finished(_document(draft, shown, sources, reading.engine, stamp), sources.current[0], stamp),)


def _document(
    draft: Draft, shown: list[Dataset], sources: Sources, engine: EngineIdentity, stamp: Stamp
) -> Dataset:
    content = pdf_of(draft)
    arguments = heading(KIND, 0, sources, engine, stamp)
    equipment = arguments.pop("contributing_equipment")
    document = SOPClass(
        study_instance_uid=str(sources.current[0].StudyInstanceUID),
        sop_class_uid=EncapsulatedPDFStorage,
        modality="DOC",
        content_date=stamp.now.date(),
        content_time=stamp.now.time(),
        **arguments,
    )
    document._add_contributing_equipment(equipment)  # highdicom has no class for this IOD, only the base
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "YES"  # the patient's name stands on the page
    document.VerificationFlag = "UNVERIFIED"
    document.DocumentTitle = f"{draft.warning} - chest radiograph"
    document.ConceptNameCodeSequence = [concept(codes.LN.DiagnosticImagingReport)]
    document.SourceInstanceSequence = [_reference(header) for header in shown]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(content)
    document.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    return document


def _reference(header: Dataset) -> Dataset:
    image, reference = evidence(header), Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _patient(report: Dataset) -> tuple[str, ...]:
    """Says whose study it is, as sent: every group of the name, then what else names patient and study."""
    groups = [group.replace("^", " ").strip() for group in str(report.PatientName).split("=")]
    facts = (
        ("Patient ID", report.PatientID),
        ("born", report.PatientBirthDate),
        ("sex", report.PatientSex),
        ("study of", report.StudyDate),
        ("accession", report.AccessionNumber),
    )
    known = ", ".join(f"{name} {value}" for name, value in facts if value)
    lines = (" = ".join(filter(None, groups)), known, f"Study {report.StudyInstanceUID}")
    return tuple(as_text(line) for line in lines if line)


def _sections(report: Dataset) -> list[Section]:
    """The sections of the text report that hold words, as they stand there."""
    sections = []
    for container in report.ContentSequence:
        items = container.get("ContentSequence") or []
        told = tuple((_name(item), str(item.TextValue)) for item in items if item.ValueType == "TEXT")
        if told:
            sections.append(Section(_name(container), told))
    return sections


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _picture(header: Dataset, marks: Marks, sources: Sources, reading: Reading, stamp: Stamp) -> PagePicture:
    pixels = picture_of(header, marks, sources, reading, stamp, side_px_max=PICTURE_SIDE_PX_MAX)
    view = normalised(header).get("ViewPosition") or "view not sent"
    image = f"Image {sop_instance_uid(header)}, {view}; {stamp.image_rendering}."
    return PagePicture(pixels, as_text("\n".join([image, *(_placed(mark) for mark in marks.on(header))])))


def _placed(mark: Mark) -> str:
    box = mark.box
    place = f"columns {box.left:g} to {box.right:g}, rows {box.top:g} to {box.bottom:g}"
    return f"{mark.identifier} {phrase(mark.finding)}; {mark.finding.status}; {place}"
