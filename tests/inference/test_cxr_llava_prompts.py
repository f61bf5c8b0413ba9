"""A case is asked in the words of training, and what cannot be shown is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.case import View
from inference.engines.cxr_llava.prompts import (
    DIFFERENTIAL_QUESTION,
    REPORT_QUESTION,
    STRUCTURE,
    choose_image,
    first_question,
    remove_structure,
    render,
)
from inference.question import plain_text
from tests.inference.cxr_llava_small import conversations
from tests.inference.small import a_case, a_prior, an_image


@pytest.mark.parametrize(
    ("name", "questions", "answers"),
    [
        ("report", [first_question(REPORT_QUESTION)], []),
        ("differential_diagnosis", [first_question(DIFFERENTIAL_QUESTION)], []),
        ("question", [first_question("Is there a pleural effusion?")], []),
        (
            "follow_up",
            [first_question(REPORT_QUESTION), "Where is the tube tip?"],
            ["The heart is enlarged."],
        ),
    ],
)
def test_a_conversation_is_written_as_the_reference_renders_it(name, questions, answers):
    assert render(questions, answers) == conversations()[name]["rendered_prompt"]


def test_the_first_frontal_image_is_shown():
    images = (an_image("side", view=View.LATERAL), an_image("ap", view=View.AP), an_image("pa"))

    choice = choose_image(a_case(images))

    assert choice.image.key == "ap"
    assert choice.problems == ("The model was shown 1 of 3 images.",)


def test_without_a_frontal_image_the_first_is_shown_and_that_is_said():
    choice = choose_image(a_case((an_image("side", view=View.LATERAL),)))

    assert choice.image.key == "side"
    assert choice.problems == (
        "No image of the current exam is known to be frontal; the model was shown the first one.",
    )


@pytest.mark.parametrize(("count", "unseen"), [(1, "earlier exam was"), (2, "2 earlier exams were")])
def test_earlier_exams_are_not_shown_and_that_is_said(count, unseen):
    choice = choose_image(a_case(priors=(a_prior(),) * count))

    assert choice.problems == (f"This model looks at one image and no earlier exam; the {unseen} not shown.",)


def test_one_frontal_image_alone_is_no_problem():
    assert choose_image(a_case()).problems == ()


def test_a_case_without_image_is_refused():
    with pytest.raises(ValueError, match="the case has no image"):
        choose_image(a_case(()))


@given(st.text(alphabet="<image>[/INST]<<SYS>>unk s.", max_size=60))
def test_no_question_can_shape_the_conversation(text):
    try:
        cleaned = plain_text(text, remove_structure)
    except ValueError:
        return

    assert STRUCTURE.search(cleaned) is None
    assert cleaned == cleaned.strip() != ""
