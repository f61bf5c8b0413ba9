"""The chain of thought: which findings, then a description given them, then where each one is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import torch
from torch import Tensor

from inference.case import Case, Image
from inference.engines.follow_up import FollowUp
from inference.engines.m4cxr import parse, prompts
from inference.engines.m4cxr.model import M4CXR
from inference.engines.m4cxr.preprocess import pixel_values
from inference.engines.m4cxr.prompts import ReportPlan
from inference.engines.m4cxr.tokens import Vocabulary
from inference.engines.report_words import (
    FINDING_NAMES,
    change_of,
    report_problems,
    resolved_findings,
    side_of,
    summary_problems,
)
from inference.engines.talk import Talk
from inference.geometry import from_model_box
from inference.question import Task
from inference.reading import Box, Change, EngineIdentity, Finding, Reading, Score, Status, Turn

CONVERSATION_TOKENS_MAX = 4096
"""Longest conversation of training. Ten images and a usual prior report come to about 3,900."""

_ANSWERS_TOKENS = 256
"""Kept free for both answers when a form is chosen: all thirteen findings take 60, a long description 190."""


WHY_NO_MEASUREMENT = "its training texts had lost their decimal points"


@dataclass(frozen=True, slots=True)
class Respondent:
    """A model with its vocabulary and the longest answer it may give, in tokens.

    Attributes:
        yes_no_ids: the first tokens of "Yes." and "Not present.", whose logits make a score; None if they are one.
    """

    model: M4CXR
    vocabulary: Vocabulary
    answer_tokens_max: int
    yes_no_ids: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        yes, no = (self.vocabulary.encode(answer)[0] for answer in prompts.GROUNDING_ANSWERS)
        object.__setattr__(self, "yes_no_ids", None if yes == no else (yes, no))


@dataclass(frozen=True, slots=True)
class Asked:
    """One turn, its answer without the conversation's structure, and what was wrong with it."""

    turn: Turn
    answer: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grounded:
    """Where findings are: boxes by finding, the turns that told it, scores, and what was wrong with them."""

    boxes: Mapping[str, tuple[Box, ...]]
    turns: tuple[Turn, ...] = ()
    problems: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


def read_case(
    respondent: Respondent, identity: EngineIdentity, case: Case, *, asks_impression: bool = False
) -> Reading:
    """Asks a model everything about a case.

    Args:
        asks_impression: whether it is asked to sum up its report.

    Raises:
        ValueError: if the case has no image, or not even one image fits into the model's context.
    """
    began = perf_counter()
    plan = choose_plan(respondent, prompts.report_plans(case))
    frontals = [image for image in case.current.images if image.view.is_frontal]
    frontals = frontals[: prompts.IMAGES_OF_ONE_STUDY_MAX]
    rows = look(respondent.model, [*plan.images, *frontals])

    talk = Talk(respondent.model, torch.stack([rows[image] for image in plan.images]))
    listed = ask(respondent, talk, plan.images, "findings", [plan.findings_question], [])
    questions = [plan.findings_question, plan.report_question]
    described = ask(respondent, talk, plan.images, "report", questions, [listed.answer])
    summed = FollowUp()
    if asks_impression:
        summed = _sum_up(respondent, talk, plan, (listed.answer, described.answer))
    named = parse.parse_findings(listed.answer)
    # One film alone begins as its grounding questions do: what was computed of it goes on.
    talks = {plan.images[0]: talk} if len(plan.images) == 1 else {}
    grounded = _ground(respondent, rows, talks, frontals, named.names)
    findings, contradictions = findings_of(
        named.names, described.answer, grounded.boxes, has_prior=plan.has_prior
    )
    findings = tuple(replace(finding, score=grounded.scores.get(finding.name)) for finding in findings)
    return Reading(
        findings=findings,
        report=described.answer,
        turns=(listed.turn, described.turn, *summed.turns, *grounded.turns),
        engine=identity,
        problems=(
            *plan.problems,
            *listed.problems,
            *named.problems,
            *described.problems,
            *report_problems(
                described.answer, has_prior=plan.has_prior, why_no_measurement=WHY_NO_MEASUREMENT
            ),
            *summed.problems,
            *contradictions,
            *grounded.problems,
        ),
        compared_with_prior=plan.has_prior,
        scores=tuple(Score(name, value) for name, value in grounded.scores.items()),
        seconds=perf_counter() - began,
        impression=summed.text,
    )


