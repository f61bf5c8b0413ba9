"""Takes the patient out of DICOM objects: PS3.15 Annex E, Basic Application Level Confidentiality Profile.

Which attribute is removed, emptied or replaced is Table E.1-1 of edition 2026c, as dicom-anonymizer has it. Around it
stands what it leaves to its caller: items of sequences at every depth, UIDs and dates that stay the same in all objects
of one export, the file meta, and pixels that may show a name.

With the option Retain Longitudinal Temporal Information With Modified Dates (E.3.6): all dates are earlier by one
number of whole days, and times are cut to the hour. In objects of our own, whose words are all in known places, the
tree of a report and the drawings of a presentation state stay (E.3.3, E.3.4) and their words go.
"""

import hmac
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

from dicomanonymizer import simpledicomanonymizer as profile
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

from agent.dicom.opening import CONTENT_ERRORS, Unreadable, quietly, read_whole
from agent.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

TABLE = "dicomfields_2026c"
"""The library's name of Table E.1-1, edition 2026c; its default is that of 2023."""

REMOVED = "removed"
"""Stands for words that were taken out."""

_TEMPORAL_VRS = ("DA", "DT", "TM")
_TEXT_VRS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_IDENTIFIERS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID")
_BASIC = ("113100", "Basic Application Confidentiality Profile")
_GRAPHICS = ("113103", "Clean Graphics Option")
_STRUCTURE = ("113104", "Clean Structured Content Option")
_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_DATE_AND_HOUR = re.compile(r"(\d{8})(\d{2})?")

_Rules = dict[tuple[int, ...], Callable[[Dataset, Any], None]]


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """What UIDs, numbers and dates become in one export: the same ones always the same.

    Attributes:
        key: of the hash behind every new UID; who has it can try known UIDs. It is never written anywhere.
        days: how many days earlier all dates become; likewise.
        replaced: UID as it was to UID as it is, of all that were asked for.
    """

    key: bytes
    days: int
    replaced: dict[str, str] = field(default_factory=dict)

    def uid(self, old: str) -> str:
        """Gives the UID that stands for `old`: "2.25." and a number (PS3.5 B.2)."""
        if old not in self.replaced:
            number = UUID(bytes=self._digest("uid", old)[:16], version=4).int
            self.replaced[old] = f"2.25.{number}"
        return self.replaced[old]

    def patient_id(self, old: str) -> str:
        """Gives the Patient ID that stands for `old`, so that two patients in one export stay two."""
        return f"P{self._digest('patient', old).hex()[:12].upper()}" if old else ""

    def date(self, old: str) -> str:
        """Gives a DA value as many days earlier; "" for what is no date."""
        try:
            year, month, day = _DATE.fullmatch(old.replace(".", "").strip()).groups()  # type: ignore[union-attr]
            earlier = date(int(year), int(month), int(day)) - timedelta(days=self.days)
        except (AttributeError, ValueError, OverflowError):
            return ""
        return earlier.isoformat().replace("-", "")

    def time(self, old: str) -> str:
        """Gives the hour of a TM value as a whole one; "" for what is no time."""
        hour = old.strip()[:2]
        return f"{hour}0000" if hour.isdigit() and len(hour) == 2 else ""

    def date_time(self, old: str) -> str:
        """Gives a DT value shifted and cut likewise, without its offset; "" if it does not name a day."""
        found = _DATE_AND_HOUR.match(old.strip())
        if found is None:
            return ""
        date = self.date(found[1])
        return f"{date}{self.time(found[2])}" if date and found[2] else date

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.key, f"{kind}:{old}".encode(), "sha256")


@dataclass(frozen=True, slots=True)
class Identity:
    """What an object says of who it is about and who made it, word by word, to be looked for afterwards.

    Attributes:
        names: parts of every person's name, at every depth.
        identifiers: Patient IDs, accession numbers and their like.
        birth_dates: "YYYYMMDD".
        encodings: Python's names of the character sets that the object was written in.
    """

    names: frozenset[str] = frozenset()
    identifiers: frozenset[str] = frozenset()
    birth_dates: frozenset[str] = frozenset()
    encodings: frozenset[str] = frozenset()

    def __or__(self, other: "Identity") -> "Identity":
        return Identity(
            self.names | other.names,
            self.identifiers | other.identifiers,
            self.birth_dates | other.birth_dates,
            self.encodings | other.encodings,
        )


