"""What is said of an engine without loading it is what its questions show."""

import pytest

from inference.case import Case, Exam
from inference.engine import ENGINES, PRIOR_USE
from inference.engines.cxr_llava.prompts import choose_image
from inference.engines.m4cxr.prompts import IMAGES_OF_TWO_STUDIES_MAX, report_plans
from inference.engines.medgemma.prompts import IMAGES_OF_PRIOR_MAX, report_plan
from tests.inference.small import an_image


def a_case(current_images: int, prior_images: int, *reports: str | None) -> Case:
    def images(which: str, count: int) -> tuple:
        return tuple(an_image(f"{which} {number}") for number in range(count))

    priors = [
        Exam(images(f"prior {place}", prior_images), report, days_before=90 - place)
        for place, report in enumerate(reports)
    ]
    return Case(Exam(images("current", current_images)), tuple(priors))


def test_every_engine_says_what_it_looks_at():
    assert PRIOR_USE.keys() == ENGINES.keys()


@pytest.mark.parametrize("current_images", range(1, 12))
def test_m4cxr_looks_at_a_prior_exactly_where_its_images_are_said_to_fit(current_images: int):
    use = PRIOR_USE["m4cxr"]
    room = use.images_with_current_max - current_images

    has_prior = report_plans(a_case(current_images, max(1, min(2, room)), "Clear lungs."))[0].has_prior

    assert has_prior is (room >= 1)
    assert use.images_with_current_max == IMAGES_OF_TWO_STUDIES_MAX


@pytest.mark.parametrize(("report", "is_used"), [(None, False), ("", False), ("abc", False), ("abcd", True)])
def test_m4cxr_needs_a_report_of_as_many_letters_as_is_said(report: str | None, is_used: bool):
    letters = sum(letter.isalpha() for letter in report or "")

    assert report_plans(a_case(1, 1, report))[0].has_prior is is_used
    assert (letters >= PRIOR_USE["m4cxr"].report_letters_min) is is_used


def test_m4cxr_and_medgemma_look_at_as_many_priors_as_is_said_and_need_no_report_if_none_is_said():
    two = a_case(1, 1, "Clear lungs.", "Clear lungs.")

    assert len(report_plans(two)[0].images) == 1 + PRIOR_USE["m4cxr"].count_max
    assert len(report_plan(two).images) == 1 + PRIOR_USE["medgemma"].count_max
    assert report_plan(a_case(1, 1, None)).has_prior is (PRIOR_USE["medgemma"].report_letters_min == 0)


def test_medgemma_looks_at_as_many_images_of_a_prior_as_is_said():
    assert PRIOR_USE["medgemma"].images_max == IMAGES_OF_PRIOR_MAX


def test_cxr_llava_looks_at_no_prior_as_is_said():
    problems = choose_image(a_case(1, 1, "Clear lungs.")).problems

    assert PRIOR_USE["cxr_llava"].count_max == 0
    assert "no earlier exam" in problems[0]
