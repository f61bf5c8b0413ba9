"""The figures of the demo model count what they say."""

from dataclasses import replace

import pytest

from inference.phantom.cases import HELD_OUT_SEED_MIN, SyntheticExam, case, in_pixels
from inference.phantom.train.evaluate import (
    NAMES_WITH_SIDE,
    changes_between,
    iou,
    outcome,
    overlaps,
    scores_csv,
    summary,
    table,
)
from inference.reading import Box, Change, EngineIdentity, Finding, Reading, Score, Status

SIDE_PX = 200
IDENTITY = EngineIdentity("test", "0", "test", "sha256:0")


def a_perfect_reading(prior: SyntheticExam | None, current: SyntheticExam) -> Reading:
    changes = {} if prior is None else changes_between(prior, current)
    sides = {finding.name: finding.side for finding in current.findings if finding.name in NAMES_WITH_SIDE}
    present = tuple(
        Finding(name, Status.PRESENT, changes.get(name), sides.get(name), boxes_of(current, name))
        for name in current.names
    )
    gone = tuple(
        Finding(name, Status.ABSENT, change) for name, change in changes.items() if change is Change.RESOLVED
    )
    return Reading((*present, *gone), "The lungs are clear.", (), IDENTITY)


def boxes_of(exam: SyntheticExam, name: str) -> tuple[Box, ...]:
    return tuple(Box("x", *in_pixels(box, SIDE_PX, SIDE_PX)) for box in exam.boxes(name))


def test_a_perfect_reading_gets_full_marks() -> None:
    cases = [case(HELD_OUT_SEED_MIN + number) for number in range(12)]

    figures = summary([outcome(*pair, a_perfect_reading(*pair), SIDE_PX, 1.0) for pair in cases])

    full = ("findings_micro_f1", "change_correct", "side_correct", "mean_box_iou")
    assert [figures[name] for name in full] == pytest.approx([1.0] * 4)
    assert figures["comparison_wording_without_prior"] == 0
    assert figures["changes"] > 0


def test_a_reading_that_says_nothing_gets_none() -> None:
    cases = [case(HELD_OUT_SEED_MIN + number) for number in range(12)]
    silent = Reading((), "", (), IDENTITY)

    figures = summary([outcome(*pair, silent, SIDE_PX, 1.0) for pair in cases])

    assert figures["findings_micro_f1"] == 0
    assert figures["change_correct"] == 0
    assert figures["mean_box_iou"] == 0
    assert figures["side_correct"] is None
    assert "findings micro f1" in table(figures)


def test_comparing_without_a_prior_is_counted() -> None:
    prior, current = case(HELD_OUT_SEED_MIN, prior=False)
    reading = replace(a_perfect_reading(prior, current), report="The effusion is unchanged.")

    assert summary([outcome(prior, current, reading, SIDE_PX, 1.0)])["comparison_wording_without_prior"] == 1


def test_boxes_are_paired_by_overlap_and_a_box_too_many_counts_as_nothing() -> None:
    left, right = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)

    assert overlaps([left, right], [right, left]) == (1.0, 1.0)
    assert overlaps([left], [left, right]) == (1.0, 0.0)
    assert overlaps([left, right], []) == (0.0, 0.0)


def test_half_a_box_moved_overlaps_by_a_third() -> None:
    assert iou((0.0, 0.0, 10.0, 10.0), (5.0, 0.0, 15.0, 10.0)) == pytest.approx(1 / 3)


def test_every_score_is_written_with_its_truth() -> None:
    prior, current = case(HELD_OUT_SEED_MIN, prior=False)
    name = current.names[0]
    scores = (Score(name, 0.75), Score("fracture", 0.1))
    read = outcome(prior, current, replace(a_perfect_reading(prior, current), scores=scores), SIDE_PX, 1.0)

    assert scores_csv([read]) == f"finding,score,truth\n{name},0.75,1\nfracture,0.1,0\n"
