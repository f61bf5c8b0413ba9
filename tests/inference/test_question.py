"""What can be asked of a case, whatever the model."""

import pytest

from inference.case import View
from inference.question import CannotAsk, Question, Task, check_question, image_of, plain_text
from tests.inference.small import a_case, an_image


def test_a_task_that_the_weights_were_not_trained_for_is_refused_with_those_they_know():
    with pytest.raises(CannotAsk) as refused:
        check_question(Question(Task.VIEW), {Task.FINDING, Task.ABNORMAL}, "demo model")

    assert str(refused.value) == (
        'demo model was not trained for the task "view"; it knows: abnormal, finding'
    )


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question(Task.PHRASE), 'the task "phrase" needs a text: the phrase to be found'),
        (Question(Task.QUESTION, "  "), 'the task "question" needs a text: the question'),
        (Question(Task.VIEW, "please"), 'the task "view" takes no text'),
        (Question(Task.QUESTION, "a" * 1001), "the text has 1001 characters, at most 1000 can be asked"),
    ],
)
def test_a_task_and_its_text_must_fit_each_other(question, said):
    with pytest.raises(CannotAsk, match=said):
        check_question(question, set(Task), "model")


@pytest.mark.parametrize(
    "question",
    [
        Question(Task.FINDINGS),
        Question(Task.FINDINGS, "edema"),
        Question(Task.VIEW),
        Question(Task.DIFFERENCE),
    ],
)
def test_a_question_that_fits_is_let_through(question):
    check_question(question, set(Task), "model")


def test_a_text_is_one_line_without_structure():
    assert plain_text(" is\nthere <image>\tedema? ", lambda text: text.replace("<image>", " ")) == (
        "is there edema?"
    )


def test_the_first_frontal_image_is_asked_about():
    case = a_case((an_image("side", view=View.LATERAL), an_image("ap", view=View.AP), an_image("pa")))

    image, problems = image_of(case, Question(Task.VIEW))

    assert (image.key, problems) == ("ap", ())


def test_an_image_that_is_named_is_asked_about_and_if_it_is_not_frontal_that_is_said():
    case = a_case((an_image("pa"), an_image("side", view=View.LATERAL)))

    image, problems = image_of(case, Question(Task.VIEW, image_key="side"))

    assert image.key == "side"
    assert problems == ("The image that was asked about is not known to be frontal (view LATERAL).",)


def test_an_image_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(CannotAsk, match=r"no image 1\.2; it has: pa"):
        image_of(a_case((an_image("pa"),)), Question(Task.VIEW, image_key="1.2"))
    with pytest.raises(CannotAsk, match="has no image"):
        image_of(a_case(()), Question(Task.VIEW))
