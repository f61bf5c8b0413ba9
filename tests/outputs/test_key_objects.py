"""The key images."""

from pathlib import Path

import pytest
from pydicom import Dataset

from inference.reading import Finding, Status
from tests.outputs.drafts import (
    DEMO,
    a_box,
    a_full_reading,
    a_reading,
    a_source,
    an_effusion,
    built,
    named,
    sources_of,
    the_one,
)
from tests.outputs.validators import dcmtk, written

KIND = "key_object_selection"


def images_of(document: Dataset) -> list[str]:
    """SOP Instance UIDs of the selected images, in order."""
    return [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in document.ContentSequence
        if item.ValueType == "IMAGE"
    ]


def description_of(document: Dataset) -> str:
    (item,) = named(document, "113012")
    return str(item.TextValue)


def test_the_images_with_a_box_are_of_interest_and_no_others():
    frontal, lateral, bare = a_source(), a_source(view="LL"), a_source(number=9)
    reading = a_reading(an_effusion(a_box(frontal), a_box(lateral)))

    (document,) = built(KIND, sources_of(frontal, lateral, bare), reading)

    assert document.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    assert images_of(document) == [frontal.SOPInstanceUID, lateral.SOPInstanceUID]


def test_without_a_box_nothing_is_selected():
    assert built(KIND, sources_of(a_source()), a_reading(Finding("edema", Status.PRESENT))) == ()


def test_no_image_of_another_study_stands_in_the_selection():
    header, prior = a_source(), a_source(days_ago=300)

    (document,) = built(KIND, sources_of(header, priors=(prior,)), a_full_reading(header))

    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == header.StudyInstanceUID
    assert "PertinentOtherEvidenceSequence" not in document
    assert prior.SOPInstanceUID not in str(document)


def test_the_description_says_whose_selection_it_is_and_why():
    header = a_source()
    ours = the_one(KIND, header)
    demo = the_one(KIND, header, a_reading(an_effusion(a_box(header)), engine=DEMO))

    words = description_of(ours)
    assert words.startswith("AI DRAFT - NOT VERIFIED. ")
    assert "F1 Pleural effusion, right (present)" in words
    assert "Model M4CXR, weights sha256:5a5a" in words
    assert description_of(demo).startswith("AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL. ")


def test_the_observer_is_the_device_and_no_person():
    document = the_one(KIND, a_source())

    assert named(document, "121005")[0].ConceptCodeSequence[0].CodeMeaning == "Device"
    assert named(document, "121012")[0].UID == "2.25.4711"
    assert named(document, "121008") == []


@pytest.mark.peers
def test_dcmtk_prints_the_selection(tmp_path: Path):
    document = the_one(KIND, a_source())

    printed = dcmtk("dsrdump", "+Pl", written(document, tmp_path))

    assert "Key Object Selection Document" in printed
    assert '"Of Interest"' in printed
    assert "AI DRAFT - NOT VERIFIED" in printed
