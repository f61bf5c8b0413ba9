"""Words fit for DICOM, for a screen and for a radiologist."""

from hypothesis import given
from hypothesis import strategies as st

from agent.outputs.wording import (
    SERIES_DESCRIPTIONS,
    as_text,
    label,
    named_without_a_place,
    phrase,
    series_description,
)
from inference.reading import Change, Finding, Status
from tests.outputs.drafts import DEMO, ENGINE


@given(st.text())
def test_any_answer_becomes_a_legal_text_value(words: str):
    text = as_text(words)

    assert text
    assert not any(ord(letter) < 32 and letter not in "\r\n\t" for letter in text)
    assert text.count("\n") == text.count("\r") == text.count("\r\n")
    text.encode("utf-8")


def test_an_answer_stays_word_for_word():
    assert (
        as_text("Effusion, 30 % “larger”.\nHeart: normal\x1b.")
        == "Effusion, 30 % “larger”.\r\nHeart: normal␛."
    )


def test_an_empty_answer_says_that_it_is_empty():
    assert as_text(" \n") == "(empty)"


@given(st.text(min_size=1), st.sampled_from(("left", "right", "bilateral", None)), st.sampled_from(Status))
def test_any_label_is_short_and_ascii(name: str, side: str | None, status: Status):
    words = label("F12.3", Finding(name, status, side=side), DEMO)

    assert words.isascii()
    assert words.startswith("DEMO F12.3 ")
    assert len(words) <= 40


def test_a_label_carries_its_side_and_its_doubt():
    effusion = Finding("pleural effusion", Status.UNCERTAIN, side="bilateral")

    assert label("F1", effusion, ENGINE) == "F1 Pleural effusion R+L?"


def test_what_has_no_place_is_named_with_its_side_and_its_doubt():
    findings = (Finding("edema", Status.UNCERTAIN, side="bilateral"), Finding("läsion", Status.PRESENT))

    assert named_without_a_place(findings) == "Named without a place: Edema R+L?, L?sion"


def test_a_phrase_says_side_and_change():
    effusion = Finding("pleural effusion", Status.PRESENT, Change.LARGER, "right")

    assert phrase(effusion) == "Pleural effusion, right, larger than before"


def test_series_descriptions_fit_and_say_that_they_are_drafts():
    for kind in SERIES_DESCRIPTIONS:
        for engine in (ENGINE, DEMO):
            words = series_description(kind, engine)
            assert len(words) <= 64
            assert words.isascii()
            assert "DRAFT" in words.upper()
