"""What every object of ours has in its header: derived UIDs, the stamp's time, patient and study as sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Any

from highdicom import ContributingEquipment
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian

from agent.dicom.opening import quietly
from agent.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from agent.outputs.codes import LOCAL_SCHEME, local_scheme
from agent.outputs.normalise import normalised
from agent.outputs.stamp import Sources, Stamp
from agent.outputs.wording import series_description
from inference.reading import EngineIdentity

KINDS = (
    "report_sr",
    "findings_sr",
    "presentation_state",
    "secondary_capture",
    "key_object_selection",
    "segmentation",
    "encapsulated_pdf",
    "findings_sr_air",
    "rejection_note",
)
"""Keys of OUTPUTS and the note of a withdrawal, in the order of their Series Numbers; a new one comes last, or old
series get new numbers."""

INSTANCES_PER_REVISION = 1000
"""Instance Numbers of one revision; a later one's are higher: viewers show "the last of the series"."""

UTF8 = "ISO_IR 192"

_LONG_STRING_CHARACTERS_MAX = 64  # VR LO
_TEXT_VRS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")  # VRs that obey Specific Character Set (PS3.5 6.1.2.3)
_TWO_BYTE_SETS = tuple(f"ISO 2022 IR {number}" for number in (58, 87, 149, 159))
_CREATION_KEYWORDS = ("InstanceCreation", "Content", "PresentationCreation")


def series_uid(study_instance_uid: str, kind: str, engine: EngineIdentity) -> str:
    """Gives the Series Instance UID of one kind in one study; all revisions share it, those of a demo model another.

    A series has one description (PS3.3 C.7.3.1), and that of a demo model names it.
    """
    return derived_uid("series", study_instance_uid, kind, *(("demo",) if engine.is_demo else ()))


def instance_uid(study_instance_uid: str, kind: str, index: int, engine: EngineIdentity, stamp: Stamp) -> str:
    """Gives the SOP Instance UID of the `index`-th object (from 0) of one kind, revision and engine."""
    identity = (engine.name, engine.version, engine.weights_digest)
    form = (stamp.language, stamp.charset)
    return derived_uid(
        "instance", study_instance_uid, str(stamp.revision), kind, *identity, *form, str(index)
    )


def heading(kind: str, index: int, sources: Sources, engine: EngineIdentity, stamp: Stamp) -> dict[str, Any]:
    """Gives the constructor arguments that all kinds share, for the `index`-th object (from 0)."""
    assert index < INSTANCES_PER_REVISION, f"{index + 1} objects of kind {kind} in one revision"
    study_instance_uid = str(sources.current[0].StudyInstanceUID)
    device = stamp.device
    return {
        "series_instance_uid": series_uid(study_instance_uid, kind, engine),
        "series_number": stamp.series_number_base + KINDS.index(kind),
        "sop_instance_uid": instance_uid(study_instance_uid, kind, index, engine, stamp),
        "instance_number": (stamp.revision - 1) * INSTANCES_PER_REVISION + index + 1,
        "manufacturer": long_string(device.manufacturer),
        "manufacturer_model_name": long_string(device.model_name),
        "software_versions": long_string(device.software_version),
        "device_serial_number": long_string(device.serial_number),
        "series_description": series_description(kind, engine),
        # Never left to highdicom: it takes the source's set, refuses those of Korea and Japan, and writes "?"
        # for every letter it cannot place if there is none.
        "specific_character_set": UTF8,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "contributing_equipment": [_model(engine, device.manufacturer)],
    }


def _model(engine: EngineIdentity, manufacturer: str) -> ContributingEquipment:
    """The model as Contributing Equipment; its Device UID changes when weights or code do (IHE AIR)."""
    item = ContributingEquipment(
        long_string(manufacturer),
        codes.DCM.ProcessingEquipment,
        manufacturer_model_name=long_string(engine.model_name),
        software_versions=long_string(engine.version),
        contribution_description=f"Engine {engine.name}, weights {engine.weights_digest}"[:1024],
    )
    item.DeviceUID = derived_uid(
        "model", engine.name, engine.version, engine.model_name, engine.weights_digest
    )
    return item


