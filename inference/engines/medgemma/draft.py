"""The chain of thought: which findings, then a description given them. No places: no format for boxes is published."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import torch

from inference.case import Case, Image
from inference.engines.findings import findings_of
from inference.engines.follow_up import FollowUp
from inference.engines.leaning import YesNo, yes_no
from inference.engines.medgemma import parse, prompts
from inference.engines.medgemma.model import MedGemma
from inference.engines.medgemma.prompts import ReportPlan
from inference.engines.report_words import FINDING_NAMES, report_problems, summary_problems
from inference.engines.talk import Conversation, Talk
from inference.engines.vision_rows import KEEPS_NOTHING, VisionRows
from inference.question import CannotAsk
from inference.reading import EngineIdentity, Reading, Score, Turn

WHY_NO_MEASUREMENT = "it was shown each image at another size and without its pixel spacing"


@dataclass(frozen=True, slots=True)
class Respondent:
    """A model and the longest answer it may give, in tokens.

    Attributes:
        vision_rows: what it saw of images before.
        yes_no: whose logits make a score; None if the vocabulary begins both answers alike.
    """

    model: MedGemma
    answer_tokens_max: int
    vision_rows: VisionRows = KEEPS_NOTHING
    yes_no: YesNo | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "yes_no", yes_no(self.model.ids, ("Yes", "yes"), ("No", "no")))


@dataclass(frozen=True, slots=True)
class Asked:
    """One turn, its answer without the conversation's structure, and what was wrong with it."""

    turn: Turn
    answer: str
    problems: tuple[str, ...]


def read_case(
    respondent: Respondent, identity: EngineIdentity, case: Case, *, asks_impression: bool
) -> Conversation[Reading]:
    """Asks a model for each finding, for a list of those that are there, and for their description.

    Args:
        asks_impression: whether it is asked to sum up its report.

    Raises:
        ValueError: if the case has no image, or the questions do not fit into the model's context.
    """
    began = perf_counter()
    plan = prompts.report_plan(case)
    talk = look(respondent, plan.images)
    scores = _scores(respondent, talk, plan)
    listed = yield from ask(respondent, talk, plan.images, "findings", [plan.findings_question], [])
    questions = [plan.findings_question, plan.report_question]
    described = yield from ask(respondent, talk, plan.images, "report", questions, [listed.answer])
    summed = FollowUp()
    if asks_impression and described.answer:
        summed = yield from _sum_up(respondent, talk, plan, (listed.answer, described.answer))
    named = parse.parse_findings(listed.answer)
    findings, contradictions = findings_of(named.names, described.answer, {}, has_prior=plan.has_prior)
    return Reading(
        findings=tuple(replace(finding, score=scores.get(finding.name)) for finding in findings),
        report=described.answer,
        turns=(listed.turn, described.turn, *summed.turns),
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
        ),
        compared_with_prior=plan.has_prior,
        scores=tuple(Score(name, value) for name, value in scores.items()),
        seconds=perf_counter() - began,
        impression=summed.text,
    )


def look(respondent: Respondent, images: Sequence[Image]) -> Talk:
    """Begins a conversation about images."""
    # One image at a time: all at once would take six times the memory for the vision encoder's attention.
    model = respondent.model
    rows = [respondent.vision_rows.of(model.pixels(image), model.look) for image in images]  # each (Q, H)
    return Talk(model, torch.stack(rows))


def _scores(respondent: Respondent, talk: Talk, plan: ReportPlan) -> dict[str, float]:
    """Gives a score for each finding; none if the vocabulary has none, or there is no room for the questions."""
    model = respondent.model
    every = {name: model.ids(model.render([plan.presence_question(name)], [])) for name in FINDING_NAMES}
    if respondent.yes_no is None or max(map(len, every.values())) >= model.positions_max:
        return {}
    return respondent.yes_no.scores(talk, every)


def ask(
    respondent: Respondent,
    talk: Talk,
    images: Sequence[Image],
    purpose: str,
    questions: Sequence[str],
    answers: Sequence[str],
) -> Conversation[Asked]:
    """Puts the last of `questions` to the model, after the earlier ones and their answers.

    Raises:
        CannotAsk: if the conversation leaves no room for an answer in the model's context.
    """
    model = respondent.model
    rendered = model.render(questions, answers)
    ids = model.ids(rendered)
    room = model.positions_max - len(ids)
    if room < 1:
        raise CannotAsk(
            f"the conversation up to the question for {purpose} takes {len(ids)} tokens; "
            f"the model has places for {model.positions_max}"
        )
    began = perf_counter()
    heard = talk.hear(ids, min(respondent.answer_tokens_max, room))
    heard_seconds = perf_counter() - began
    (spoken,) = yield [heard]
    new_ids = spoken.ids
    turn = Turn(
        purpose=purpose,
        image_keys=tuple(image.key for image in images),
        question=prompts.last_question(rendered),
        answer=model.decode(new_ids),
        seconds=heard_seconds + spoken.seconds,
        prompt_tokens=len(ids),
        answer_tokens=len(new_ids),
    )
    problems: tuple[str, ...] = ()
    if new_ids[-1] != model.end_id:
        problems = (f"The answer to the question for {purpose} was cut off after {len(new_ids)} tokens.",)
    return Asked(turn, parse.tidy(turn.answer), problems)


def _sum_up(
    respondent: Respondent, talk: Talk, plan: ReportPlan, answers: tuple[str, str]
) -> Conversation[FollowUp]:
    """Goes on with the report's conversation and asks for its summary."""
    questions = [plan.findings_question, plan.report_question, prompts.SUMMARY_QUESTION]
    if (
        len(respondent.model.ids(respondent.model.render(questions, answers)))
        >= respondent.model.positions_max
    ):
        return FollowUp(problems=("The report is so long that the model could not be asked to sum it up.",))
    asked = yield from ask(respondent, talk, plan.images, "impression", questions, answers)
    problems = report_problems(
        asked.answer,
        has_prior=plan.has_prior,
        why_no_measurement=WHY_NO_MEASUREMENT,
        what="impression",
    )
    return FollowUp(
        asked.answer or None,
        (asked.turn,),
        (*asked.problems, *problems, *summary_problems(asked.answer, answers[1])),
    )
