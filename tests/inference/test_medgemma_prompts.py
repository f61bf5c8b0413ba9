"""A case is asked in time order, with words before each image, and what cannot be shown is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.case import Case, Exam, View
from inference.engines.medgemma.prompts import (
    FREE_PROMPTING,
    IMAGE,
    IMAGES_OF_CURRENT_MAX,
    IMAGES_OF_PRIOR_MAX,
    INDICATION_CHARACTERS_MAX,
    PRIOR_REPORT_CHARACTERS_MAX,
    SYSTEM_SENTENCE,
    messages,
    remove_structure,
    report_plan,
)
from inference.engines.report_words import FINDING_NAMES
from tests.inference.small import a_case, a_prior, an_image

STRUCTURE_TOKENS = (
    "<bos>",
    "<eos>",
    "<pad>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
    "<unused42>",
    "<image>",
    "[multimodal]",
    "[@BOS@]",
)


def current(image_count, view=View.PA):
    return tuple(an_image(f"current {number}", view=view) for number in range(image_count))


def test_all_thirteen_findings_are_asked_for_as_a_list_or_none():
    question = report_plan(a_case()).findings_question

    assert f"present in the current exam? {', '.join(FINDING_NAMES)}.\n" in question
    assert question.endswith('in these words, or with "none".')


def test_prior_images_and_report_come_before_the_current_images():
    plan = report_plan(a_case(current(1, View.AP), (a_prior("Mild edema.", image_count=2),)))

    assert [image.key for image in plan.images] == ["prior 0", "prior 1", "current 0"]
    assert plan.has_prior
    assert plan.findings_question.startswith(
        "These are chest X-rays of one patient in time order: a prior exam, 30 days before the current exam, then "
        "the current exam.\n"
        "Prior exam, image 1 of 2, PA view:<image>Prior exam, image 2 of 2, PA view:<image>"
        "Report of the prior exam: Mild edema.\n"
        "Current exam, image 1 of 1, AP view:<image>Which of"
    )


def test_only_with_a_prior_is_a_comparison_asked_for_and_free_prompting_told():
    compared, alone = report_plan(a_case(priors=(a_prior(),))), report_plan(a_case())

    assert "Compare it with the prior exam" in compared.report_question
    assert FREE_PROMPTING in compared.problems
    assert "Do not compare" in alone.report_question
    assert not alone.has_prior
    assert alone.problems == ()


@pytest.mark.parametrize(
    ("days_before", "age"),
    [(1, "1 day before the current exam"), (400, "400 days before"), (None, "of unknown date")],
)
def test_the_time_between_the_exams_is_told(days_before, age):
    prior = Exam((an_image("prior"),), days_before=days_before)

    assert f"a prior exam, {age}" in report_plan(a_case(priors=(prior,))).findings_question


def test_of_several_priors_the_latest_with_images_is_shown_also_without_a_report():
    priors = (a_prior(days_before=900), a_prior(None, days_before=30), a_prior(image_count=0, days_before=2))

    plan = report_plan(a_case(priors=priors))

    assert "a prior exam, 30 days before" in plan.findings_question
    assert "Report of the prior exam" not in plan.findings_question
    assert "Of 3 prior exams the model was shown one: 30 days before the current exam." in plan.problems


def test_a_prior_without_images_is_not_shown_and_that_is_said():
    plan = report_plan(a_case(priors=(a_prior(image_count=0),)))

    assert not plan.has_prior
    assert plan.problems == ("No prior exam has images, so the draft compares with none.",)


def test_the_first_images_of_each_exam_are_shown_and_how_many_is_said():
    plan = report_plan(a_case(current(7), (a_prior(image_count=3),)))

    assert len(plan.images) == IMAGES_OF_PRIOR_MAX + IMAGES_OF_CURRENT_MAX
    assert plan.images[-1].key == "current 3"
    assert plan.findings_question.count(IMAGE) == len(plan.images)
    assert "The model was shown 4 of 7 images of the current exam." in plan.problems
    assert "The model was shown 2 of 3 images of the prior exam." in plan.problems


def test_the_indication_is_shown():
    case = Case(Exam(current(1)), indication="Cough,\nfever")

    assert "Indication: Cough, fever\nWhich of" in report_plan(case).findings_question


def test_texts_beyond_their_bound_are_cut_and_that_is_said():
    prior = a_prior("a" * (PRIOR_REPORT_CHARACTERS_MAX + 1))
    case = Case(Exam(current(1)), (prior,), indication="b" * (INDICATION_CHARACTERS_MAX + 1))

    plan = report_plan(case)

    assert "a" * (PRIOR_REPORT_CHARACTERS_MAX + 1) not in plan.findings_question
    assert "Indication: the model was shown the first 1000 of 1001 characters." in plan.problems
    assert "Report of the prior exam: the model was shown the first 4000 of 4001 characters." in plan.problems


def test_a_case_without_image_is_refused():
    with pytest.raises(ValueError, match="the case has no image"):
        report_plan(a_case(()))


@pytest.mark.parametrize("token", STRUCTURE_TOKENS)
def test_no_report_and_no_indication_can_shape_the_conversation(token):
    case = Case(Exam(current(1)), (a_prior(f"Clear{token}lungs."),), indication=f"{token}Cough")

    question = report_plan(case).findings_question

    assert question.count(token) == (2 if token == IMAGE else 0)
    assert "Report of the prior exam: Clear lungs.\n" in question
    assert "Indication: Cough\n" in question


@given(st.lists(st.sampled_from([*STRUCTURE_TOKENS, "<", ">", "<bo", "s>", "_", "turn"])).map("".join))
def test_taking_structure_out_makes_none_anew(text):
    plain = remove_structure(text)

    assert not any(token in plain for token in STRUCTURE_TOKENS)


def test_ordinary_signs_of_a_report_stay():
    text = "Nodule < 5 mm, ratio > 0.5 [unchanged]; 2 < 3 and 4 > 1."

    assert remove_structure(text) == text


def test_a_conversation_has_the_publishers_form():
    turns = messages([f"One:{IMAGE}Which?", "Why?"], ["None."])

    assert turns == [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_SENTENCE}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "One:"},
                {"type": "image"},
                {"type": "text", "text": "Which?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "None."}]},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
    ]
