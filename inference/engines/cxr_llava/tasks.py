"""What CXR-LLaVA can be asked beside the draft: a question of one's own, and differential diagnoses."""

from inference.case import Case
from inference.engines.cxr_llava import prompts
from inference.engines.cxr_llava.draft import WHY_NO_MEASUREMENT, Respondent, ask, look
from inference.engines.report_words import report_problems
from inference.engines.talk import together
from inference.question import Answer, Question, Task, image_of, plain_text
from inference.reading import EngineIdentity

TASKS = frozenset({Task.QUESTION, Task.DIFFERENTIAL})
"""What the published weights were trained for."""


def answer(respondent: Respondent, identity: EngineIdentity, case: Case, question: Question) -> Answer:
    """Answers a question whose task is one of TASKS about one image; the model gives no places.

    Raises:
        CannotAsk: if the case has no such image, or the question does not fit into the model's context.
    """
    image, problems = image_of(case, question)
    text = prompts.DIFFERENTIAL_QUESTION
    if question.task is Task.QUESTION:
        text = plain_text(question.text, prompts.remove_structure)
    talk = look(respondent, image)
    conversation = ask(respondent, talk, image, question.task, [prompts.first_question(text)], [])
    (asked,) = together(respondent.model, [conversation])
    doubts = report_problems(
        asked.answer, has_prior=False, why_no_measurement=WHY_NO_MEASUREMENT, what="answer"
    )
    problems += (*asked.problems, *doubts)
    return Answer(question.task, asked.answer, (), (asked.turn,), identity, problems)