def name_parts(name: str) -> frozenset[str]:
    """Splits a person's name into its words, of every representation."""
    return frozenset(part for part in re.split(r"[\^=\s,.]+", name) if part)


def reason_against_pixels(dataset: Dataset, *, is_seen: bool) -> str | None:
    """Why the pixels of an image may not be handed over, or None if they may.

    Args:
        is_seen: somebody has looked at them and found nobody's name in them.
    """
    with quietly():
        burned_in = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
        features = str(dataset.get("RecognizableVisualFeatures") or "").strip().upper()
        overlays = [group for group in range(0x6000, 0x6020, 2) if (group, 0x0010) in dataset]
        is_embedded = any((group, 0x3000) not in dataset for group in overlays)
    if burned_in == "YES":
        return "its header says that text is burned into its pixels (Burned In Annotation YES)"
    if features == "YES":
        return "its header says that its pixels show who it is (Recognizable Visual Features YES)"
    if is_embedded:
        return "it carries an overlay within its pixel values, which cannot be taken out"
    if burned_in != "NO" and not is_seen:
        return (
            "its header does not say that no text is burned into its pixels (Burned In Annotation); look at it, and if "
            "nobody can be recognised, add --pixels-seen"
        )
    return None


def read_to_deidentify(path: Path, bytes_max: int) -> tuple[Dataset, Identity]:
    """Reads a whole object, and what it says of who it is about.

    Raises:
        Unreadable: if it is no DICOM, or of content that cannot be gone through.
        OSError: if the disk fails.
    """
    dataset = read_whole(path, bytes_max=bytes_max)
    with quietly(), _judged():
        return dataset, _identity_of(dataset)


def deidentified(dataset: Dataset, pseudonyms: Pseudonyms, *, is_ours: bool) -> bytes:
    """Takes the patient, and whoever else is named, out of an object; gives the bytes of a DICOM file (PS3.10).

    Args:
        dataset: whole; changed in place.
        is_ours: preread made it; then its tree and drawings stay, without their words.

    Raises:
        Unreadable: if its content cannot be gone through.
    """
    with quietly(), _judged():
        dataset.walk(lambda _, element: _rename(element, pseudonyms))
        _apply(dataset, _rules(is_ours) | _patient_rules(pseudonyms))
        _declare(dataset, is_ours=is_ours)
        dataset.file_meta = _file_meta(dataset)
        dataset.preamble = None
        with BytesIO() as file:
            dcmwrite(file, dataset, enforce_file_format=True)
            return file.getvalue()


def texts_of(content: bytes) -> Iterator[str]:
    """Reads every text and date of a DICOM file back, at every depth and the file meta's too."""
    with quietly():
        dataset = dcmread(BytesIO(content))
        elements = [*dataset.file_meta, *dataset.iterall()]
        texts = [
            str(value) for e in elements if e.VR in (*_TEXT_VRS, *_TEMPORAL_VRS, "UI") for value in _values(e)
        ]
    yield from texts


@contextmanager
def _judged() -> Iterator[None]:
    """What odd content makes of pydicom and of the library ends as Unreadable, without the content."""
    try:
        yield
    except CONTENT_ERRORS as error:
        raise Unreadable(f"its content cannot be gone through ({type(error).__name__})") from None


def _identity_of(dataset: Dataset) -> Identity:
    names: set[str] = set()
    identifiers: set[str] = set()
    for element in dataset.iterall():
        if element.VR == "PN":
            names.update(*(name_parts(str(value)) for value in _values(element)))
        elif element.keyword in _IDENTIFIERS:
            identifiers.update(str(value).strip() for value in _values(element))
    charset = dataset.get("SpecificCharacterSet")
    encodings = convert_encodings(charset) if charset else []
    birth_date = str(dataset.get("PatientBirthDate") or "").strip()
    return Identity(
        frozenset(names), frozenset(identifiers - {""}), frozenset({birth_date} - {""}), frozenset(encodings)
    )


