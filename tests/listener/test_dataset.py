"""Walking an encoded dataset: the four UIDs of a whole one, and where a cut-off one ends."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from agent.dicom.headers import HEADER_TAGS, headers_from_elements, read_headers
from agent.listener.dataset import DEPTH_MAX, Identity, survey
from agent.listener.statuses import Refused
from tests.builders import a_radiograph, write
from tests.listener.conftest import encoded
from tests.listener.wire import EXPLICIT, IMPLICIT

BIG_ENDIAN = "1.2.840.10008.1.2.2"
PIXEL_BYTES = 64 * 48 * 2


def status_of(content: bytes, syntax: str) -> int:
    """0x0000, or the status it is refused with."""
    try:
        survey(content, 0, syntax)
    except Refused as refused:
        return refused.status
    return 0x0000


def nested(depth: int, *, is_undefined: bool) -> Dataset:
    """A radiograph with sequences in sequences."""
    image = a_radiograph()
    inner: Dataset = image
    for _ in range(depth):
        item = Dataset()
        item.is_undefined_length_sequence_item = is_undefined
        inner.ReferencedSeriesSequence = Sequence([item])
        inner["ReferencedSeriesSequence"].is_undefined_length = is_undefined
        inner = item
    inner.SOPInstanceUID = "1.1.1"
    return image


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_the_four_uids_of_a_dataset_are_found(syntax: str) -> None:
    image = a_radiograph(transfer_syntax=syntax)

    identity = survey(b"meta" + encoded(image), 4, syntax).identity

    assert identity == Identity(
        image.SOPClassUID, image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID
    )


@pytest.mark.parametrize("is_undefined", [True, False])
def test_uids_inside_sequences_are_those_of_others(is_undefined: bool) -> None:
    image = nested(5, is_undefined=is_undefined)

    assert survey(encoded(image), 0, EXPLICIT).identity.sop_instance_uid == image.SOPInstanceUID


def test_sequences_nested_without_end_are_refused() -> None:
    with pytest.raises(Refused, match=f"more than {DEPTH_MAX} deep"):
        survey(encoded(nested(DEPTH_MAX + 1, is_undefined=True)), 0, EXPLICIT)


def test_a_sequence_sent_as_unknown_is_walked_as_implicit() -> None:
    content = struct.pack("<HHL", 0x0008, 0x1155, 4) + b"1.2\0"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + content + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2sHL", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + item
    image = encoded(a_radiograph())

    identity = survey(unknown + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) + image, 0, EXPLICIT)

    assert identity == survey(image, 0, EXPLICIT)


@given(st.integers(1, 10_000), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
def test_a_dataset_that_lost_its_end_is_refused_or_ends_between_two_elements(lost: int, syntax: str) -> None:
    whole = encoded(a_radiograph(transfer_syntax=syntax))
    cut = whole[: max(0, len(whole) - lost)]

    status = status_of(cut, syntax)

    assert status == 0xC000 or len(cut) < len(whole) - PIXEL_BYTES, "pixels are missing and nobody noticed"


@given(st.binary(max_size=500), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, "1.2.840.10008.1.2.1.99"]))
def test_garbage_is_refused_or_says_nothing(content: bytes, syntax: str) -> None:
    assert status_of(content, syntax) in (0x0000, 0xC000, 0xA700)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("charset", ["ISO_IR 192", "\\ISO 2022 IR 149"])
def test_the_headers_out_of_a_survey_are_those_that_the_file_reader_finds(
    syntax: str, charset: str, tmp_path: Path
) -> None:
    name = "Hong^Gildong=洪^吉洞=홍^길동"
    image = a_radiograph(name=name, charset=charset.split("\\"), transfer_syntax=syntax, indication="Cough")
    request = Dataset()
    request.ReasonForTheRequestedProcedure = "Fever"
    image.RequestAttributesSequence = Sequence([request])
    content = encoded(image)

    found = headers_from_elements(survey(content, 0, syntax, HEADER_TAGS).elements, syntax)

    assert found == read_headers(write(image, tmp_path / "image.dcm"))
    assert found.patient_name == name


def test_a_header_value_longer_than_any_is_refused() -> None:
    patient_name = struct.pack("<HHL", 0x0010, 0x0010, 70_000) + b"x" * 70_000

    with pytest.raises(Refused, match="a header value has fewer"):
        survey(patient_name, 0, IMPLICIT, HEADER_TAGS)