def finished(dataset: Dataset, source: Dataset, stamp: Stamp) -> Dataset:
    """Gives `dataset` its patient, study, times and file meta; nothing of highdicom's clock is left.

    Args:
        dataset: made by highdicom from `evidence` headers; changed in place.
        source: the received header whose patient and study it belongs to.
    """
    whole = normalised(source)
    dataset.copy_patient_and_study_information(whole)
    assert str(dataset.PatientName) == str(source.get("PatientName") or ""), "the name is as it was sent"
    institution = stamp.device.institution_name or str(whole.get("InstitutionName") or "")
    if institution:
        dataset.InstitutionName = long_string(institution)
    _set_times(dataset, whole, stamp)
    if any(item.get("CodingSchemeDesignator") == LOCAL_SCHEME for item in _all_items(dataset)):
        dataset.CodingSchemeIdentificationSequence = [local_scheme()]
    dataset.SpecificCharacterSet = UTF8
    if stamp.charset == "source" and "SpecificCharacterSet" in whole:
        dataset.SpecificCharacterSet = _with_code_extensions(whole.SpecificCharacterSet)
        if _lost_letters(dataset):
            dataset.SpecificCharacterSet = UTF8
    dataset.file_meta = _file_meta(dataset)
    return dataset


def _with_code_extensions(charset: str | Sequence[str]) -> str | Sequence[str]:
    """Puts the default repertoire before a set of two bytes that stands alone, as senders write it and PS3.3
    C.12.1.1.2 forbids."""
    return ["", charset] if charset in _TWO_BYTE_SETS else charset


def _set_times(dataset: Dataset, source: Dataset, stamp: Stamp) -> None:
    sent_offset = _offset(str(source.get("TimezoneOffsetFromUTC") or ""))
    now = stamp.now if sent_offset is None else stamp.now.astimezone(sent_offset)
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    for prefix in _CREATION_KEYWORDS:
        if f"{prefix}Date" in dataset:
            setattr(dataset, f"{prefix}Date", date)
            setattr(dataset, f"{prefix}Time", time)
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time
    # The last one is highdicom itself, which adds itself with its own clock.
    dataset.ContributingEquipmentSequence[-1].ContributionDateTime = f"{date}{time}"
    dataset.TimezoneOffsetFromUTC = now.strftime("%z")[:5]


def _offset(text: str) -> timezone | None:
    """Reads Timezone Offset From UTC, "&ZZXX" with a sign (PS3.3 C.12.1.1.8); None if absent or malformed."""
    try:
        parsed = datetime.strptime(text.strip(), "%z").utcoffset()
    except ValueError:
        return None
    return timezone(parsed or timedelta())


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def encode(dataset: Dataset) -> bytes:
    """Gives the DICOM file (PS3.10) of one of our objects: the same object, the same bytes.

    Raises:
        ValueError: if a text does not survive: pydicom writes "?" for what its character set cannot hold, and
            only warns.
    """
    with quietly():  # of the substitute letters, too, but those we look for ourselves
        lost = _lost_letters(dataset)
        if lost:
            raise ValueError(
                f"{', '.join(lost)} cannot be written in {dataset.get('SpecificCharacterSet')!r}"
            )
        return _written(dataset)


def _written(dataset: Dataset) -> bytes:
    with BytesIO() as file:
        dcmwrite(file, dataset, enforce_file_format=True)
        return file.getvalue()


def _lost_letters(dataset: Dataset) -> list[str]:
    """Keywords of the text elements that differ once written and read back."""
    back = dcmread(BytesIO(_written(dataset)))
    before, after = (
        [(e.keyword, str(e.value)) for e in d.iterall() if e.VR in _TEXT_VRS] for d in (dataset, back)
    )
    assert len(before) == len(after), "every text element is written"
    return sorted({a[0] for a, b in zip(before, after, strict=True) if a[1].rstrip() != b[1].rstrip()})


def _all_items(dataset: Dataset) -> list[Dataset]:
    """Every item of every sequence, at every depth."""
    items = []
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                items += [item, *_all_items(item)]
    return items


def long_string(text: str) -> str:
    """Gives `text` as a Long String value: one line, no backslash, at most 64 characters (VR LO)."""
    return " ".join(text.replace("\\", "/").split())[:_LONG_STRING_CHARACTERS_MAX]
