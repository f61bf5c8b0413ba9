"""Boxes become marks: inside the image, numbered, the same in every output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.outputs.marks import BOX_SIDE_PX_MIN, Marks, marks_of
from inference.reading import Box, Finding, Status
from tests.outputs.drafts import a_box, a_reading, a_source, an_effusion, sources_of

HEADER = a_source()  # 256 rows, 320 columns
KEY = str(HEADER.SOPInstanceUID)


def marks_for(*findings: Finding) -> Marks:
    return marks_of(sources_of(HEADER), a_reading(*findings))


@given(st.floats(0, 400), st.floats(0, 400), st.floats(0.001, 400), st.floats(0.001, 400))
def test_a_mark_lies_inside_its_image_or_says_why_it_is_none(
    left: float, top: float, width: float, height: float
):
    if left + width <= left or top + height <= top:
        return
    marks = marks_for(an_effusion(Box(KEY, left, top, left + width, top + height)))

    assert len(marks.marks) + len(marks.dropped) == 1
    for mark in marks.marks:
        box = mark.box
        assert 0 <= box.left <= box.right - BOX_SIDE_PX_MIN <= 320 - BOX_SIDE_PX_MIN
        assert 0 <= box.top <= box.bottom - BOX_SIDE_PX_MIN <= 256 - BOX_SIDE_PX_MIN
        assert all(edge * 2 == int(edge * 2) for edge in (box.left, box.top, box.right, box.bottom))


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 10, 13, 90), "3 x 80 pixels inside the image, less than 4"),
        ((318, 10, 400, 90), "2 x 80 pixels inside the image, less than 4"),
        ((0, 0, 320, 256), "it covers more than 98% of the image"),
    ],
)
def test_a_box_that_shows_nothing_is_dropped_with_the_reason(box: tuple[int, int, int, int], reason: str):
    marks = marks_for(an_effusion(Box(KEY, *box)))

    assert marks.marks == ()
    assert marks.dropped == (f"A box of pleural effusion on image {KEY} is not shown: {reason}.",)


def test_the_place_of_what_is_absent_is_not_shown():
    marks = marks_for(an_effusion(a_box(HEADER), status=Status.ABSENT))

    assert marks.marks == ()
    assert "called absent" in marks.dropped[0]


def test_findings_are_counted_and_so_are_the_boxes_of_one():
    other = a_box(HEADER, left=200, right=260)
    marks = marks_for(Finding("edema", Status.PRESENT), an_effusion(a_box(HEADER), other), an_effusion(other))

    assert [mark.identifier for mark in marks.marks] == ["F2.1", "F2.2", "F3"]
    assert len({mark.tracking_uid for mark in marks.marks}) == 3


def test_a_finding_that_moved_a_little_in_the_next_draft_keeps_its_tracking_uid():
    before, after = (marks_for(an_effusion(a_box(HEADER, left=left))) for left in (40, 43.5))

    assert before.marks[0].tracking_uid == after.marks[0].tracking_uid
