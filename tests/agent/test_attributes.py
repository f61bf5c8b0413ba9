"""What rules ask of an image, read from its file."""

from pathlib import Path

import pytest

from agent.dicom.attributes import read_attributes, vr_by_keyword
from tests.builders import a_code, a_radiograph, having, write


def read(folder: Path, *names: str, view: str = "PA", **sent: object) -> dict[str, tuple[str, ...]]:
    return read_attributes(write(having(a_radiograph(view=view), **sent), folder / "image.dcm"), names)


def test_text_is_decoded_and_several_values_are_told_apart(tmp_path: Path):
    read_ = read(
        tmp_path, "StationName", "ImageType", StationName="ICU 2 ", ImageType=["ORIGINAL", "PRIMARY"]
    )

    assert read_["StationName"] == ("ICU 2",)
    assert read_["ImageType"] == ("ORIGINAL", "PRIMARY")


def test_numbers_are_read_whatever_their_encoding(tmp_path: Path):
    read_ = read(tmp_path, "Rows", "KVP", "ExposureInmAs", KVP="80.0", ExposureInmAs=2.5)

    assert (read_["Rows"], read_["KVP"], read_["ExposureInmAs"]) == (("64",), ("80.0",), ("2.5",))


def test_what_is_empty_or_not_sent_has_no_value(tmp_path: Path):
    read_ = read(tmp_path, "StationName", "ProtocolName", "ProcedureCodeSequence.CodeValue", StationName="")

    assert read_["StationName"] == read_["ProtocolName"] == ()
    assert read_["ProcedureCodeSequence.CodeValue"] == ()


def test_attributes_inside_a_sequence_are_read_of_every_item(tmp_path: Path):
    codes = [a_code("36643-5", "LN", "XR Chest 2 Views"), a_code("X1", "99", "Portable")]

    read_ = read(
        tmp_path,
        "ProcedureCodeSequence",
        "ProcedureCodeSequence.CodeValue",
        ProcedureCodeSequence=codes,
    )

    assert read_["ProcedureCodeSequence"] == ("1", "2")
    assert read_["ProcedureCodeSequence.CodeValue"] == ("36643-5", "X1")


@pytest.mark.parametrize(("view", "told"), [("PA", ("PA", "FRONTAL")), ("LL", ("LATERAL",))])
def test_the_view_is_told_with_its_group(tmp_path: Path, view: str, told: tuple[str, ...]):
    assert read(tmp_path, view=view)["view"] == told


def test_every_keyword_has_its_vr():
    assert vr_by_keyword()["Modality"] == "CS"
    assert vr_by_keyword()["SmallestImagePixelValue"] == "US or SS"
    assert "" not in vr_by_keyword()