def _values(element: DataElement) -> Sequence[Any]:
    value = element.value
    if value is None or value == "":
        return ()
    return tuple(value) if hasattr(value, "append") else (value,)


def _rename(element: DataElement, pseudonyms: Pseudonyms) -> None:
    """Gives a UID, a date or a time its new value, in whatever sequence it stands."""
    become = {
        "UI": lambda old: pseudonyms.uid(old) if UID(old).name == old else old,  # others are the Standard's
        "DA": pseudonyms.date,
        "DT": pseudonyms.date_time,
        "TM": pseudonyms.time,
    }.get(element.VR)
    if become is None or element.keyword.endswith("ClassUID") or element.keyword.startswith("PatientBirth"):
        return
    renamed = [become(str(value)) for value in _values(element)]
    if renamed:
        element.value = renamed if len(renamed) > 1 else renamed[0]


def _apply(dataset: Dataset, rules: _Rules) -> None:
    """The library goes through one level alone, so it is called for each item that is left."""
    for tag in list(dataset.keys()):
        if not (tag.is_private or dictionary_has_tag(tag) or _is_repeating(tag.group)):
            del dataset[tag]  # no attribute of the Standard: nobody knows what is in it
    profile.anonymize_dataset(dataset, base_rules_gen=lambda: dict(rules))
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _apply(item, rules)


def _is_repeating(group: int) -> bool:
    return group & 0xFF00 in (0x5000, 0x6000)


@cache
def _rules(is_ours: bool) -> _Rules:
    """Table E.1-1 without what `_rename` does, and with overlays whole rather than their data and comments alone."""
    rules: _Rules = profile.initialize_actions(TABLE)
    for tag, action in rules.items():
        vr = dictionary_VR(tag) if len(tag) == 2 and dictionary_has_tag(tag) else ""
        is_uid = vr == "UI" and action in (profile.replace_UID, profile.replace)
        # X/Z/U: their contained UIDs are replaced, so that references hold.
        is_reference = action is profile.delete_or_empty_or_replace_UID
        if is_uid or is_reference or vr in _TEMPORAL_VRS:
            rules[tag] = profile.keep
    rules[(0x6000, 0x0000, 0xFF00, 0x0000)] = _delete
    if is_ours:
        rules |= {
            _tag("ContentSequence"): profile.keep,
            _tag("GraphicAnnotationSequence"): profile.keep,
            _tag("TextValue"): _say_removed,
            _tag("UnformattedTextValue"): _say_removed,
            _tag("RequestedProcedureID"): _empty,  # type 2 in a document's reference to its request
        }
    return rules


def _patient_rules(pseudonyms: Pseudonyms) -> _Rules:
    def rename(dataset: Dataset, tag: Any) -> None:
        if tag in dataset:
            dataset[tag].value = pseudonyms.patient_id(str(dataset[tag].value or "").strip())

    return {_tag("PatientID"): rename, _tag("PatientBirthDate"): _empty, _tag("PatientBirthTime"): _delete}


def _tag(keyword: str) -> tuple[int, int]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag >> 16, tag & 0xFFFF


def _delete(dataset: Dataset, tag: Any) -> None:
    if tag in dataset:
        del dataset[tag]


def _empty(dataset: Dataset, tag: Any) -> None:
    if tag in dataset:
        dataset[tag].value = ""


def _say_removed(dataset: Dataset, tag: Any) -> None:
    if tag in dataset:
        dataset[tag].value = REMOVED


def _declare(dataset: Dataset, *, is_ours: bool) -> None:
    """Says in the object what was done (PS3.15 E.1.1, E.3.6; PS3.16 CID 7050)."""
    codes = (_BASIC, _DATES, _GRAPHICS, _STRUCTURE) if is_ours else (_BASIC, _DATES)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [
        "PS3.15 Annex E, Table E.1-1 of 2026c",
        f"preread {version('preread')}",
        f"dicom-anonymizer {version('dicom-anonymizer')}",
    ]
    dataset.DeidentificationMethodCodeSequence = Items([_code(*code) for code in codes])
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    """A new one: the stored one names sender, receiver and the instance as it was."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
