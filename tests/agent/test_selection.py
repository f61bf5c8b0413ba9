"""Which studies are read, which of their images, and when a study is complete."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from agent.dicom.headers import Headers, headers_of
from agent.selection import (
    SelectionRules,
    complete_because,
    reason_not_to_read,
    select_images,
    study_age_days,
)
from tests.builders import a_radiograph

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RULES = SelectionRules(
    settle_seconds=60,
    complete_when_views=frozenset({"frontal", "lateral"}),
    study_age_days_max=14,
    body_parts=frozenset({"CHEST", "THORAX"}),
    description_words=frozenset({"chest", "thorax"}),
    read_if_unnamed=True,
    images_max=3,
)


def an_image(**about) -> Headers:
    return headers_of(a_radiograph(**about))


def test_a_study_is_complete_at_once_when_every_expected_view_is_there():
    because = complete_because(["frontal", "lateral"], NOW, NOW, RULES)

    assert because == "every expected view is there: frontal, lateral"


def test_a_study_with_one_view_waits_for_silence():
    assert complete_because(["frontal"], NOW, NOW + timedelta(seconds=59), RULES) is None
    assert complete_because(["frontal"], NOW, NOW + timedelta(seconds=60), RULES) is not None


def test_without_expected_views_only_silence_counts():
    rules = replace(RULES, complete_when_views=frozenset())

    assert complete_because(["frontal", "lateral"], NOW, NOW, rules) is None


def test_frontal_images_come_first_and_the_rest_by_instance_number():
    images = [an_image(view="LL", number=1), an_image(view="PA", number=3), an_image(view="AP", number=2)]

    chosen = select_images(images, RULES).images

    assert [image.view_position for image in chosen] == ["AP", "PA", "LL"]


def test_an_image_beyond_the_limit_is_left_out_by_name():
    images = [an_image(number=number) for number in (1, 2, 3, 4)]

    selection = select_images(images, RULES)

    assert len(selection.images) == 3
    assert selection.left_out == (
        (images[3].sop_instance_uid, "more than images_max = 3 images in the study"),
    )


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"body_part": "HAND"}, "body part is HAND"),
        ({"body_part": "", "study_description": "XR KNEE"}, "no description with one of chest, thorax"),
    ],
)
def test_an_image_of_another_body_part_is_left_out_and_says_why(about, words):
    ((_, reason),) = select_images([an_image(**about)], RULES).left_out

    assert words in reason


@pytest.mark.parametrize(
    "about",
    [
        {"body_part": "CHEST 2 VIEWS"},
        {"body_part": "", "study_description": "Thorax pa"},
        {"body_part": "", "study_description": ""},
    ],
)
def test_a_chest_is_recognised_by_part_by_description_or_where_nothing_is_said(about):
    assert len(select_images([an_image(**about)], RULES).images) == 1


def test_what_names_nothing_is_not_read_where_the_site_routes_everything():
    rules = replace(RULES, read_if_unnamed=False)

    assert select_images([an_image(body_part="", study_description="")], rules).images == ()


def test_an_image_for_processing_is_not_read():
    image = replace(an_image(), presentation_intent_type="FOR PROCESSING")

    assert select_images([image], RULES).left_out[0][1] == "for processing, not for presentation"


def test_a_strip_is_left_out_and_the_other_images_are_read():
    strip, film = replace(an_image(number=1), rows=3000, columns=250), an_image(number=2)

    selection = select_images([strip, film], RULES)

    assert selection.images == (film,)
    assert selection.left_out == (
        (strip.sop_instance_uid, "3000 rows by 250 columns are no radiograph: too long for its width"),
    )


def test_a_study_with_only_a_lateral_is_skipped_by_rule():
    selection = select_images([an_image(view="LL")], RULES)

    verdict = reason_not_to_read(selection, "20260302", None, date(2026, 3, 2), RULES)

    assert verdict == ("no frontal chest radiograph in the study (views: LATERAL)", True)


def test_an_image_of_unknown_view_may_be_frontal_and_is_read():
    image = replace(an_image(view=""), is_frontal=None)

    assert reason_not_to_read(select_images([image], RULES), "", None, date(2026, 3, 2), RULES) is None


def test_an_old_study_is_kept_as_a_prior_and_not_read():
    selection = select_images([an_image()], RULES)

    verdict = reason_not_to_read(selection, "20260101", None, date(2026, 3, 2), RULES)

    assert verdict == ("the study is 60 days old (study_age_days_max = 14); kept as a prior", True)


def test_two_patients_in_one_study_are_something_wrong_not_a_rule():
    verdict = reason_not_to_read(
        select_images([an_image()], RULES), "", "two patients", date(2026, 3, 2), RULES
    )

    assert verdict is not None
    assert verdict[1] is False


@pytest.mark.parametrize("sent", ["", "2026", "20261399", "yesterday"])
def test_a_date_that_is_none_has_no_age(sent):
    assert study_age_days(sent, date(2026, 3, 2)) is None
