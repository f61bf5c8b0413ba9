"""The chain of thought: which findings, then a description given them and where each one is, then a summary."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import torch
from torch import Tensor

from inference.case import Case, Image
from inference.engines.findings import findings_of
from inference.engines.follow_up import FollowUp
from inference.engines.leaning import YesNo, yes_no
from inference.engines.m4cxr import parse, prompts
from inference.engines.m4cxr.model import M4CXR
from inference.engines.m4cxr.preprocess import pixel_values
from inference.engines.m4cxr.prompts import ReportPlan
from inference.engines.m4cxr.tokens import Vocabulary
from inference.engines.report_words import FINDING_NAMES, report_problems, summary_problems
from inference.engines.talk import Conversation, Heard, Spoken, Talk, speak
from inference.engines.vision_rows import KEEPS_NOTHING, VisionRows
from inference.geometry import from_model_box, unseen
from inference.question import Task
from inference.reading import Box, EngineIdentity, Reading, Score, Turn

CONVERSATION_TOKENS_MAX = 4096
"""Longest conversation of training. Ten images and a usual prior report come to about 3,900."""

_ANSWERS_TOKENS = 256
"""Kept free for both answers when a form is chosen: all thirteen findings take 60, a long description 190."""


WHY_NO_MEASUREMENT = "its training texts had lost their decimal points"


@dataclass(frozen=True, slots=True)
class Respondent:
    """A model with its vocabulary and the longest answer it may give, in tokens.

    Attributes:
        vision_rows: what it saw of images before.
        yes_no: whose logits make a score; None if the vocabulary begins both answers alike.
    """

    model: M4CXR
    vocabulary: Vocabulary
    answer_tokens_max: int
    vision_rows: VisionRows = KEEPS_NOTHING
    yes_no: YesNo | None = field(init=False)

    def __post_init__(self) -> None:
        yes, no = prompts.GROUNDING_ANSWERS
        object.__setattr__(self, "yes_no", yes_no(self.vocabulary.encode, [yes], [no]))


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
    turns: tuple[Turn, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeardQuestion:
    """A question that the model has heard, in the conversation that leads to it.

    Attributes:
        images: shown in its conversation, in order.
        text: of this turn.
        seconds: that hearing it took.
    """

    purpose: str
    images: tuple[Image, ...]
    text: str
    prompt_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The questions where findings are on one frontal image.

    Attributes:
        heard: the questions for the named findings, side by side; empty if none was named.
        scores: of all thirteen findings.
    """

    questions: tuple[HeardQuestion, ...]
    heard: tuple[Heard, ...]
    scores: Mapping[str, float]


NO_PLACES = Places((), (), {})


