"""What makes an object wrong in a PACS though it looks right, each seen in the field or in a validator.

What one output alone can do wrong stands in its own file; here is what all of them must not.
"""

import warnings
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.datadict import dictionary_is_retired

from agent.outputs import encode
from agent.outputs.codes import CODES
from inference.reading import Box
from tests.outputs.drafts import (
    CYRILLIC,
    DEMO,
    ENGINE,
    JAPANESE,
    KINDS,
    KOREAN,
    SOURCES,
    a_box,
    a_full_reading,
    a_reading,
    a_source,
    an_effusion,
    built,
    groups,
    named,
    sources_of,
    the_one,
)
from tests.outputs.validators import dciodvfy_errors, written

pytestmark = pytest.mark.slow

DOCUMENTS = ("report_sr", "findings_sr", "findings_sr_air", "key_object_selection")


def full(kind: str, header: Dataset) -> Dataset:
    """The one object of a kind with a prior and everything a reading may hold."""
    prior = a_source(days_ago=300, patient_id=header.get("PatientID", ""))
    (made,) = built(kind, sources_of(header, priors=(prior,)), a_full_reading(header))
    return made


def values_of(dataset: Dataset, keyword: str) -> set[str]:
    return {str(element.value) for element in dataset.iterall() if element.keyword == keyword}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("\\ISO 2022 IR 149", KOREAN),
        ("ISO 2022 IR 149", "Kim^Yuna"),
        ("\\ISO 2022 IR 87", JAPANESE),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", CYRILLIC),
    ],
)
def test_a_name_is_the_same_in_every_output(kind: str, charset: str, name: str, tmp_path: Path):
    header = a_source(charset=charset, name=name)
    assert str(header.PatientName) == name

    made = the_one(kind, header)

    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert str(made.PatientName) == name
    assert dciodvfy_errors(written(made, tmp_path)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_warns_that_letters_are_lost(kind: str):
    made = full(kind, a_source(charset="\\ISO 2022 IR 149", name=KOREAN, study_description="흉부"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.save_as(Path("/dev/null"), enforce_file_format=True)


def test_an_object_that_would_lose_letters_is_not_written():
    made = the_one("report_sr", a_source(name=JAPANESE, charset="\\ISO 2022 IR 87"))
    made.SpecificCharacterSet = "ISO_IR 100"

    with pytest.raises(ValueError, match="PatientName cannot be written in 'ISO_IR 100'"):
        encode(made)


@pytest.mark.parametrize("kind", KINDS)
def test_no_place_in_space_is_claimed_for_a_projection(kind: str):
    made = full(kind, a_source())

    assert "SCOORD3D" not in values_of(made, "ValueType")
    assert "FrameOfReferenceUID" not in {element.keyword for element in made.iterall()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_aspect_ratio_of_one_to_one_changes_nothing(kind: str):
    plain, told = a_source(spacing_mm=None), a_source(spacing_mm=None, change={"PixelAspectRatio": [1, 1]})

    assert encode(the_one(kind, told)) == encode(the_one(kind, plain))


@pytest.mark.parametrize(
    "kind", ["presentation_state", "segmentation", "secondary_capture", "encapsulated_pdf"]
)
def test_images_of_different_size_do_not_meet(kind: str, tmp_path: Path):
    frontal, lateral = a_source(), a_source(view="LL", rows=400, columns=200)
    reading = a_reading(an_effusion(a_box(frontal), a_box(lateral)))

    for made in built(kind, sources_of(frontal, lateral), reading):
        assert dciodvfy_errors(written(made, tmp_path)) == []


@pytest.mark.parametrize("kind", ["presentation_state", "secondary_capture", "segmentation"])
def test_the_chest_is_named_or_a_laterality_would_be_missing(kind: str):
    assert full(kind, a_source()).BodyPartExamined == "CHEST"


@pytest.mark.parametrize(
    "kind", ["presentation_state", "secondary_capture", "segmentation", "encapsulated_pdf"]
)
def test_what_shows_an_image_points_into_its_own_study_only(kind: str):
    header = a_source()

    referenced = values_of(full(kind, header), "ReferencedSOPInstanceUID")

    assert referenced == {str(header.SOPInstanceUID)}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_image_a_document_names_is_evidence_and_priors_are_other_evidence(kind: str):
    header = a_source()
    made = full(kind, header)
    own = values_of(made["CurrentRequestedProcedureEvidenceSequence"].value[0], "ReferencedSOPInstanceUID")

    content = {uid for item in made.ContentSequence for uid in values_of(item, "ReferencedSOPInstanceUID")}

    assert own == {str(header.SOPInstanceUID)}
    others = made.get("PertinentOtherEvidenceSequence") or []
    assert content - own <= {uid for study in others for uid in values_of(study, "ReferencedSOPInstanceUID")}
    assert header.StudyInstanceUID not in [study.StudyInstanceUID for study in others]


@pytest.mark.parametrize("kind", ["findings_sr", "findings_sr_air"])
def test_every_group_is_tracked_and_no_viewer_can_mix_two_regions(kind: str):
    document = full(kind, a_source())

    regions = [group for group in groups(document) if named(group, "111030")]
    assert all(named(group, "112039") and named(group, "112040") for group in groups(document))
    uids = [named(group, "112040")[0].UID for group in regions]
    assert len(set(uids)) == len(uids)


def test_a_number_stands_in_no_group_without_a_region_of_its_tracking_uid():
    document = full("findings_sr", a_source())

    regions = {named(g, "112040")[0].UID for g in groups(document) if named(g, "111030")}
    partners = {named(g, "112040")[0].UID for g in groups(document) if not named(g, "111030")}
    assert partners
    assert partners <= regions


@pytest.mark.parametrize("kind", ["findings_sr", "findings_sr_air"])
def test_the_names_that_viewers_look_for_are_english_and_no_time_point_is_among_them(kind: str):
    meanings = values_of(full(kind, a_source(charset="\\ISO 2022 IR 149", name=KOREAN)), "CodeMeaning")

    assert {"Imaging Measurements", "Measurement Group", "Tracking Identifier", "Image Region"} <= meanings
    assert all(meaning.isascii() for meaning in meanings)
    assert not any("Time Point" in meaning for meaning in meanings)


def test_the_tracking_uid_is_one_in_every_output():
    header = a_source()

    found = {
        kind: values_of(the_one(kind, header), "TrackingUID")
        for kind in ("presentation_state", "segmentation")
    }
    (group,) = groups(the_one("findings_sr", header))

    assert set(map(frozenset, found.values())) == {frozenset({named(group, "112040")[0].UID})}


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_has_a_device_uid_that_changes_with_its_weights(kind: str):
    header = a_source()
    boxed = an_effusion(a_box(header))

    ours, same, other = (
        values_of(the_one(kind, header, a_reading(boxed, engine=engine)), "DeviceUID")
        for engine in (ENGINE, ENGINE, DEMO)
    )

    assert len(ours) == 1
    assert ours == same
    assert ours != other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["DX, MONOCHROME2, Korean", "DX, Korean procedure, as ordered"])
def test_no_attribute_of_ours_is_retired(kind: str, source: str):
    made = full(kind, SOURCES[source]())

    assert [element.keyword for element in made.iterall() if dictionary_is_retired(element.tag)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_for_lists_is_short_and_ascii(kind: str):
    made = full(kind, a_source(charset="\\ISO 2022 IR 149", name=KOREAN))

    assert made.SeriesDescription.isascii()
    assert len(made.SeriesDescription) <= 64
    label = made.get("ContentLabel", "AI")
    assert label == label.upper()
    assert len(label) <= 16


@pytest.mark.parametrize(
    "value",
    [
        *("287272002", "274096000", "263930000", "416940007", "RID5355", "RID34952", "RID4872", "36643-5"),
        *("30745-4", "24648-8", "18782-3"),
    ],
)
def test_a_code_that_nobody_has_verified_is_in_no_table(value: str):
    assert all(row.code.value != value for row in CODES.values())


@pytest.mark.parametrize(
    "kind", ["findings_sr", "presentation_state", "key_object_selection", "segmentation"]
)
def test_a_box_that_shows_nothing_makes_no_object_that_points_at_it(kind: str):
    header = a_source()
    whole = Box(str(header.SOPInstanceUID), 0, 0, 320, 256)

    assert built(kind, sources_of(header), a_reading(an_effusion(whole))) == ()
