"""A page of words as a picture."""

import numpy as np
import pytest

from agent.outputs.notice import HEIGHT_PX, WIDTH_PX, notice

PAPER = (0x10, 0x10, 0x10)


def inked(pixels: np.ndarray) -> np.ndarray:
    """(rows, columns) True where something is written."""
    return np.any(pixels != PAPER, axis=2)


@pytest.mark.parametrize(
    "words",
    [
        "withdrawn",
        "a" * 500,
        "환자 오류 " * 80,
        "誤" * 500,
        "Müller – " * 60,
        "\N{ARABIC LETTER ALEF}" * 500,
        "x " * 250,
    ],
)
def test_words_of_every_script_and_length_stay_within_the_margins(words: str):
    pixels = notice(["AI DRAFT - NOT FOR DIAGNOSIS - NOT VERIFIED", words])

    assert pixels.shape == (HEIGHT_PX, WIDTH_PX, 3)
    rows, columns = np.nonzero(inked(pixels))
    assert rows.min() >= 40
    assert rows.max() < HEIGHT_PX - 40 + 12
    assert columns.min() >= 38
    assert columns.max() <= WIDTH_PX - 36


def test_other_words_make_another_picture():
    first, again, other = (
        notice(["AI DRAFT", words]) for words in ("wrong patient", "wrong patient", "환자 오류")
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_letter_without_a_font_is_marked_and_not_left_out():
    assert np.array_equal(notice(["\N{HEBREW LETTER ALEF}"]), notice(["\N{REPLACEMENT CHARACTER}"]))
    assert inked(notice(["\N{HEBREW LETTER ALEF}"])).any()


def test_few_words_are_written_larger_than_many():
    few, many = inked(notice(["withdrawn"])), inked(notice(["withdrawn", "because " * 100]))

    assert np.nonzero(few)[0].max() - 40 > 20
    first_line = np.flatnonzero(~many[40:].any(axis=1))[0]
    assert first_line < np.nonzero(few)[0].max() - 40
