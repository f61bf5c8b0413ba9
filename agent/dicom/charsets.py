"""Finds out which character set a dataset's text is written in, also where the dataset itself does not say."""

from collections.abc import Iterable, Iterator

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from agent.dicom.opening import items_at, quietly, raw_text, tag_of

_OF_THE_PATIENT = ("PatientName", "PatientID")
TELLING_KEYWORDS = frozenset(
    {
        *_OF_THE_PATIENT,
        "AccessionNumber",
        "AcquisitionDeviceProcessingDescription",
        "AdditionalPatientHistory",
        "AdmittingDiagnosesDescription",
        "IssuerOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "Manufacturer",
        "OtherPatientIDsSequence",
        "ProtocolName",
        "ReasonForStudy",
        "ReasonForTheRequestedProcedure",
        "RequestAttributesSequence",
        "SeriesDescription",
        "SpecificCharacterSet",
        "StudyDescription",
        "ViewCodeSequence",
    }
)
"""What tells the character set of a dataset that does not name it; whoever reads a part of a file must ask for
these, or a name would be read in one way here and in another there."""

_OF_THE_PATIENT_TAGS = tuple(map(tag_of, _OF_THE_PATIENT))
_TELLING_TAGS = tuple(map(tag_of, sorted(TELLING_KEYWORDS)))

_TEXT_VRS = frozenset(
    {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
)  # they obey Specific Character Set (PS3.5 6.1.2.3)
_SEQUENCE_BYTES_MAX = 2**20
_DEPTH_MAX = 32


def charset_of(dataset: Dataset, assume_charset: str | None) -> tuple[str, str | None]:
    r"""Gives the Specific Character Set that a dataset's text is to be read with, and a sentence if that is a guess.

    The one that the dataset names (PS3.3 C.12.1.1.2); else the assumed one; else, of text that is not ASCII, ISO_IR
    192 if it is valid UTF-8 and ISO_IR 100 if not; else "".

    Args:
        assume_charset: terms for senders that name none ("\\ISO 2022 IR 149"), or None.
    """
    named = raw_text(dataset, "SpecificCharacterSet", ("latin_1",))
    if named:
        return named, None
    text = _undeclared_text(dataset)
    if not text:
        return assume_charset or "", None
    if assume_charset:
        return assume_charset, f'no Specific Character Set was sent; "{assume_charset}" is assumed'
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return "ISO_IR 100", "no Specific Character Set was sent and the text is not UTF-8; read as Latin-1"
    return "ISO_IR 192", "no Specific Character Set was sent; the text is valid UTF-8 and read as such"


def text_encodings(dataset: Dataset, assume_charset: str | None) -> tuple[tuple[str, ...], str | None]:
    """Gives the Python encodings of `charset_of`, and its sentence."""
    charset, doubt = charset_of(dataset, assume_charset)
    return _encodings(charset), doubt


def declare_charset(dataset: Dataset, assume_charset: str | None) -> None:
    """Writes the Specific Character Set of `charset_of` into a dataset that names none; nothing if that is "".

    Args:
        dataset: as it came from a file, none of its text decoded yet; changed in place.
    """
    with quietly():
        charset, _ = charset_of(dataset, assume_charset)
        if charset and not raw_text(dataset, "SpecificCharacterSet", ("latin_1",)):
            dataset.SpecificCharacterSet = charset
            _read_in(dataset, list(_encodings(charset)))


def _encodings(charset: str) -> tuple[str, ...]:
    return tuple(convert_encodings([term.strip() for term in charset.split("\\")]))


def _undeclared_text(dataset: Dataset) -> bytes:
    """The bytes to judge by; b"" if all text is ASCII.

    Name and number of the patient; only if these are ASCII the rest of what tells, and only then all the rest. The
    listener holds less of a file than who makes objects of it, and both must come to the same name.
    """
    for tags in (_OF_THE_PATIENT_TAGS, _TELLING_TAGS, list(dataset.keys())):
        text = b"\n".join(_text_of(dataset, tags))
        if text:
            return text
    return b""


def _text_of(dataset: Dataset, tags: Iterable[BaseTag], depth: int = 0) -> Iterator[bytes]:
    """The undecoded texts of these elements that are not ASCII, those inside sequences too."""
    for tag in tags:
        element = dataset.get_item(tag, keep_deferred=True)
        # First what most elements are: the listener asks this of each image that names no character set.
        if (
            element is None
            or (isinstance(element.value, bytes) and element.value.isascii())
            or tag.is_private
        ):
            continue
        vr = _vr(element)
        if vr == "SQ" and depth < _DEPTH_MAX:
            for item in items_at(dataset, tag, _SEQUENCE_BYTES_MAX):
                if "SpecificCharacterSet" not in item:
                    yield from _text_of(item, list(item.keys()), depth + 1)
        elif vr in _TEXT_VRS and isinstance(element.value, bytes):
            yield element.value


def _vr(element: RawDataElement | DataElement) -> str:
    if element.VR is not None and element.VR != "UN":
        return element.VR
    return dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else ""


def _read_in(dataset: Dataset, encodings: list[str]) -> None:
    """Lets pydicom decode in these what it has not decoded yet, in items that are already taken apart as well."""
    is_implicit_vr, is_little_endian = dataset.original_encoding
    dataset.set_original_encoding(is_implicit_vr, is_little_endian, encodings)
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag, keep_deferred=True)
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value:
                if "SpecificCharacterSet" not in item:
                    _read_in(item, encodings)
