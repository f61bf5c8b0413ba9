"""The conversation about one film: a report, then what it may come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from inference.case import Case, Image
from inference.engines.cxr_llava import parse, prompts
from inference.engines.cxr_llava.model import CXRLLaVA
from inference.engines.cxr_llava.preprocess import pixel_values
from inference.engines.cxr_llava.tokens import Vocabulary
from inference.engines.follow_up import FollowUp
from inference.engines.leaning import YesNo, yes_no
from inference.engines.report_words import report_problems, side_of
from inference.engines.talk import Conversation, Talk
from inference.engines.vision_rows import KEEPS_NOTHING, VisionRows
from inference.geometry import unseen
from inference.question import CannotAsk
from inference.reading import EngineIdentity, Finding, Reading, Score, Status, Turn

CONVERSATION_IDS_MAX = 2048
"""Longest conversation that upstream generates, the image counted as one id."""


WHY_NO_MEASUREMENT = "it is not told how large a pixel is"


@dataclass(frozen=True, slots=True)
class Respondent:
    """A model with its vocabulary and the longest answer it may give, in tokens.

    Attributes:
        vision_rows: what it saw of images before.
        yes_no: whose logits make a score; None if the vocabulary begins both answers alike.
    """

    model: CXRLLaVA
    vocabulary: Vocabulary
    answer_tokens_max: int
    vision_rows: VisionRows = KEEPS_NOTHING
    yes_no: YesNo | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "yes_no", yes_no(self.vocabulary.encode, [prompts.YES], [prompts.NO]))


@dataclass(frozen=True, slots=True)
class Asked:
    """One turn, its answer without the conversation's structure, and what was wrong with it."""

    turn: Turn
    answer: str
    problems: tuple[str, ...]


def read_case(respondent: Respondent, identity: EngineIdentity, case: Case) -> Conversation[Reading]:
    """Asks a model about a case's first frontal image: for each finding, a report, and differential diagnoses.

    Raises:
        ValueError: if the case has no image, or the question does not fit into the model's context.
    """
    began = perf_counter()
    choice = prompts.choose_image(case)
    talk = look(respondent, choice.image)
    scores = _scores(respondent, talk)
    questions = [prompts.first_question(prompts.REPORT_QUESTION)]
    described = yield from ask(respondent, talk, choice.image, "report", questions, [])
    differential = yield from _ask_for_differential(respondent, talk, choice.image, described.answer)
    findings, contradictions = findings_of(described.answer)
    return Reading(
        findings=tuple(replace(finding, score=scores.get(finding.name)) for finding in findings),
        report=described.answer,
        turns=(described.turn, *differential.turns),
        engine=identity,
        problems=(
            *choice.problems,
            *unseen([(choice.image.rows, choice.image.columns)]),
            *described.problems,
            *report_problems(described.answer, has_prior=False, why_no_measurement=WHY_NO_MEASUREMENT),
            *contradictions,
            *differential.problems,
        ),
        scores=tuple(Score(name, value) for name, value in scores.items()),
        seconds=perf_counter() - began,
        differential=differential.text,
    )


def _scores(respondent: Respondent, talk: Talk) -> dict[str, float]:
    """Gives a score for each finding; none if the vocabulary has none, or there is no room for the questions."""
    questions = {
        name: prompts.first_question(prompts.presence_question(name)) for name in prompts.FINDING_NAMES
    }
    every = {name: respondent.vocabulary.ids(prompts.render([text], [])) for name, text in questions.items()}
    if respondent.yes_no is None or min(answer_room(respondent, ids) for ids in every.values()) < 1:
        return {}
    return respondent.yes_no.scores(talk, every)


def ask(
    respondent: Respondent,
    talk: Talk,
    image: Image,
    purpose: str,
    questions: Sequence[str],
    answers: Sequence[str],
) -> Conversation[Asked]:
    """Puts the last of `questions` to the model, after the earlier ones and their answers.

    Raises:
        CannotAsk: if they leave no room for an answer.
    """
    vocabulary = respondent.vocabulary
    ids = vocabulary.ids(prompts.render(questions, answers))
    room = answer_room(respondent, ids)
    if room < 1:
        raise CannotAsk(
            f"the question for {purpose} takes {len(ids)} tokens, image included, "
            "and leaves no room for an answer"
        )
    began = perf_counter()
    heard = talk.hear(ids, room)
    heard_seconds = perf_counter() - began
    (spoken,) = yield [heard]
    new_ids, seconds = spoken.ids, heard_seconds + spoken.seconds
    text = vocabulary.decode(new_ids)
    turn = Turn(purpose, (image.key,), questions[-1], text, seconds, len(ids), len(new_ids))
    problems: tuple[str, ...] = ()
    if new_ids[-1] != vocabulary.end_id:
        problems = (f"The answer to the question for {purpose} was cut off after {len(new_ids)} tokens.",)
    return Asked(turn, parse.tidy(text), problems)


def answer_room(respondent: Respondent, ids: Sequence[int]) -> int:
    """Counts the tokens that an answer to a prompt may take: by upstream's rule, and by the model's positions."""
    config = respondent.model.config
    text_length = len(ids) - config.patch_count + 1
    return min(
        respondent.answer_tokens_max, CONVERSATION_IDS_MAX - text_length - 1, config.positions_max - len(ids)
    )


def findings_of(report: str) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Lists what a report says of each finding it mentions, and says where it contradicts itself."""
    stated = parse.parse_report(report)
    findings = tuple(
        Finding(name, status, side=None if status is Status.ABSENT else side_of(name, report))
        for name, status in stated.statuses.items()
    )
    return findings, stated.problems


def _ask_for_differential(
    respondent: Respondent, talk: Talk, image: Image, report: str
) -> Conversation[FollowUp]:
    """Goes on with the report's conversation, if the report leaves room."""
    questions = [prompts.first_question(prompts.REPORT_QUESTION), prompts.DIFFERENTIAL_QUESTION]
    ids = respondent.vocabulary.ids(prompts.render(questions, [report]))
    if answer_room(respondent, ids) < 1:
        return FollowUp(
            problems=("The report is so long that the model could not be asked for differential diagnoses.",)
        )
    asked = yield from ask(respondent, talk, image, "differential diagnosis", questions, [report])
    return FollowUp(asked.answer or None, (asked.turn,), asked.problems)


def look(respondent: Respondent, image: Image) -> Talk:
    """Begins a conversation about an image."""
    model = respondent.model
    pixels = pixel_values(image.pixels, model.config).to(model.mm_projector.weight.device)  # (1, 1, S, S)
    return Talk(model, respondent.vision_rows.of(pixels, model.image_rows))
