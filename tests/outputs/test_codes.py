"""The code table is what it says it is."""

import pytest
from pydicom.sr._concepts_dict import concepts

from agent.outputs.codes import (
    CODES,
    LOCAL_SCHEME,
    CodeRow,
    change_code,
    finding_code,
    side_code,
    site_code,
    status_code,
)
from inference.reading import Change, Status

CHEXBERT = (
    "enlarged cardiomediastinum",
    "cardiomegaly",
    "lung opacity",
    "lung lesion",
    "edema",
    "consolidation",
    "pneumonia",
    "atelectasis",
    "pneumothorax",
    "pleural effusion",
    "pleural other",
    "fracture",
    "support devices",
    "no finding",
)


def the_dictionary_says(row: CodeRow) -> set[str]:
    """The meanings of a code in pydicom's copy of PS3.16 and its context groups."""
    scheme = concepts.get(row.code.scheme_designator, {})
    return {entry[row.code.value][0] for entry in scheme.values() if row.code.value in entry}


@pytest.mark.parametrize("row", CODES.values(), ids=lambda row: f"{row.group}: {row.key}")
def test_a_row_is_verified_as_it_claims(row: CodeRow):
    if row.verification == "A":
        assert row.code.meaning in the_dictionary_says(row)
    elif row.verification == "local":
        assert row.code.scheme_designator == LOCAL_SCHEME
    else:
        assert row.verification == "B"
        assert row.code.scheme_designator in ("SCT", "RFC5646", "UMLS")


def test_no_code_fits_badly():
    for row in CODES.values():
        assert 0 < len(row.code.value) <= 16
        assert 0 < len(row.code.meaning) <= 64
        assert row.code.meaning.isascii()


def test_the_enlarged_septal_foramen_is_no_cardiomegaly():
    assert all(row.code.value != "287272002" for row in CODES.values())


@pytest.mark.parametrize("name", CHEXBERT)
def test_every_name_of_the_label_set_has_a_code_of_its_own(name: str):
    others = [finding_code(other).value for other in CHEXBERT if other != name]

    assert finding_code(name).value not in [*others, finding_code("something else").value]


def test_every_word_of_a_reading_has_a_code():
    assert len({change_code(change).value for change in Change}) == len(Change)
    assert len({status_code(status).value for status in Status}) == len(Status)
    assert len({side_code(side).value for side in ("left", "right", "bilateral")}) == 3


def test_a_name_outside_the_label_set_is_coded_as_a_finding():
    assert finding_code("situs inversus").meaning == "Finding"
    assert site_code("situs inversus") is None
