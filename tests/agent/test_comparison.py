"""Two readings of one case: what both say, what only one says, and where."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.comparison import counts, overlap, pair_of
from inference.reading import Box, Change, Finding, Reading, Score, Status
from tests.scripted_engine import IDENTITY


def a_reading(*findings: Finding, report: str = "", seconds: float = 1.0) -> Reading:
    return Reading(findings, report, (), IDENTITY, seconds=seconds)


def effusion(**fields: object) -> Finding:
    return Finding("pleural effusion", Status.PRESENT, **fields)  # type: ignore[arg-type]


def differences(first: Reading, second: Reading) -> tuple[str, ...]:
    return pair_of("2.25.1", first, second).differences()


BOX = Box("image", 0, 0, 10, 10)


def test_readings_that_say_the_same_do_not_differ_in_whatever_order_or_words():
    edema = Finding("edema", Status.UNCERTAIN)

    pair = pair_of(
        "2.25.1", a_reading(effusion(), edema), a_reading(edema, effusion(), report="Other words.")
    )

    assert pair.differences() == ()
    assert not pair.same_words


def test_a_finding_of_one_engine_alone_is_named_with_whose_it_is():
    edema = Finding("edema", Status.PRESENT)

    assert differences(a_reading(effusion()), a_reading(edema)) == (
        "edema: only the second",
        "pleural effusion: only the first",
    )


def test_what_an_engine_was_not_asked_about_is_not_held_against_it():
    fracture = Finding("fracture", Status.PRESENT)
    of_six = replace(a_reading(), scores=(Score("pleural effusion", 0.1), Score("edema", 0.2)))

    pair = pair_of("2.25.1", a_reading(effusion(), fracture), of_six)

    assert pair.differences() == ("pleural effusion: only the first",)
    assert pair.not_asked == ("fracture",)
    assert [count.name for count in counts([pair])] == ["pleural effusion"]


def test_absent_and_not_named_are_no_difference():
    absent = Finding("edema", Status.ABSENT)

    assert differences(a_reading(absent), a_reading()) == ()


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            Finding("edema", Status.PRESENT),
            Finding("edema", Status.UNCERTAIN),
            "edema: present by the first, uncertain by the second",
        ),
        (
            effusion(side="left"),
            effusion(side="right"),
            "pleural effusion: left by the first, right by the second",
        ),
        (
            effusion(change=Change.NEW),
            effusion(),
            "pleural effusion: new by the first, not said by the second",
        ),
        (
            effusion(boxes=(BOX,)),
            effusion(boxes=(Box("image", 5, 0, 15, 10),)),
            "pleural effusion: in another place (overlap 0.33)",
        ),
    ],
)
def test_status_side_change_and_place_are_compared(first: Finding, second: Finding, said: str):
    assert differences(a_reading(first), a_reading(second)) == (said,)


def test_a_place_that_only_one_engine_gives_is_no_difference():
    assert differences(a_reading(effusion(boxes=(BOX,))), a_reading(effusion())) == ()


def test_a_finding_on_both_sides_is_the_same_however_often_it_is_named():
    twice = effusion(side="left"), effusion(side="right")

    assert differences(a_reading(*twice), a_reading(*reversed(twice))) == ()


def test_findings_are_counted_over_all_cases():
    both = pair_of("2.25.1", a_reading(effusion(boxes=(BOX,))), a_reading(effusion(boxes=(BOX,))))
    sides = pair_of("2.25.2", a_reading(effusion(side="left")), a_reading(effusion(side="right")))
    alone = pair_of("2.25.3", a_reading(effusion()), a_reading())

    (count,) = counts([both, sides, alone])

    assert (count.both, count.only_first, count.only_second, count.other_side) == (2, 1, 0, 1)
    assert (count.overlaps, count.overlap) == (1, 1.0)


def test_boxes_that_cover_one_another_are_counted_once():
    halves = Box("image", 0, 0, 6, 10), Box("image", 4, 0, 10, 10)

    assert overlap(halves, (BOX,)) == 1.0


def test_boxes_on_two_images_do_not_overlap():
    assert overlap((BOX,), (Box("other", 0, 0, 10, 10),)) == 0.0


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, top = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    right, bottom = left + draw(st.integers(1, 20)), top + draw(st.integers(1, 20))
    return Box(draw(st.sampled_from(["one", "other"])), left, top, right, bottom)


@given(st.lists(boxes(), min_size=1, max_size=4), st.lists(boxes(), min_size=1, max_size=4))
def test_the_overlap_is_that_of_the_pixels_covered(first: list[Box], second: list[Box]):
    def pixels(several: list[Box]) -> set[tuple[str, int, int]]:
        return {
            (box.image_key, column, row)
            for box in several
            for column in range(int(box.left), int(box.right))
            for row in range(int(box.top), int(box.bottom))
        }

    common, whole = pixels(first) & pixels(second), pixels(first) | pixels(second)

    assert overlap(first, second) == pytest.approx(len(common) / len(whole))
