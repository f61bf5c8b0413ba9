"""Text in a character set that its sender does not name is read in one way wherever it is read."""

from pathlib import Path
from typing import get_args

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from agent.dicom.attributes import read_attributes
from agent.dicom.charsets import declare_charset
from agent.dicom.headers import read_headers
from agent.dicom.opening import read_header_dataset
from agent.dicom.reports import load_report
from agent.manifest import load_manifest
from config.settings import OutputKind, SenderSettings
from tests.agent.line import Line
from tests.builders import a_radiograph, a_report_sr, as_bytes, having, undeclared, write
from tests.outputs.drafts import a_reading, the_one

pytestmark = pytest.mark.slow

EUC_KR = "ISO 2022 IR 149"
UNDECLARED = [
    ("ISO_IR 192", None, "Müller^Jörg", "Müdigkeit"),
    ("ISO_IR 192", None, "Doe^Jane", "Müdigkeit"),
    ("ISO_IR 100", None, "Müller^Jörg", "Müdigkeit"),
    ("ISO_IR 144", "ISO_IR 144", "Иванов^Иван", "Кашель"),
    (EUC_KR, EUC_KR, "홍^길동", "기침"),
    (EUC_KR, EUC_KR, "Doe^Jane", "기침"),
]


@pytest.mark.parametrize(
    ("charset", "sent", "name"),
    [
        # The example of PS3.5 Annex K.
        (
            "\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东=",
        ),
        ("ISO_IR 203", b"\xa6imek^C\xbdur", "Šimek^Cœur"),
        ("ISO 2022 IR 6\\ISO 2022 IR 203", b"\x1b-b\xa6imek^J", "Šimek^J"),
    ],
)
def test_a_set_that_pydicom_does_not_read_is_read_and_written_by_us(
    charset: str, sent: bytes, name: str, tmp_path: Path
):
    file = as_bytes(a_radiograph(charset=charset, name="Q" * len(sent), rows=256, columns=320))
    path = tmp_path / "image.dcm"
    path.write_bytes(file.replace(b"Q" * len(sent), sent))

    header, headers = read_header_dataset(path), read_headers(path, assume_charset=None)

    assert headers.patient_name.rstrip("=") == str(header.PatientName).rstrip("=") == name.rstrip("=")
    report = the_one("report_sr", dcmread(path), a_reading(), charset="source")
    assert str(report.PatientName) == str(header.PatientName)
    assert sent.rstrip(b"=") in as_bytes(report)


@pytest.mark.parametrize("is_undefined_length", [False, True])
@pytest.mark.parametrize(("charset", "assumed", "name", "reason"), UNDECLARED)
def test_the_index_and_what_objects_are_made_of_read_the_same_words(
    charset: str, assumed: str | None, name: str, reason: str, is_undefined_length: bool, tmp_path: Path
):
    request = having(Dataset(), ReasonForTheRequestedProcedure=reason)
    request.is_undefined_length_sequence_item = is_undefined_length
    sent = having(a_radiograph(charset=charset, name=name), RequestAttributesSequence=Sequence([request]))
    sent["RequestAttributesSequence"].is_undefined_length = is_undefined_length
    path = write(undeclared(sent), tmp_path / "image.dcm")

    header, headers = read_header_dataset(path), read_headers(path, assume_charset=assumed)
    declare_charset(header, assumed)

    assert headers.patient_name == str(header.PatientName) == name
    assert headers.indication == reason
    assert header.RequestAttributesSequence[0].ReasonForTheRequestedProcedure == reason


def test_text_that_the_index_does_not_hold_tells_the_character_set_only_if_all_else_is_ascii(tmp_path: Path):
    sent = a_radiograph(charset="ISO_IR 192", name="Doe^Jane")
    sent.ReferringPhysicianName = "Müller^Jörg"
    path = write(undeclared(sent), tmp_path / "image.dcm")

    header = read_header_dataset(path)
    declare_charset(header, None)

    assert header.ReferringPhysicianName == "Müller^Jörg"


def test_a_name_is_read_as_the_index_reads_it_whatever_stands_beside_it(tmp_path: Path):
    sent = a_radiograph(charset="ISO_IR 100", name="Doe^Jane", study_description="Thorax, müde")
    content = write(undeclared(sent), tmp_path / "image.dcm").read_bytes()
    path = tmp_path / "mixed.dcm"
    path.write_bytes(content.replace(b"Doe^Jane", "Dö^Anne".encode()))

    header = read_header_dataset(path)
    declare_charset(header, None)

    assert str(header.PatientName) == read_headers(path).patient_name == "Dö^Anne"


def test_a_named_character_set_stays(tmp_path: Path):
    header = read_header_dataset(
        write(a_radiograph(charset="ISO_IR 100", name="Müller"), tmp_path / "image.dcm")
    )

    declare_charset(header, EUC_KR)

    assert header.SpecificCharacterSet == "ISO_IR 100"
    assert header.PatientName == "Müller"


def test_ascii_needs_no_character_set(tmp_path: Path):
    header = read_header_dataset(write(undeclared(a_radiograph()), tmp_path / "image.dcm"))

    declare_charset(header, None)

    assert "SpecificCharacterSet" not in header


def test_rules_see_words_as_their_sender_means_them(tmp_path: Path):
    path = write(undeclared(a_radiograph(charset=EUC_KR, study_description="흉부")), tmp_path / "image.dcm")

    found = read_attributes(path, ["StudyDescription"], assume_charset=EUC_KR)

    assert found["StudyDescription"] == ("흉부",)


@pytest.mark.parametrize(("charset", "assumed"), [(EUC_KR, EUC_KR), ("ISO_IR 192", None)])
def test_a_report_is_read_as_its_sender_means_it(charset: str, assumed: str | None, tmp_path: Path):
    path = write(undeclared(a_report_sr(charset=charset, findings="폐는 깨끗하다.")), tmp_path / "report.dcm")

    report = load_report(path, assume_charset=assumed)

    assert report is not None
    assert report.text.findings == "폐는 깨끗하다."


@pytest.mark.parametrize(("charset", "assumed", "name", "reason"), UNDECLARED)
def test_every_object_of_a_draft_says_the_name_and_the_reason_that_the_index_says(
    charset: str, assumed: str | None, name: str, reason: str, tmp_path: Path, line: Line
):
    sender = SenderSettings(ae_title="XRAY", assume_charset=assumed)
    line = Line(tmp_path, line.pacs, outputs=get_args(OutputKind), senders=(sender,))
    sent = a_radiograph(rows=200, columns=180, charset=charset, name=name, indication=reason)
    study = line.arrive(undeclared(sent))
    line.wait(60)

    line.run()

    index = line.tools.index.study(study)
    manifest = load_manifest(line.job(study).manifest_json or "")
    assert index is not None
    assert index.patient_name == name
    assert manifest.indication == reason
    received = line.pacs.datasets(study)
    assert len(received) == len(get_args(OutputKind))
    assert {(str(one.PatientName), one.SpecificCharacterSet) for one in received} == {(name, "ISO_IR 192")}