def ask(
    respondent: Respondent,
    talk: Talk,
    images: Sequence[Image],
    purpose: str,
    questions: Sequence[str],
    answers: Sequence[str],
) -> Asked:
    """Puts the last of `questions` to the model, after the earlier ones and their answers."""
    vocabulary = respondent.vocabulary
    ids = vocabulary.ids(prompts.render(questions, answers))
    room = respondent.model.config.positions_max - len(ids)
    began = perf_counter()
    new_ids = talk.answer(ids, max(1, min(respondent.answer_tokens_max, room)))
    seconds = perf_counter() - began
    return _asked(vocabulary, purpose, images, questions[-1], len(ids), new_ids, seconds)


def _sum_up(respondent: Respondent, talk: Talk, plan: ReportPlan, answers: tuple[str, str]) -> FollowUp:
    """Goes on with the report's conversation and asks for its summary, if there is a report and room."""
    _, report = answers
    if not report:
        return FollowUp()
    questions = [plan.findings_question, plan.report_question, prompts.QUESTIONS[Task.SUMMARY]]
    length = len(respondent.vocabulary.ids(prompts.render(questions, answers)))
    if length >= respondent.model.config.positions_max:
        return FollowUp(problems=("The report is so long that the model could not be asked to sum it up.",))
    asked = ask(respondent, talk, plan.images, "impression", questions, answers)
    problems = report_problems(
        asked.answer,
        has_prior=plan.has_prior,
        why_no_measurement=WHY_NO_MEASUREMENT,
        what="impression",
    )
    return FollowUp(
        asked.answer or None,
        (asked.turn,),
        (*asked.problems, *problems, *summary_problems(asked.answer, report)),
    )


def _asked(
    vocabulary: Vocabulary,
    purpose: str,
    images: Sequence[Image],
    question: str,
    prompt_tokens: int,
    new_ids: Sequence[int],
    seconds: float,
) -> Asked:
    text = vocabulary.decode(new_ids)
    keys = tuple(image.key for image in images)
    turn = Turn(purpose, keys, question, text, seconds, prompt_tokens, len(new_ids))
    problems: tuple[str, ...] = ()
    if new_ids[-1] != vocabulary.end_id:
        problems = (f"The answer to the question for {purpose} was cut off after {len(new_ids)} tokens.",)
    return Asked(turn, parse.tidy(text), problems)


