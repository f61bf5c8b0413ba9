"""What the profile leaves of one object, at every depth and in every coding."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import UID

from agent.dicom.deidentifying import (
    Pseudonyms,
    deidentified,
    read_to_deidentify,
    texts_of,
)
from agent.dicom.headers import Unreadable
from tests.builders import a_radiograph, having, write
from tests.outputs.drafts import CYRILLIC, JAPANESE, KOREAN, SOURCES
from tests.outputs.validators import dciodvfy_errors

PSEUDONYMS = Pseudonyms(b"a key for tests", 1000)
UIDS = st.lists(st.integers(0, 10**8), min_size=2, max_size=6).map(
    lambda parts: ".".join(map(str, (1, *parts)))
)
DAYS = st.dates(min_value=date(1900, 1, 1))


def left_of(dataset: Dataset, folder: Path, *, is_ours: bool = False) -> Dataset:
    source, _ = read_to_deidentify(write(dataset, folder / "sent.dcm"), 10**8)
    content = deidentified(source, Pseudonyms(PSEUDONYMS.key, PSEUDONYMS.days), is_ours=is_ours)
    (folder / "left.dcm").write_bytes(content)
    return dcmread(DicomBytesIO(content))


def an_item(**attributes: Any) -> Dataset:
    return having(Dataset(), **attributes)


@given(UIDS, UIDS)
def test_a_uid_becomes_a_valid_one_always_the_same_and_no_other_does(one: str, other: str):
    pseudonyms = Pseudonyms(b"key", 1)

    assert UID(pseudonyms.uid(one)).is_valid
    assert (pseudonyms.uid(one) == Pseudonyms(b"key", 2).uid(other)) == (one == other)
    assert pseudonyms.uid(one) != Pseudonyms(b"another key", 1).uid(one)
    assert pseudonyms.uid(one) != one


@given(DAYS, DAYS, st.integers(365, 3650))
def test_days_between_two_dates_stay(one: date, other: date, days: int):
    first, second = (Pseudonyms(b"key", days).date(f"{day:%Y%m%d}") for day in (one, other))

    assert date.fromisoformat(second) - date.fromisoformat(first) == other - one


@pytest.mark.parametrize(
    ("kind", "sent", "left"),
    [
        ("date", "20260302", "20230606"),
        ("date", "2026.03.02", "20230606"),
        ("date", "March", ""),
        ("date", "20260230", ""),
        ("time", "083059.123456", "080000"),
        ("time", "half past", ""),
        ("date_time", "20260302083059.5+0900", "20230606080000"),
        ("date_time", "20260302", "20230606"),
        ("date_time", "2026", ""),
    ],
)
def test_dates_are_earlier_and_times_are_hours(kind: str, sent: str, left: str):
    assert getattr(PSEUDONYMS, kind)(sent) == left


def test_a_name_at_any_depth_goes_and_a_reference_at_any_depth_still_leads_to_its_object(tmp_path: Path):
    image = a_radiograph()
    inner = an_item(
        PersonName="Deep^Dora",
        ReferencedSOPInstanceUID=image.SOPInstanceUID,
        ReferencedSOPClassUID=image.SOPClassUID,
        PatientID="A1",
        StudyDate="20260302",
        ContentDate="20260302",
    )
    inner.private_block(0x0013, "ACME", create=True).add_new(1, "LO", "Deep")
    image.SourceImageSequence = [
        an_item(PurposeOfReferenceCodeSequence=[an_item(SourceImageSequence=[inner])])
    ]

    left = left_of(image, tmp_path)

    deep = left.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].SourceImageSequence[0]
    assert deep.ReferencedSOPInstanceUID == left.SOPInstanceUID
    assert deep.ReferencedSOPClassUID == image.SOPClassUID
    assert (deep.ContentDate, left.ContentDate) == ("20230606", "20230606")
    assert "Deep" not in str(left)
    assert b"Deep" not in (tmp_path / "left.dcm").read_bytes()


def test_an_attribute_that_the_standard_does_not_have_goes(tmp_path: Path):
    image = a_radiograph()
    image.add_new(0x00181111, "LO", "200")  # Distance Source to Patient is one of its own
    image.add_new(0x0018FFFE, "LO", "Doe")

    left = left_of(image, tmp_path)

    assert 0x00181111 in left
    assert 0x0018FFFE not in left


def test_curves_overlays_and_their_comments_go(tmp_path: Path):
    image = a_radiograph()
    for group in (0x5000, 0x6000, 0x601E):
        image.add_new(group << 16 | 0x0010, "US", 5)
        image.add_new(group << 16 | 0x0022, "LO", "Doe")
        image.add_new(group << 16 | 0x3000, "OW", b"\0\0")

    left = left_of(image, tmp_path)

    assert [element.tag for element in left if element.tag.group in (0x5000, 0x6000, 0x601E)] == []


@pytest.mark.parametrize("source", SOURCES)
def test_whatever_a_sender_sends_is_as_valid_afterwards_and_names_nobody(source: str, tmp_path: Path):
    sent = SOURCES[source]()

    left = left_of(sent, tmp_path)

    before = dciodvfy_errors(tmp_path / "sent.dcm")
    assert [error for error in dciodvfy_errors(tmp_path / "left.dcm") if error not in before] == []
    texts = " ".join(texts_of((tmp_path / "left.dcm").read_bytes()))
    for name in (KOREAN, JAPANESE, CYRILLIC, "Doe", "ACC7", "19500101"):
        assert name not in texts
    assert str(left.get("PatientName") or "") == ""
    assert left.PixelData == sent.PixelData


def test_preamble_and_file_meta_are_new(tmp_path: Path):
    image = a_radiograph()
    image.preamble = b"Doe".ljust(128)
    image.file_meta.SourceApplicationEntityTitle = "WARD7"
    image.file_meta.PrivateInformationCreatorUID = "1.2.3"
    image.file_meta.PrivateInformation = b"Doe "

    left = left_of(image, tmp_path)

    assert left.preamble == bytes(128)
    assert "SourceApplicationEntityTitle" not in left.file_meta
    assert "PrivateInformation" not in left.file_meta
    assert left.file_meta.MediaStorageSOPInstanceUID == left.SOPInstanceUID != image.SOPInstanceUID


def test_two_patients_stay_two(tmp_path: Path):
    one, again, other = (
        left_of(a_radiograph(patient_id=patient), tmp_path).PatientID for patient in ("A1", "A1", "A2")
    )

    assert one == again != other


def test_words_in_a_report_of_ours_go_and_its_tree_stays(tmp_path: Path):
    report = a_radiograph()
    text = an_item(ValueType="TEXT", TextValue="Doe coughs")
    person = an_item(ValueType="PNAME", PersonName="Doe^Jane")
    report.ContentSequence = [an_item(ValueType="CONTAINER", ContentSequence=[text, person])]

    left = left_of(report, tmp_path, is_ours=True)

    items = left.ContentSequence[0].ContentSequence
    assert [item.ValueType for item in items] == ["TEXT", "PNAME"]
    assert items[0].TextValue == "removed"
    assert "Doe" not in str(left)


def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path: Path):
    (tmp_path / "sent.dcm").write_bytes(b"Doe" * 100)

    with pytest.raises(Unreadable, match=r"^(?!.*Doe)"):
        deidentified(read_to_deidentify(tmp_path / "sent.dcm", 10**8)[0], PSEUDONYMS, is_ours=False)
