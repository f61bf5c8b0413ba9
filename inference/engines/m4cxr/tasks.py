"""Every question to M4CXR beside the draft, asked in the one place in a conversation where training had it."""

from collections.abc import Sequence

import torch

from inference.case import Case, Exam, Image
from inference.engines.m4cxr import parse, prompts
from inference.engines.m4cxr.draft import WHY_NO_MEASUREMENT, Asked, Respondent, ask, choose_plan, look
from inference.engines.m4cxr.parse import ModelBox
from inference.engines.report_words import FINDING_NAMES, report_problems
from inference.engines.talk import Talk
from inference.geometry import from_model_box, unseen
from inference.question import Answer, CannotAsk, Place, Question, Task, image_of, plain_text
from inference.reading import EngineIdentity

TASKS = frozenset(prompts.QUESTIONS)
"""What the published weights were trained for."""

_KNOWN_ORGANS = ("lung",)

_FOLLOWS_A_REPORT = (Task.PLAIN, Task.SUMMARY)


def answer(respondent: Respondent, identity: EngineIdentity, case: Case, question: Question) -> Answer:
    """Answers a question whose task is one of TASKS.

    Raises:
        CannotAsk: if the case has no images for it, or its text is none that the model could know.
    """
    if question.task in _FOLLOWS_A_REPORT:
        return _after_report(respondent, identity, case, question.task)
    if question.task is Task.DIFFERENCE:
        return _difference(respondent, identity, case, question)
    image, problems = image_of(case, question)
    names, name_problems = _names(question)
    asked = _ask_once(respondent, [image], question.task, ", ".join(names))
    if question.task in (Task.QUESTION, Task.VIEW):
        return _in_words(identity, question.task, [asked], problems, has_prior=False)
    boxes, read_problems = _boxes(asked.answer, question.task, names)
    places = tuple(
        Place(name, tuple(from_model_box(box, image.rows, image.columns, image.key) for box in model_boxes))
        for name, model_boxes in boxes
    )
    problems += (*name_problems, *asked.problems, *read_problems, *unseen([(image.rows, image.columns)]))
    return Answer(question.task, asked.answer, places, (asked.turn,), identity, problems)


def _names(question: Question) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Gives what a question is put with, as training spelt it, and says what of it training may not have had.

    Raises:
        CannotAsk: for an anatomical region that the model does not know.
    """
    task, text = question.task, question.text
    if task in (Task.ABNORMAL, Task.VIEW):
        return (), ()
    if task is Task.FINDINGS and not text.strip():
        return FINDING_NAMES, ()
    line = plain_text(text, prompts.remove_structure)
    if task in (Task.PHRASE, Task.QUESTION):
        return (line,), ()
    name = line.lower().rstrip(".?! ")
    if task is Task.REGION:
        if name not in prompts.REGION_NAMES:
            known = ", ".join(prompts.REGION_NAMES)
            raise CannotAsk(f'"{name}" is no anatomical region that this model knows; it knows: {known}')
        return (name,), ()
    pieces = name.split(",") if task is Task.FINDINGS else [name]
    names = tuple(dict.fromkeys(filter(None, map(str.strip, pieces))))
    if not names:
        raise CannotAsk(f'the text names nothing: "{line}"')
    known_names = _KNOWN_ORGANS if task is Task.ORGAN else FINDING_NAMES
    strange = [one for one in names if one not in known_names]
    if not strange:
        return names, ()
    return names, (f"Whether this model was trained to place {', '.join(strange)} is not known.",)


def _boxes(
    text: str, task: Task, names: Sequence[str]
) -> tuple[tuple[tuple[str, tuple[ModelBox, ...]], ...], tuple[str, ...]]:
    """Reads the places of an answer: names with their boxes, and what could not be read."""
    if task is Task.FINDINGS:
        placed = parse.parse_placed_findings(text, names)
        return placed.findings, placed.problems
    name = names[0] if names else "abnormal region"
    if task is Task.FINDING:
        said = parse.parse_grounding(text, name)
        return ((name, said.boxes),) if said.boxes else (), said.problems
    places = parse.parse_places(text, name)
    return ((name, places.boxes),) if places.boxes else (), places.problems


def _difference(respondent: Respondent, identity: EngineIdentity, case: Case, question: Question) -> Answer:
    """Asks what has changed since the latest earlier exam that has an image; one image of each was trained."""
    main, problems = image_of(case, question)
    with_images = [prior for prior in case.priors if prior.images]
    if not with_images:
        raise CannotAsk("no earlier exam with an image is beside this study, so nothing can be compared")
    reference, reference_problems = image_of(Case(with_images[-1]), Question(Task.DIFFERENCE))
    text = plain_text(question.text or prompts.USUAL_DIFFERENCE, prompts.remove_structure)
    asked = _ask_once(respondent, [reference, main], Task.DIFFERENCE, text)
    problems += (*reference_problems, *_shown(with_images[-1]))
    return _in_words(identity, Task.DIFFERENCE, [asked], problems, has_prior=True)


def _after_report(respondent: Respondent, identity: EngineIdentity, case: Case, task: Task) -> Answer:
    """Drafts the report again, as a reading does, and goes on from it."""
    if not case.current.images:
        raise CannotAsk("the current exam has no image")
    plan = choose_plan(respondent, prompts.report_plans(case))
    rows = look(respondent, plan.images)
    talk = Talk(respondent.model, torch.stack([rows[image] for image in plan.images]))
    questions: list[str] = []
    asked: list[Asked] = []
    for purpose, text in (
        ("findings", plan.findings_question),
        ("report", plan.report_question),
        (task, prompts.QUESTIONS[task]),
    ):
        questions.append(text)
        answers = [one.answer for one in asked]
        asked.append(ask(respondent, talk, plan.images, purpose, questions, answers))
    problems = plan.problems
    if len(plan.images) > 1:
        problems += ("This model learned to go on from reports of one image; here it saw several.",)
    return _in_words(identity, task, asked, problems, has_prior=plan.has_prior)


def _in_words(
    identity: EngineIdentity,
    task: Task,
    asked: Sequence[Asked],
    problems: tuple[str, ...],
    *,
    has_prior: bool,
) -> Answer:
    """Makes an answer of words: what is wrong with them is told as it is of a report."""
    text = asked[-1].answer
    problems += (
        *(problem for one in asked for problem in one.problems),
        *report_problems(text, has_prior=has_prior, why_no_measurement=WHY_NO_MEASUREMENT, what="answer"),
    )
    return Answer(task, text, (), tuple(one.turn for one in asked), identity, problems)


def _ask_once(respondent: Respondent, images: Sequence[Image], task: Task, text: str) -> Asked:
    """Asks in a conversation of its own: no other place for these questions was trained."""
    rows = look(respondent, images)
    talk = Talk(respondent.model, torch.stack([rows[image] for image in images]))
    return ask(respondent, talk, images, task, [prompts.task_question(task, text)], [])


def _shown(prior: Exam) -> tuple[str, ...]:
    """Says which earlier exam was compared with."""
    age = "of unknown date" if prior.days_before is None else f"{prior.days_before} days before"
    return (f"Compared with one image of the earlier exam, {age}; its report was not shown.",)