def read_case(
    respondent: Respondent, identity: EngineIdentity, case: Case, *, asks_impression: bool
) -> Conversation[Reading]:
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
    rows = look(respondent, [*plan.images, *frontals])

    talk = Talk(respondent.model, torch.stack([rows[image] for image in plan.images]))
    question, heard = _put(respondent, talk, plan.images, "findings", [plan.findings_question], [])
    (listed,) = _asked(respondent, [question], (yield [heard]))
    named = parse.parse_findings(listed.answer)
    # The places need the names and not the report, so both are asked for at once.
    questions = [plan.findings_question, plan.report_question]
    question, heard = _put(respondent, talk, plan.images, "report", questions, [listed.answer])
    # One film alone begins as its grounding questions do: what was computed of it goes on.
    talks = {plan.images[0]: talk} if len(plan.images) == 1 else {}
    places = _put_places(respondent, rows, talks, frontals[0], named.names) if frontals else NO_PLACES
    answers = yield [heard, *places.heard]
    described, *located = _asked(respondent, [question, *places.questions], answers)
    scores = dict(places.scores)
    # Further films wait for the first one's answers: the questions on one film at a time take memory enough.
    for image in frontals[1:]:
        places = _put_places(respondent, rows, talks, image, named.names)
        located += _asked(respondent, places.questions, (yield places.heard))
        scores = _best_of(scores, places.scores)
    grounded = _grounded(frontals, named.names, located)
    summed = FollowUp()
    if asks_impression:
        summed = yield from _sum_up(respondent, talk, plan, (listed.answer, described.answer))
    findings, contradictions = findings_of(
        named.names, described.answer, grounded.boxes, has_prior=plan.has_prior
    )
    findings = tuple(replace(finding, score=scores.get(finding.name)) for finding in findings)
    return Reading(
        findings=findings,
        report=described.answer,
        turns=(listed.turn, described.turn, *summed.turns, *grounded.turns),
        engine=identity,
        problems=(
            *plan.problems,
            *unseen((image.rows, image.columns) for image in rows),
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
        scores=tuple(Score(name, value) for name, value in scores.items()),
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
    """Puts the last of `questions` to the model, after the earlier ones and their answers, and waits for its own."""
    question, heard = _put(respondent, talk, images, purpose, questions, answers)
    return _asked(respondent, [question], speak(respondent.model, [heard]))[0]


def _put(
    respondent: Respondent,
    talk: Talk,
    images: Sequence[Image],
    purpose: str,
    questions: Sequence[str],
    answers: Sequence[str],
) -> tuple[HeardQuestion, Heard]:
    """Lets the model hear the last of `questions`, after the earlier ones and their answers."""
    began = perf_counter()
    ids = respondent.vocabulary.ids(prompts.render(questions, answers))
    heard = talk.hear(ids, _answer_room(respondent, len(ids)))
    return HeardQuestion(purpose, tuple(images), questions[-1], len(ids), perf_counter() - began), heard


def _answer_room(respondent: Respondent, prompt_tokens: int) -> int:
    """Counts the tokens that an answer may take."""
    room = respondent.model.config.positions_max - prompt_tokens
    return max(1, min(respondent.answer_tokens_max, room))


def _asked(
    respondent: Respondent, questions: Sequence[HeardQuestion], answers: Sequence[Spoken]
) -> list[Asked]:
    """Puts questions together with their answers."""
    every = []
    for question, spoken in zip(questions, answers, strict=True):
        text = respondent.vocabulary.decode(spoken.ids)
        turn = Turn(
            purpose=question.purpose,
            image_keys=tuple(image.key for image in question.images),
            question=question.text,
            answer=text,
            seconds=question.seconds + spoken.seconds,
            prompt_tokens=question.prompt_tokens,
            answer_tokens=len(spoken.ids),
        )
        problems: tuple[str, ...] = ()
        if spoken.ids[-1] != respondent.vocabulary.end_id:
            problems = (
                f"The answer to the question for {turn.purpose} was cut off after {turn.answer_tokens} tokens.",
            )
        every.append(Asked(turn, parse.tidy(text), problems))
    return every


def _sum_up(
    respondent: Respondent, talk: Talk, plan: ReportPlan, answers: tuple[str, str]
) -> Conversation[FollowUp]:
    """Goes on with the report's conversation and asks for its summary, if there is a report and room."""
    _, report = answers
    if not report:
        return FollowUp()
    questions = [plan.findings_question, plan.report_question, prompts.QUESTIONS[Task.SUMMARY]]
    length = len(respondent.vocabulary.ids(prompts.render(questions, answers)))
    if length >= respondent.model.config.positions_max:
        return FollowUp(problems=("The report is so long that the model could not be asked to sum it up.",))
    question, heard = _put(respondent, talk, plan.images, "impression", questions, answers)
    (asked,) = _asked(respondent, [question], (yield [heard]))
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


def look(respondent: Respondent, images: Iterable[Image]) -> dict[Image, Tensor]:
    """Gives what stands for each image in the text, (Q, H); every image is looked at once."""
    model = respondent.model
    device = model.abstractor.pos_emb.device
    rows = {}
    for image in dict.fromkeys(images):
        pixels = pixel_values([image.pixels], model.config.image_size_px).to(device)  # (1, 3, S, S)
        rows[image] = respondent.vision_rows.of(pixels, lambda pixels: model.image_rows(pixels)[0])
    return rows


def _put_places(
    respondent: Respondent,
    rows: Mapping[Image, Tensor],
    talks: Mapping[Image, Talk],
    image: Image,
    names: Sequence[str],
) -> Places:
    """Lets the model hear the question for each of the thirteen findings, side by side, about one image alone.

    Args:
        talks: about one of the images alone, which go on.
        names: of the findings that are to be placed.
    """
    vocabulary = respondent.vocabulary
    texts = [prompts.grounding_question(name) for name in FINDING_NAMES]
    every = [vocabulary.ids(prompts.render([text], [])) for text in texts]
    began = perf_counter()
    talk = talks.get(image) or Talk(respondent.model, rows[image][None])
    heard = talk.hear_each(every, _answer_room(respondent, max(map(len, every))))
    scores: dict[str, float] = {}
    if respondent.yes_no is not None:
        scores = dict(zip(FINDING_NAMES, respondent.yes_no.leanings(heard.logits), strict=True))
    chosen = [FINDING_NAMES.index(name) for name in names]
    # They were heard together, so each took its share.
    seconds = (perf_counter() - began) / len(every)
    questions = tuple(
        HeardQuestion(
            f"grounding: {FINDING_NAMES[place]}", (image,), texts[place], len(every[place]), seconds
        )
        for place in chosen
    )
    return Places(questions, (heard.only(chosen),) if chosen else (), scores)


def _grounded(frontals: Sequence[Image], names: Sequence[str], answers: Sequence[Asked]) -> Grounded:
    """Reads where findings are out of the answers, for each image one for each name."""
    if not frontals:
        problem = (
            "No image of the current exam is known to be frontal, so the model was not asked where the findings "
            "are."
        )
        return Grounded({}, problems=(problem,) if names else ())
    boxes: dict[str, tuple[Box, ...]] = dict.fromkeys(names, ())
    problems: list[str] = []
    about = [(number, image, name) for number, image in enumerate(frontals, start=1) for name in names]
    for (number, image, name), one in zip(about, answers, strict=True):
        said = parse.parse_grounding(one.answer, name)
        boxes[name] += tuple(from_model_box(box, image.rows, image.columns, image.key) for box in said.boxes)
        problems += [*one.problems, *said.problems]
        if said.is_present is False:
            problems.append(
                f"The model lists {name} as present, but says of its place on frontal image {number}: "
                f'"{one.answer}"'
            )
    return Grounded(boxes, tuple(one.turn for one in answers), tuple(problems))


def _best_of(scores: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """Takes of each finding the score on the film that shows it best: hidden on another it is no less there."""
    return {name: max(score, others.get(name, 0.0)) for name, score in scores.items()}
