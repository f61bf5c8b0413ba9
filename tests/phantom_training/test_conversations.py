"""What the demo model learns to answer is asked in the product's own words."""

from pathlib import Path

import numpy as np
import pytest

from inference.case import Case, Exam, Image, View
from inference.engines.m4cxr.model import IMAGE_MARKER, M4CXRConfig
from inference.engines.m4cxr.prompts import grounding_question, render, report_plans
from inference.engines.m4cxr.tokens import Vocabulary, open_vocabulary
from inference.phantom.cases import HELD_OUT_SEED_MIN
from inference.phantom.findings import TrueFinding
from inference.phantom.train.conversations import (
    findings_answer,
    grounding_answer,
    grounding_conversation,
    report_conversation,
    spoken,
)
from inference.phantom.train.pool import KnownExam, KnownFinding, Pool, draw_pool, join
from inference.phantom.train.tokenizer import build_tokenizer

QUERY_COUNT = 25
EFFUSIONS = KnownFinding(
    TrueFinding("pleural effusion", "bilateral", "lower", "small"), ((6, 70, 40, 90), (60, 72, 92, 93))
)
HEART = KnownFinding(TrueFinding("cardiomegaly", size="mild"), ((30, 50, 75, 85),))


def an_exam(*findings: KnownFinding, **facts: object) -> KnownExam:
    known = {"films": (0,), "report": "The lungs are clear.", "compared_report": None, "previous": None}
    return KnownExam(findings=findings, **(known | facts))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    tokenizer = build_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = M4CXRConfig(query_count=QUERY_COUNT, vocabulary_size=tokenizer.get_vocab_size())
    return open_vocabulary(folder, config)


def test_findings_are_listed_in_the_order_of_the_question() -> None:
    assert findings_answer(an_exam(EFFUSIONS, HEART)) == "cardiomegaly, pleural effusion."
    assert findings_answer(an_exam()) == "Not found."


def test_a_bilateral_finding_is_answered_with_two_boxes() -> None:
    answer = grounding_answer(an_exam(EFFUSIONS), "pleural effusion")

    assert answer == "Yes. [6,70,40,90], [60,72,92,93]."


def test_what_is_not_there_is_answered_so() -> None:
    assert grounding_answer(an_exam(HEART), "pneumothorax") == "Not present."


def test_only_the_answers_are_learned(vocabulary: Vocabulary) -> None:
    talk = grounding_conversation(an_exam(HEART), "cardiomegaly", vocabulary)

    learned = [label for label in talk.labels if label >= 0]
    assert vocabulary.decode(learned) == "Yes. [30,50,75,85]."
    assert learned[-1] == vocabulary.end_id
    asked = talk.ids[: len(talk.ids) - len(learned)]
    assert list(asked) == vocabulary.ids(render([grounding_question("cardiomegaly")], []))


def test_a_second_turn_is_learned_after_the_first(vocabulary: Vocabulary) -> None:
    talk = spoken((0,), ("What?", "And?"), ("edema.", "The lungs are clear."), vocabulary)

    assert list(talk.ids) == vocabulary.ids(render(["What?", "And?"], ["edema.", "The lungs are clear."]))
    assert vocabulary.decode([label for label in talk.labels if label >= 0]) == "edema. The lungs are clear."
    assert len(talk.ids) == len(talk.labels)


def test_a_prior_is_shown_before_the_current_exam_in_the_products_words(vocabulary: Vocabulary) -> None:
    prior = an_exam(report="There is no pneumothorax.")
    current = an_exam(films=(1,), previous=0, compared_report="The lungs are clear.")
    pool = Pool(np.zeros((2, 8, 8), np.uint8), (prior, current))
    blank = (Image("x", np.zeros((1, 1), np.uint16), View.PA),)
    plan = report_plans(Case(Exam(blank), (Exam(blank, prior.report, 1),)))[0]
    first_ids = tuple(vocabulary.ids(render([plan.findings_question], [])))

    talks = [
        report_conversation(pool, current, vocabulary, np.random.default_rng(seed)) for seed in range(20)
    ]

    with_prior = [talk for talk in talks if talk.films == (0, 1)]
    assert any(talk.ids[: len(first_ids)] == first_ids for talk in with_prior)
    assert {talk.films for talk in talks} == {(0, 1), (1,)}
    assert all(talk.ids.count(IMAGE_MARKER) == QUERY_COUNT * len(talk.films) for talk in talks)


def test_no_film_of_the_held_out_seeds_is_drawn_for_training() -> None:
    with pytest.raises(ValueError, match="held out for evaluation"):
        draw_pool([3, HELD_OUT_SEED_MIN], 70, 70, 1)


def test_pools_joined_keep_each_exam_with_its_films_and_its_prior() -> None:
    pool = Pool(np.zeros((2, 8, 8), np.uint8), (an_exam(films=(0,)), an_exam(films=(1,), previous=0)))

    joined = join([pool, pool])

    assert [exam.films for exam in joined.exams] == [(0,), (1,), (2,), (3,)]
    assert [exam.previous for exam in joined.exams] == [None, 0, None, 2]
