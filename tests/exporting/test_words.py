"""Sentences without values, and the search that everything must pass."""

import json

import pytest

from agent.dicom.deidentifying import Identity
from agent.exporting.words import Words
from tests.builders import a_radiograph, as_bytes

IDENTITY = Identity(
    frozenset({"Long", "Li", "Hong", "길동", "山田"}),
    frozenset({"MRN20477", "12"}),
    frozenset({"19510417"}),
    frozenset({"euc_kr", "iso2022_jp"}),
)
WORDS = Words(
    IDENTITY, {"1.2.3.4": "2.25.99"}, frozenset({"she left, see Long"}), frozenset({"RADARCH", "pacs"})
)


@pytest.mark.parametrize(
    ("sentence", "left"),
    [
        ("no image for 60 s (settle_seconds = 60)", "no image for 60 s (settle_seconds = 60)"),
        ("it took too long", "it took too long"),
        ("birth date differs: 19510417, current study 19840615", "birth date differs"),
        ("sex differs: F, current study M; 30 days before", "sex differs; 30 days before"),
        ("1.2.3.4 to RADARCH: taken, 0x0000", "2.25.99 to [system]: taken, 0x0000"),
        (
            "1.2.840.113619.2.55.3.2831 is unknown (SOP Class 1.2.840.10008.5.1.4.1.1.1)",
            "[UID] is unknown (SOP Class 1.2.840.10008.5.1.4.1.1.1)",
        ),
        ('PACS "PACS 7" at 10.0.0.7:104 said “Hong?”', "PACS [value] at [address] said [value]"),
        ("Hong (MRN20477) of 2026-03-02T08:30:00+00:00", "[removed] ([removed]) of [date]"),
        ("held by operator kim", "held by operator"),
        ("skipped: withdrawn: she left, see Long", "skipped: withdrawn: [words of a person]"),
        ("number 7001234 of 20260302", "number [number] of [date]"),
    ],
)
def test_a_sentence_of_ours_stays_without_the_values_in_it(sentence: str, left: str):
    assert WORDS.without(sentence) == left


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("it took too long, as in most lists", None),
        ("Longitudinal", None),
        ("LONG", "a part of a name"),
        ("of Hong's", "a part of a name"),
        ("hongkong", None),
        ("환자길동씨", "a part of a name"),
        ("MRN20477", "a patient ID or another number of the patient or the exam"),
        ("XMRN20477", None),
        ("born 1951-04-17", "a patient ID or another number of the patient or the exam"),
        ("1.2.3.4", "a UID as it was"),
        ("1.2.3.45 12 Li", None),
    ],
)
def test_what_names_the_patient_is_found_as_a_whole_word(text: str, found: str | None):
    assert WORDS.found_in("study.json", json.dumps({"a": [{"b": text}]}).encode()) == found


@pytest.mark.parametrize(
    ("hidden", "found"),
    [
        ("길동".encode(), "a part of a name"),
        ("山田".encode("iso2022_jp"), "a part of a name"),
        (b"\0MRN20477\0", "a patient ID or another number of the patient or the exam"),
        (b"\x0019510417\0", "a patient ID or another number of the patient or the exam"),
        (b"\x001.2.3.4\0", "a UID as it was"),
        (b"Hong" * 3, None),
    ],
)
def test_bytes_between_the_pixels_are_searched_too(hidden: bytes, found: str | None):
    image = a_radiograph(name="", birth_date="")
    image.PixelData = hidden + image.PixelData[len(hidden) :]

    assert WORDS.found_in("image-1.dcm", as_bytes(image)) == found


def test_a_key_is_searched_like_a_value():
    assert WORDS.found_in("study.json", b'{"Hong": 1}') == "a part of a name"


def test_what_a_model_said_goes_whatever_marks_are_in_it():
    sentence = 'The answer could not be read: "said "Ms Doe" and left". 3 images.'

    assert WORDS.without_answers(sentence) == "The answer could not be read: [answer]. 3 images."
