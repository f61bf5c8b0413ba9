"""What MedGemma can be asked beside the draft. It was trained to follow instructions; the wording is ours."""

from collections.abc import Sequence

from inference.case import Case
from inference.engines.medgemma import prompts
from inference.engines.medgemma.draft import WHY_NO_MEASUREMENT, Asked, Respondent, ask, look
from inference.engines.report_words import report_problems
from inference.engines.talk import Conversation, together
from inference.question import Answer, Question, Task, image_of, plain_text
from inference.reading import EngineIdentity

_FOLLOW_UPS = {Task.PLAIN: prompts.PLAIN_QUESTION, Task.SUMMARY: prompts.SUMMARY_QUESTION}

TASKS = frozenset({Task.QUESTION, *_FOLLOW_UPS})
"""No places: no format for boxes is published."""


def answer(respondent: Respondent, identity: EngineIdentity, case: Case, question: Question) -> Answer:
    """Answers a question whose task is one of TASKS.

    Raises:
        CannotAsk: if the case has no such image, or the question does not fit into the model's context.
    """
    if question.task in _FOLLOW_UPS:
        conversation = _after_report(respondent, identity, case, question.task)
    else:
        conversation = _about_image(respondent, identity, case, question)
    return together(respondent.model, [conversation])[0]


def _about_image(
    respondent: Respondent, identity: EngineIdentity, case: Case, question: Question
) -> Conversation[Answer]:
    """Puts a question of one's own about one image."""
    image, problems = image_of(case, question)
    text = prompts.one_image_question(image, plain_text(question.text, prompts.remove_structure))
    asked = yield from ask(respondent, look(respondent, [image]), [image], question.task, [text], [])
    return _in_words(identity, question.task, [asked], problems, has_prior=False)


def _after_report(
    respondent: Respondent, identity: EngineIdentity, case: Case, task: Task
) -> Conversation[Answer]:
    """Drafts the report again, as a reading does, and goes on from it."""
    plan = prompts.report_plan(case)
    talk = look(respondent, plan.images)
    questions: list[str] = []
    asked: list[Asked] = []
    for purpose, text in (
        ("findings", plan.findings_question),
        ("report", plan.report_question),
        (task, _FOLLOW_UPS[task]),
    ):
        questions.append(text)
        answers = [one.answer for one in asked]
        asked.append((yield from ask(respondent, talk, plan.images, purpose, questions, answers)))
    return _in_words(identity, task, asked, plan.problems, has_prior=plan.has_prior)


def _in_words(
    identity: EngineIdentity,
    task: Task,
    asked: Sequence[Asked],
    problems: tuple[str, ...],
    *,
    has_prior: bool,
) -> Answer:
    text = asked[-1].answer
    problems += (
        *(problem for one in asked for problem in one.problems),
        *report_problems(text, has_prior=has_prior, why_no_measurement=WHY_NO_MEASUREMENT, what="answer"),
    )
    return Answer(task, text, (), tuple(one.turn for one in asked), identity, problems)
