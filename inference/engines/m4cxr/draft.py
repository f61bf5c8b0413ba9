"""The chain of thought: which findings, then a description given them, then where each one is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from inference.case import Case, Image
from inference.engines.m4cxr import parse, prompts
from inference.engines.m4cxr.generate import Talk
from inference.engines.m4cxr.model import M4CXR
from inference.engines.m4cxr.preprocess import pixel_values
from inference.engines.m4cxr.prompts import ReportPlan
from inference.engines.m4cxr.tokens import Vocabulary
from inference.geometry import from_model_box
from inference.reading import Box, Change, EngineIdentity, Finding, Reading, Status, Turn

CONVERSATION_TOKENS_MAX = 4096
"""Longest conversation of training. Ten images and a usual prior report come to about 3,900."""

_ANSWERS_TOKENS = 256
"""Kept free for both answers when a form is chosen: all thirteen findings take 60, a long description 190."""


@dataclass(frozen=True, slots=True)
class Respondent:
    """A model with its vocabulary and the longest answer it may give, in tokens."""

    model: M4CXR
    vocabulary: Vocabulary
    answer_tokens_max: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One turn, its answer without the conversation's structure, and what was wrong with it."""

    turn: Turn
    answer: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grounded:
    """Where findings are: boxes by finding, the turns that told it, and what was wrong with them."""

    boxes: Mapping[str, tuple[Box, ...]]
    turns: tuple[Turn, ...]
    problems: tuple[str, ...]


def read_case(respondent: Respondent, identity: EngineIdentity, case: Case) -> Reading:
    """Asks a model everything about a case.

    Raises:
        ValueError: if the case has no image, or not even one image fits into the model's context.
    """
    plan = _choose_plan(respondent, prompts.report_plans(case))
    frontals = [image for image in case.current.images if image.view.is_frontal]
    frontals = frontals[: prompts.IMAGES_OF_ONE_STUDY_MAX]
    rows = _look(respondent.model, [*plan.images, *frontals])

    talk = Talk(respondent.model, torch.stack([rows[image] for image in plan.images]))
    listed = ask(respondent, talk, plan.images, "findings", [plan.findings_question], [])
    questions = [plan.findings_question, plan.report_question]
    described = ask(respondent, talk, plan.images, "report", questions, [listed.answer])
    named = parse.parse_findings(listed.answer)
    grounded = _ground(respondent, rows, frontals, named.names)
    findings, contradictions = findings_of(
        named.names, described.answer, grounded.boxes, has_prior=plan.has_prior
    )
    return Reading(
        findings=findings,
        report=described.answer,
        turns=(listed.turn, described.turn, *grounded.turns),
        engine=identity,
        problems=(
            *plan.problems,
            *listed.problems,
            *named.problems,
            *described.problems,
            *report_problems(described.answer, has_prior=plan.has_prior),
            *contradictions,
            *grounded.problems,
        ),
        compared_with_prior=plan.has_prior,
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
    text = vocabulary.decode(new_ids)
    turn = Turn(
        purpose, tuple(image.key for image in images), questions[-1], text, seconds, len(ids), len(new_ids)
    )
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
        change = parse.change_of(name, report) if has_prior else None
        if change is Change.RESOLVED:
            problems.append(f"The model lists {name} as present, and its report calls it resolved.")
            change = None
        side = parse.side_of(name, report)
        findings.append(Finding(name, Status.PRESENT, change, side, boxes.get(name, ())))
    if has_prior:
        findings += [
            Finding(name, Status.ABSENT, Change.RESOLVED, parse.side_of(name, report))
            for name in parse.resolved_findings(report)
            if name not in boxes and name not in names
        ]
    return tuple(findings), tuple(problems)


def report_problems(report: str, *, has_prior: bool) -> tuple[str, ...]:
    """Says what in a drafted report must not be trusted."""
    problems: list[str] = []
    if not report:
        problems.append("The model gave no report.")
    compared = parse.comparison_words(report)
    if compared and not has_prior:
        problems.append(
            f'The report compares ("{", ".join(compared)}"), but no earlier exam was shown to the model.'
        )
    measured = parse.measurements(report)
    if measured:
        problems.append(
            f'The report measures ("{", ".join(measured)}"), which this model cannot: its training texts '
            "had lost their decimal points."
        )
    return tuple(problems)


def _choose_plan(respondent: Respondent, plans: Sequence[ReportPlan]) -> ReportPlan:
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


def _look(model: M4CXR, images: Iterable[Image]) -> dict[Image, Tensor]:
    """Gives what stands for each image in the text, (Q, H); every image is looked at once."""
    side_px = model.config.image_size_px
    device = model.abstractor.pos_emb.device
    return {
        image: model.image_rows(pixel_values([image.pixels], side_px).to(device))[0]
        for image in dict.fromkeys(images)
    }


def _ground(
    respondent: Respondent, rows: Mapping[Image, Tensor], images: Sequence[Image], names: Sequence[str]
) -> Grounded:
    """Asks where each finding is, on each image alone in a conversation of its own."""
    if names and not images:
        problem = (
            "No image of the current exam is frontal, so the model was not asked where the findings are."
        )
        return Grounded({}, (), (problem,))
    boxes: dict[str, tuple[Box, ...]] = dict.fromkeys(names, ())
    turns: list[Turn] = []
    problems: list[str] = []
    for number, image in enumerate(images, start=1):
        talk = Talk(respondent.model, rows[image][None])
        for name in names:
            asked = ask(
                respondent, talk, [image], f"grounding: {name}", [prompts.grounding_question(name)], []
            )
            said = parse.parse_grounding(asked.answer, name)
            boxes[name] += tuple(
                from_model_box(box, image.rows, image.columns, image.key) for box in said.boxes
            )
            turns.append(asked.turn)
            problems += [*asked.problems, *said.problems]
            if said.is_present is False:
                problems.append(
                    f"The model lists {name} as present, but says of its place on frontal image {number}: "
                    f'"{asked.answer}"'
                )
    return Grounded(boxes, tuple(turns), tuple(problems))
