"""What is shared between questions and cases changes no token of any answer: the demo model says the same plainly."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache

from inference.case import Case, Exam
from inference.engines.decoding import greedy
from inference.engines.m4cxr import DEMO_WEIGHTS, open_m4cxr
from inference.engines.m4cxr.draft import Respondent
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.preprocess import pixel_values
from inference.engines.m4cxr.prompts import grounding_question, render
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.report_words import FINDING_NAMES
from inference.engines.talk import Talk
from inference.phantom.cases import HELD_OUT_SEED_MIN, case
from inference.phantom.train.evaluate import drawn_case
from inference.reading import Reading, Status
from tests.inference.small import said_of

SEEDS = range(HELD_OUT_SEED_MIN + 6000, HELD_OUT_SEED_MIN + 6006)


@pytest.fixture(scope="module")
def respondent() -> Respondent:
    model = load_model(DEMO_WEIGHTS).model
    return Respondent(model, open_vocabulary(DEMO_WEIGHTS, model.config), 200)


@pytest.fixture(scope="module")
def engine():
    return open_m4cxr(device="cpu")


def a_case(seed: int, *, prior: bool | None = None) -> Case:
    return drawn_case(*case(seed, prior=prior), side_px=280)


def plainly(respondent: Respondent, question: str, answers: list[str], questions: list[str], images) -> str:
    """Answers one question as a script would: all images encoded again, the whole conversation read again."""
    model, vocabulary = respondent.model, respondent.vocabulary
    ids = vocabulary.ids(render([*questions, question], answers))
    rows = torch.cat([model.image_rows(pixel_values([image.pixels], 140)) for image in images])
    new_ids = greedy(
        model,
        model.embed(torch.tensor([ids]), rows),
        cache=DynamicCache(),
        tokens_max=respondent.answer_tokens_max,
        end_id=vocabulary.end_id,
    )
    return vocabulary.decode(new_ids[0].tolist())


@pytest.mark.parametrize("seed", SEEDS)
def test_every_turn_of_a_reading_says_what_the_plain_way_says(respondent, engine, seed):
    drawn = a_case(seed)
    images = {image.key: image for exam in (*drawn.priors, drawn.current) for image in exam.images}

    reading = engine.read(drawn)

    with torch.inference_mode():
        for turn in reading.turns:
            before = reading.turns[:1] if turn.purpose == "report" else ()
            shown = [images[key] for key in turn.image_keys]
            said = plainly(
                respondent, turn.question, [t.answer for t in before], [t.question for t in before], shown
            )
            assert turn.answer == said


@cache
def pooled_case(number: int) -> Case:
    """Cases of one image, of several, and of two studies."""
    return a_case(HELD_OUT_SEED_MIN + 6100 + number, prior=number % 2 == 0)


@pytest.fixture(scope="module")
def alone(engine):
    return cache(lambda number: said_of(engine.read(pooled_case(number))))


@pytest.mark.slow
@given(st.lists(st.integers(0, 15), min_size=2, max_size=7))
@settings(max_examples=12, deadline=None)
def test_a_case_read_beside_others_is_read_as_alone(engine, alone, numbers):
    together = engine.read_many([pooled_case(number) for number in numbers])

    assert [said_of(reading) for reading in together] == [alone(number) for number in numbers]


def test_one_case_that_cannot_be_read_leaves_nothing_said_of_the_others(engine):
    without_images = Case(Exam(()))

    with pytest.raises(ValueError, match="has no image"):
        engine.read_many([a_case(SEEDS[0]), without_images])


@pytest.mark.parametrize("prior", [False, True])
def test_each_of_the_thirteen_findings_has_a_score_that_agrees_with_its_own_question(
    respondent, engine, prior
):
    reading = engine.read(a_case(SEEDS[0], prior=prior))

    assert tuple(score.name for score in reading.scores) == FINDING_NAMES
    assert all(0 <= score.value <= 1 for score in reading.scores)
    frontal = a_case(SEEDS[0], prior=prior).current.images[:1]
    with torch.inference_mode():
        for score in reading.scores:
            said = plainly(respondent, grounding_question(score.name), [], [], frontal)
            assert (score.value > 0.5) == said.startswith("Yes")


def test_a_finding_carries_its_score(engine):
    reading: Reading = engine.read(a_case(SEEDS[1]))

    by_name = {score.name: score.value for score in reading.scores}
    present = [finding for finding in reading.findings if finding.status is Status.PRESENT]
    assert present
    assert all(finding.score == by_name[finding.name] for finding in present)


def test_questions_side_by_side_must_be_about_the_same_images(respondent):
    talk = Talk(respondent.model, torch.zeros(1, 25, 192))
    prompts = [respondent.vocabulary.ids(render([text], [])) for text in ("a <image> b", "c <image> d")]

    with pytest.raises(ValueError, match="about the same images"):
        talk.hear_each(prompts, 1)
