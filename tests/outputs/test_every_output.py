"""Promises of every output, whatever the source."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from agent.outputs import (
    KINDS_WITH_PICTURES,
    Device,
    Ordered,
    Sources,
    build,
    encode,
    instance_uid,
    series_uid,
)
from inference.reading import Change, Finding, Status
from tests.builders import a_code, having
from tests.outputs.drafts import (
    DEMO,
    ENGINE,
    JAPANESE,
    KINDS,
    KOREAN,
    SOURCES,
    a_box,
    a_full_reading,
    a_narrative,
    a_reading,
    a_source,
    a_stamp,
    an_effusion,
    as_received,
    built,
    sources_of,
    the_one,
)
from tests.outputs.validators import dciodvfy_errors, written

pytestmark = pytest.mark.slow

BANNER = "AI DRAFT - NOT VERIFIED"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_output_of_any_source_has_an_error_of_the_iod(kind: str, source: str, tmp_path: Path):
    header = SOURCES[source]()
    prior = a_source(days_ago=300, patient_id=header.get("PatientID", ""))

    made = built(kind, sources_of(header, priors=(prior,)), a_full_reading(header))

    assert len(made) == 1
    assert dciodvfy_errors(written(made[0], tmp_path)) == []


# highdicom copies patient and study for the one by itself, for the other not.
@pytest.mark.parametrize("kind", ["report_sr", "secondary_capture"])
@pytest.mark.parametrize("source", SOURCES)
def test_patient_and_study_are_as_sent(kind: str, source: str):
    header = SOURCES[source]()

    made = the_one(kind, header)

    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
    ):
        assert str(made[keyword].value or "") == str(header.get(keyword) or ""), keyword
    assert made.StudyInstanceUID == header.StudyInstanceUID
    assert str(made.get("StudyDescription", "")) == str(header.get("StudyDescription", ""))


@pytest.mark.parametrize("kind", KINDS)
def test_what_else_an_image_says_of_patient_and_study_goes_along_as_the_conformance_statement_says(kind: str):
    other = having(Dataset(), PatientID="B7", IssuerOfPatientID="CLINIC", TypeOfPatientID="TEXT")
    said = {
        "OtherPatientIDsSequence": [other],  # Patient
        "PatientComments": "Bring the old films.",
        "ClinicalTrialSubjectID": "S1",  # Clinical Trial Subject
        "PhysiciansOfRecord": "House^Gregory",  # General Study
        "ProcedureCodeSequence": [a_code("RPID2503", "RADLEX", "XR chest")],
        "PatientAge": "076Y",  # Patient Study
        "MedicalAlerts": "Latex",
        "ClinicalTrialTimePointID": "T1",  # Clinical Trial Study
    }
    header = a_source(change=said)

    made = the_one(kind, header)

    assert {keyword: made[keyword].value for keyword in said} == {
        keyword: header[keyword].value for keyword in said
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_korean_name_keeps_its_three_groups(kind: str):
    made = the_one(kind, SOURCES["DX, MONOCHROME2, Korean"]())

    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert str(made.PatientName) == KOREAN


def test_a_korean_order_keeps_its_words_in_nested_items():
    header = SOURCES["DX, Korean procedure, as ordered"]()

    made = the_one("report_sr", header)

    assert made.ReferencedRequestSequence[0].RequestedProcedureDescription == "흉부 촬영"
    assert made.ReferencedRequestSequence[0].AccessionNumber == "ACC7"


def test_what_the_images_do_not_say_of_their_order_is_that_of_the_order():
    header = a_source()
    ordered = Ordered("P1", "F1", "XR CHEST 2 VIEWS")

    (made,) = built("report_sr", replace(sources_of(header), ordered=ordered), a_reading())

    (request,) = made.ReferencedRequestSequence
    assert request.PlacerOrderNumberImagingServiceRequest == "P1"
    assert request.FillerOrderNumberImagingServiceRequest == "F1"
    assert request.RequestedProcedureDescription == "XR CHEST 2 VIEWS"


@pytest.mark.parametrize(
    ("charset", "name"),
    [("\\ISO 2022 IR 149", KOREAN), ("\\ISO 2022 IR 87", JAPANESE), ("ISO_IR 144", "Иванов^Иван")],
)
def test_the_sources_character_set_is_kept_on_request(charset: str, name: str):
    header = a_source(charset=charset, name=name)

    made = the_one("findings_sr", header, charset="source")

    assert made.SpecificCharacterSet == header.SpecificCharacterSet
    assert str(made.PatientName) == name


def test_a_two_byte_set_that_a_source_names_alone_is_written_with_code_extensions(tmp_path: Path):
    header = a_source(charset="ISO 2022 IR 149", name="홍^길동")

    made = the_one("findings_sr", header, charset="source")

    assert made.SpecificCharacterSet == ["", "ISO 2022 IR 149"]
    assert str(made.PatientName) == "홍^길동"
    assert dciodvfy_errors(written(made, tmp_path)) == []


def test_a_word_that_the_sources_character_set_cannot_hold_is_written_in_unicode():
    header = a_source(charset="ISO_IR 100", name="Müller^Jörg")
    reading = a_reading(an_effusion(), report="“Clear” → 흉부.")

    made = the_one("report_sr", header, reading, charset="source")

    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert str(made.PatientName) == "Müller^Jörg"


def test_a_text_that_its_character_set_cannot_hold_is_never_written():
    header = a_source()
    (made,) = build("report_sr", sources_of(header), a_reading(), a_narrative(indication="기침"), a_stamp())
    made.SpecificCharacterSet = "ISO_IR 100"

    with pytest.raises(ValueError, match="TextValue cannot be written in 'ISO_IR 100'"):
        encode(made)


def test_a_sex_outside_the_standard_is_left_empty():
    assert the_one("report_sr", a_source(sex="U")).PatientSex in ("", None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_call_gives_the_same_bytes(kind: str):
    def once() -> list[bytes]:
        header = a_source()
        made = build(kind, sources_of(header), a_full_reading(header), a_narrative(), a_stamp())
        return [encode(dataset) for dataset in made]

    assert once() == once() != []


@pytest.mark.parametrize("kind", KINDS)
def test_building_leaves_the_sources_as_they_were(kind: str):
    header = a_source(sex="U", missing=("StudyID",))
    before = str(header)

    the_one(kind, header)

    assert str(header) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_only_time_in_an_object_is_the_stamps(kind: str):
    made = the_one(kind, a_source(missing=("StudyDate", "StudyTime")))

    times = {
        str(element.value)
        for element in made.iterall()
        if element.VR in ("DA", "TM", "DT") and element.value and element.keyword != "PatientBirthDate"
    }
    assert times == {"20260302", "091530.250000", "20260302091530.250000"}
    assert made.TimezoneOffsetFromUTC == "+0900"


def test_a_study_that_names_its_time_zone_keeps_it():
    header = a_source(change={"TimezoneOffsetFromUTC": "-0500"})

    made = the_one("report_sr", header, now=datetime(2026, 3, 2, 4, 0, tzinfo=UTC))

    assert (made.ContentDate, made.ContentTime[:4], made.TimezoneOffsetFromUTC) == (
        "20260301",
        "2300",
        "-0500",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_revision_stays_in_its_series_with_a_new_name_and_a_higher_number(kind: str):
    header = a_source()

    first, second = (the_one(kind, header, revision=revision) for revision in (1, 2))

    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.InstanceNumber < second.InstanceNumber


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_has_one_description_and_one_number_whatever_weights_made_its_objects(kind: str):
    header = a_source()
    effusion = an_effusion(a_box(header))
    others = replace(ENGINE, version="0.2.0", weights_digest=f"sha256:{'77' * 32}")

    demo, real, later = (
        the_one(kind, header, a_reading(effusion, engine=engine), revision=revision)
        for revision, engine in enumerate((DEMO, ENGINE, others), start=1)
    )

    assert demo.SeriesDescription != real.SeriesDescription
    assert demo.SeriesInstanceUID != real.SeriesInstanceUID == later.SeriesInstanceUID
    assert (real.SeriesDescription, real.SeriesNumber) == (later.SeriesDescription, later.SeriesNumber)


def test_every_kind_has_a_series_of_its_own_counted_from_the_base():
    made = [the_one(kind, a_source(), series_number_base=500) for kind in KINDS]

    assert [dataset.SeriesNumber for dataset in made] == list(range(500, 500 + len(KINDS)))
    assert len({dataset.SeriesInstanceUID for dataset in made}) == len(KINDS)


def test_the_uids_are_those_that_anybody_can_derive():
    header = a_source()

    made = the_one("report_sr", header)

    study = str(header.StudyInstanceUID)
    assert made.SeriesInstanceUID == series_uid(study, "report_sr", ENGINE)
    assert made.SOPInstanceUID == instance_uid(study, "report_sr", 0, ENGINE, a_stamp())


def test_other_weights_give_another_object():
    header = a_source()
    ours, other = (the_one("report_sr", header, a_reading(engine=engine)) for engine in (ENGINE, DEMO))

    assert ours.SOPInstanceUID != other.SOPInstanceUID


@pytest.mark.parametrize("kind", KINDS)
def test_a_demo_model_is_named_so_in_every_series_description(kind: str):
    header = a_source()

    made = the_one(kind, header, a_reading(an_effusion(a_box(header)), engine=DEMO))

    assert made.SeriesDescription.endswith("SYNTHETIC DEMO MODEL")
    assert len(made.SeriesDescription) <= 64


@pytest.mark.parametrize("kind", KINDS)
def test_no_private_attribute_of_the_source_comes_along(kind: str):
    header = a_source()
    header.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "secret")

    made = the_one(kind, as_received(header))

    assert not any(element.tag.is_private for element in made.iterall())


def test_images_of_two_studies_make_no_draft():
    with pytest.raises(ValueError, match="2 studies"):
        Sources((a_source(), a_source(days_ago=1)))


def test_images_of_two_patients_make_no_draft():
    one, other = a_source(study_uid="1.2.3"), a_source(study_uid="1.2.3", patient_id="B2")

    with pytest.raises(ValueError, match="2 patients"):
        Sources((one, other))


def test_a_box_on_an_image_that_was_not_read_is_an_error():
    stranger = a_box(a_source(days_ago=9))

    with pytest.raises(ValueError, match="no current image"):
        the_one("findings_sr", a_source(), a_reading(an_effusion(stranger)))


def test_an_unknown_kind_is_told_what_there_is():
    with pytest.raises(ValueError, match='"fax" is not known; expected one of report_sr, findings_sr'):
        build("fax", sources_of(a_source()), a_reading(), a_narrative(), a_stamp())


def test_our_own_implementation_is_named_in_the_file():
    header = a_source()
    (made,) = build("report_sr", sources_of(header), a_reading(), a_narrative(), a_stamp())

    meta = dcmread(BytesIO(encode(made))).file_meta

    assert meta.ImplementationVersionName == "PREREAD"
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_without_a_serial_number_is_valid_too(kind: str, tmp_path: Path):
    made = the_one(kind, a_source(), device=Device("0.1.0", "", "2.25.4711"))

    assert dciodvfy_errors(written(made, tmp_path)) == []


def test_the_institution_is_the_configured_one_or_else_the_studys():
    header = a_source(change={"InstitutionName": "Clinic A"})

    ours = the_one("report_sr", header, device=Device("0.1.0", "1", "2.25.4711", institution_name="Clinic B"))

    assert the_one("report_sr", header).InstitutionName == "Clinic A"
    assert ours.InstitutionName == "Clinic B"


@pytest.mark.parametrize("kind", KINDS)
def test_a_finding_outside_the_label_set_is_told_by_its_own_name(kind: str, tmp_path: Path):
    header = a_source()
    stranger = Finding("kerley lines", Status.PRESENT, Change.NEW, "bilateral", (a_box(header),))

    made = the_one(kind, header, a_reading(stranger))

    assert dciodvfy_errors(written(made, tmp_path)) == []
    if kind not in KINDS_WITH_PICTURES:
        assert any("Kerley lines" in str(element.value) for element in made.iterall())
