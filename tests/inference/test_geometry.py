"""Boxes find their way to the model's grid and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.geometry import MODEL_UNITS, centre_square, fit, from_model_box, to_model_box, too_long, unseen
from inference.reading import Box

SIDES = st.integers(16, 5000)
UNITS = st.integers(0, MODEL_UNITS)


def corners(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


@st.composite
def model_boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    left, right = sorted(draw(st.lists(UNITS, min_size=2, max_size=2, unique=True)))
    top, bottom = sorted(draw(st.lists(UNITS, min_size=2, max_size=2, unique=True)))
    return left, top, right, bottom


def test_boxes_are_said_as_the_training_texts_said_them(conversations):
    for vector in conversations["box_to_text"]:
        said = to_model_box(vector["pixel_box"], vector["height"], vector["width"])

        assert f"[{','.join(map(str, said))}]" == vector["text"]


def test_boxes_come_back_where_upstream_draws_them(conversations):
    for vector in conversations["text_to_pixel_box"]:
        box = from_model_box(vector["model_box"], vector["height"], vector["width"], "image")

        assert [round(corner) for corner in corners(box)] == vector["pixel_box"]


@given(model_boxes(), SIDES, SIDES)
def test_a_model_box_survives_the_way_to_the_image_and_back(model_box, rows, columns):
    box = from_model_box(model_box, rows, columns, "image")

    assert to_model_box(corners(box), rows, columns) == model_box


@given(st.tuples(*[st.floats(0, 1)] * 4), SIDES, SIDES)
def test_a_box_in_the_image_comes_back_within_half_a_model_unit(shares, rows, columns):
    square = centre_square(rows, columns)
    left, right = sorted(square.left + share * square.side for share in shares[:2])
    top, bottom = sorted(square.top + share * square.side for share in shares[2:])
    model_box = to_model_box((left, top, right, bottom), rows, columns)
    if model_box[0] == model_box[2] or model_box[1] == model_box[3]:
        return

    back = corners(from_model_box(model_box, rows, columns, "image"))

    half_unit = square.side / MODEL_UNITS / 2 + 1e-6
    assert back == pytest.approx((left, top, right, bottom), abs=half_unit)


@given(model_boxes(), SIDES, SIDES)
def test_no_box_leaves_the_square_that_the_model_saw(model_box, rows, columns):
    square = centre_square(rows, columns)

    box = from_model_box(model_box, rows, columns, "image")

    assert square.left <= box.left < box.right <= min(square.left + square.side + 1e-9, columns)
    assert square.top <= box.top < box.bottom <= min(square.top + square.side + 1e-9, rows)


@pytest.mark.parametrize("model_box", [(0, 0, 101, 50), (-1, 0, 5, 5), (5, 5, 5, 9), (9, 1, 5, 9)])
def test_what_is_no_box_on_the_grid_is_refused(model_box):
    with pytest.raises(ValueError, match="not a box on a grid of 0 to 100"):
        from_model_box(model_box, 100, 100, "image")


@given(SIDES, SIDES, st.sampled_from([28, 112, 518]))
def test_the_cut_square_lies_within_a_pixel_of_the_square_that_boxes_refer_to(rows, columns, side):
    if too_long(rows, columns):
        with pytest.raises(ValueError, match="too long for its width"):
            fit(rows, columns, side)
        return
    plan, square = fit(rows, columns, side), centre_square(rows, columns)
    scale = side / square.side

    assert min(plan.rows, plan.columns) == side
    assert abs(plan.left - square.left * scale) <= 1
    assert abs(plan.top - square.top * scale) <= 1


def test_what_lies_outside_the_squares_is_told_by_the_film_that_loses_most():
    (told,) = unseen([(2500, 2048), (1000, 1000), (2048, 2560)])

    assert "80% of it or more" in told
    assert unseen([(1000, 1000)]) == unseen([]) == ()
