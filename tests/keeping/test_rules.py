"""Which images are still needed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.keeping.rules import RetentionRules, is_possible_prior, may_make_room, reason_to_delete
from storage.deletions import StudyAge
from tests.storage.builders import NOW

RULES = RetentionRules(image_days=30, prior_days=730, priors_max=3, window_days=1825)


def an_age(*, days: float = 0, **fields) -> StudyAge:
    """A study that was read, of a patient with three newer exams."""
    then = NOW - timedelta(days=days)
    age = StudyAge("2.25.1", "20260101", 1, then, then, False, False, False, True, 3, 2, 10)
    return replace(age, **fields)


def test_images_go_when_their_days_are_over_and_not_before():
    assert reason_to_delete(an_age(days=29.9), RULES, NOW) is None
    assert (
        reason_to_delete(an_age(days=30), RULES, NOW) == "last changed 30 days ago; retention.image_days = 30"
    )


def test_a_possible_prior_is_kept_longer():
    prior = an_age(days=729, newer_exams=2)

    assert reason_to_delete(prior, RULES, NOW) is None
    older = replace(prior, arrived_at=NOW - timedelta(days=730), changed_at=None)
    assert reason_to_delete(older, RULES, NOW) == "last changed 730 days ago; retention.prior_days = 730"


def test_the_days_count_from_the_last_image_or_the_last_draft_whichever_is_later():
    read_lately = an_age(days=400, changed_at=NOW - timedelta(days=1))
    late_image = an_age(days=400, arrived_at=NOW - timedelta(days=1))

    assert reason_to_delete(read_lately, RULES, NOW) is reason_to_delete(late_image, RULES, NOW) is None


@pytest.mark.parametrize("reason", ["is_busy", "is_held"])
def test_what_is_unfinished_or_held_never_goes(reason: str):
    age = an_age(days=5000, **{reason: True})

    assert reason_to_delete(age, RULES, NOW) is None
    assert not may_make_room(age, NOW)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"newer_exams": 2}, True),
        ({"newer_exams": 3}, False),
        ({"newer_exams": 0, "has_identifier": False}, False),
        ({"newer_exams": 0, "is_fetched": True}, False),
        ({"newer_exams": 0, "study_date": "20200101"}, False),
        ({"newer_exams": 0, "study_date": ""}, False),
        ({"newer_exams": 0, "study_date": "20261399"}, False),
    ],
)
def test_a_possible_prior_is_one_of_the_patients_newest_exams_within_the_window(fields, expected):
    assert is_possible_prior(an_age(**fields), RULES, NOW) is expected


def test_room_is_made_with_what_nobody_looks_at_any_more():
    assert may_make_room(an_age(days=1), NOW)
    assert not may_make_room(an_age(days=0.9), NOW)
