"""What the demo model is asked and should answer, in the product's own questions, about known exams."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from inference.case import Case, Exam, Image, View
from inference.engines.m4cxr.model import IGNORED_LABEL
from inference.engines.m4cxr.prompts import grounding_question, render, report_plans
from inference.engines.m4cxr.tokens import Vocabulary
from inference.engines.report_words import FINDING_NAMES
from inference.phantom.train.pool import KnownExam, Pool

EMPTY_REPORTS = ("The images were reviewed.", "No report.")
"""Prior reports that say nothing: then the change must be seen by comparing the films."""

EMPTY_REPORT_SHARE = 0.08
ALONE_SHARE = 0.2
"""Of the exams that have one before them, those that are shown without it."""

COMPARED_PRIOR_SHARE = 0.5
"""Of the priors that have an exam before them, those whose report compares with it."""

_BLANK = np.zeros((1, 1), np.uint16)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One training conversation.

    Attributes:
        films: places in the pool's `films`, in the order of the image marks.
        ids: token ids, IMAGE_MARKER at each place of an image.
        labels: the ids that the model should say, IGNORED_LABEL elsewhere.
    """

    films: tuple[int, ...]
    ids: tuple[int, ...]
    labels: tuple[int, ...]


def report_conversation(pool: Pool, exam: KnownExam, vocabulary: Vocabulary, rng: Generator) -> Conversation:
    """Asks for findings and report: with the prior exam, if there is one, four times in five."""
    prior = None if exam.previous is None or rng.random() < ALONE_SHARE else pool.exams[exam.previous]
    current_films = _shown(exam, rng)
    priors: tuple[Exam, ...] = ()
    films = current_films
    if prior is not None:
        prior_films = _shown(prior, rng)
        priors = (Exam(_blanks(len(prior_films)), _prior_report(prior, rng), 1),)
        films = prior_films + current_films
    plan = report_plans(Case(Exam(_blanks(len(current_films))), priors))[0]
    report = exam.report if prior is None else exam.compared_report
    return spoken(
        films,
        (plan.findings_question, plan.report_question),
        (findings_answer(exam), report or ""),
        vocabulary,
    )


def grounding_conversation(exam: KnownExam, name: str, vocabulary: Vocabulary) -> Conversation:
    """Asks whether a finding is on the PA film, and where."""
    return spoken(exam.films[:1], (grounding_question(name),), (grounding_answer(exam, name),), vocabulary)


def grounding_names(exam: KnownExam, count: int, rng: Generator) -> tuple[str, ...]:
    """Chooses findings to ask for: three of four times one that is there, if any is."""
    there = sorted({known.truth.name for known in exam.findings if known.boxes})
    absent = [name for name in FINDING_NAMES if name not in {known.truth.name for known in exam.findings}]
    wanted = [there if there and rng.random() < 0.75 else absent for _ in range(count)]
    return tuple(names[int(rng.integers(len(names)))] for names in wanted)


def findings_answer(exam: KnownExam) -> str:
    """Lists what is present in M4CXR's words and order: `cardiomegaly, pleural effusion.` or `Not found.`"""
    present = {known.truth.name for known in exam.findings}
    return (", ".join(name for name in FINDING_NAMES if name in present) or "Not found") + "."


def grounding_answer(exam: KnownExam, name: str) -> str:
    """Says where a finding is: `Yes. [0,63,25,90], [57,66,90,98].` or `Not present.`"""
    boxes = [box for known in exam.findings if known.truth.name == name for box in known.boxes]
    if not boxes:
        return "Not present."
    return f"Yes. {', '.join('[' + ','.join(map(str, box)) + ']' for box in boxes)}."


def spoken(
    films: tuple[int, ...], questions: Sequence[str], answers: Sequence[str], vocabulary: Vocabulary
) -> Conversation:
    """Tokenizes a whole conversation and labels what the model is to say: each answer and its end token."""
    ids: list[int] = []
    labels: list[int] = []
    for count in range(1, len(questions) + 1):
        prompt = vocabulary.ids(render(questions[:count], answers[: count - 1]))
        whole = vocabulary.ids(render(questions[:count], answers[:count]))
        labels += [IGNORED_LABEL] * (len(prompt) - len(labels)) + whole[len(prompt) :]
        ids = whole
    return Conversation(films, tuple(ids), tuple(labels))


def _shown(exam: KnownExam, rng: Generator) -> tuple[int, ...]:
    """Shows all films of an exam, or only the PA one, in any order: the order means nothing."""
    films = exam.films if rng.random() < 0.6 else exam.films[:1]
    return tuple(films[i] for i in rng.permutation(len(films))) if rng.random() < 0.3 else films


def _prior_report(prior: KnownExam, rng: Generator) -> str:
    if rng.random() < EMPTY_REPORT_SHARE:
        return str(rng.choice(EMPTY_REPORTS))
    if prior.compared_report is not None and rng.random() < COMPARED_PRIOR_SHARE:
        return prior.compared_report
    return prior.report


def _blanks(count: int) -> tuple[Image, ...]:
    """Stands for `count` films where only their number matters: for the wording of the questions."""
    return tuple(Image(str(number), _BLANK, View.PA) for number in range(count))


def longest_first(conversations: Iterable[Conversation]) -> list[Conversation]:
    """Sorts by length, so that those of a batch waste little on padding."""
    return sorted(conversations, key=lambda conversation: -len(conversation.ids))