def findings_of(
    names: Iterable[str], report: str, boxes: Mapping[str, tuple[Box, ...]], *, has_prior: bool
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Puts together what the answers say of each finding, and says where they contradict one another.

    A finding that the report calls resolved, and the list does not name, is the one kind of absence that the
    model states; the others that are not named are not called absent.
    """
    findings: list[Finding] = []
    problems: list[str] = []
    for name in names:
        change = change_of(name, report) if has_prior else None
        if change is Change.RESOLVED:
            problems.append(f"The model lists {name} as present, and its report calls it resolved.")
            change = None
        side = side_of(name, report)
        findings.append(Finding(name, Status.PRESENT, change, side, boxes.get(name, ())))
    if has_prior:
        findings += [
            Finding(name, Status.ABSENT, Change.RESOLVED, side_of(name, report))
            for name in resolved_findings(report)
            if name not in boxes and name not in names
        ]
    return tuple(findings), tuple(problems)


def choose_plan(respondent: Respondent, plans: Sequence[ReportPlan]) -> ReportPlan:
    """Takes the fullest form that fits into the model's context."""
    positions_max = min(respondent.model.config.positions_max, CONVERSATION_TOKENS_MAX)
    for plan in plans:
        conversation = prompts.render([plan.findings_question, plan.report_question], [""])
        token_count = len(respondent.vocabulary.ids(conversation))
        if token_count + _ANSWERS_TOKENS <= positions_max:
            return plan
    raise ValueError(
        f"the questions on one image take {token_count} tokens and the answers {_ANSWERS_TOKENS}; "
        f"the model has places for {positions_max}"
    )


def look(model: M4CXR, images: Iterable[Image]) -> dict[Image, Tensor]:
    """Gives what stands for each image in the text, (Q, H); every image is looked at once."""
    side_px = model.config.image_size_px
    device = model.abstractor.pos_emb.device
    return {
        image: model.image_rows(pixel_values([image.pixels], side_px).to(device))[0]
        for image in dict.fromkeys(images)
    }


def _ground(
    respondent: Respondent,
    rows: Mapping[Image, Tensor],
    talks: Mapping[Image, Talk],
    images: Sequence[Image],
    names: Sequence[str],
) -> Grounded:
    """Asks for every finding on each image alone: where it is, if it was named, and its score in any case.

    Args:
        talks: about one of the images alone, which end here.
    """
    if not images:
        problem = (
            "No image of the current exam is frontal, so the model was not asked where the findings are."
        )
        return Grounded({}, problems=(problem,) if names else ())
    boxes: dict[str, tuple[Box, ...]] = dict.fromkeys(names, ())
    scores: dict[str, float] = {}
    turns: list[Turn] = []
    problems: list[str] = []
    for number, image in enumerate(images, start=1):
        talk = talks.get(image) or Talk(respondent.model, rows[image][None])
        asked, seen = _ask_for_each(respondent, talk, image, names)
        # The film that shows a finding best counts: a finding hidden on one of two frontals is no less there.
        scores = {name: max(score, scores.get(name, 0.0)) for name, score in seen.items()}
        for name, one in zip(names, asked, strict=True):
            said = parse.parse_grounding(one.answer, name)
            boxes[name] += tuple(
                from_model_box(box, image.rows, image.columns, image.key) for box in said.boxes
            )
            turns.append(one.turn)
            problems += [*one.problems, *said.problems]
            if said.is_present is False:
                problems.append(
                    f"The model lists {name} as present, but says of its place on frontal image {number}: "
                    f'"{one.answer}"'
                )
    return Grounded(boxes, tuple(turns), tuple(problems), scores)


def _ask_for_each(
    respondent: Respondent, talk: Talk, image: Image, names: Sequence[str]
) -> tuple[list[Asked], dict[str, float]]:
    """Puts the question for each of the thirteen findings side by side, and lets the model answer the named ones."""
    vocabulary = respondent.vocabulary
    questions = [prompts.grounding_question(name) for name in FINDING_NAMES]
    every = [vocabulary.ids(prompts.render([question], [])) for question in questions]
    began = perf_counter()
    fork = talk.fork(every)
    scores: dict[str, float] = {}
    if respondent.yes_no_ids is not None:
        leaning = fork.logits[:, list(respondent.yes_no_ids)].float().softmax(1)[:, 0]  # (13,)
        scores = dict(zip(FINDING_NAMES, leaning.tolist(), strict=True))
    chosen = [FINDING_NAMES.index(name) for name in names]
    room = respondent.model.config.positions_max - max(map(len, every))
    answers = fork.answers(chosen, max(1, min(respondent.answer_tokens_max, room))) if chosen else []
    # They were answered together, so each took its share.
    seconds = (perf_counter() - began) / max(1, len(chosen))
    asked = [
        _asked(vocabulary, f"grounding: {name}", [image], questions[place], len(every[place]), ids, seconds)
        for name, place, ids in zip(names, chosen, answers, strict=True)
    ]
    return asked, scores
