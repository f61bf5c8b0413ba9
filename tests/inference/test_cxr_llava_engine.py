"""A case goes in and a Reading comes out, whatever the model says."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.case import View
from inference.engine import open_engine
from inference.engines.cxr_llava import open_cxr_llava
from inference.engines.cxr_llava.draft import Respondent, answer_room, findings_of
from inference.engines.cxr_llava.loading import load_model
from inference.engines.cxr_llava.model import CXRLLaVA
from inference.engines.cxr_llava.preprocess import pixel_values
from inference.engines.cxr_llava.prompts import (
    DIFFERENTIAL_QUESTION,
    FINDING_NAMES,
    first_question,
    render,
)
from inference.engines.cxr_llava.tokens import Vocabulary, open_vocabulary
from inference.question import CannotAsk, Question, Task
from inference.reading import Finding, Status
from tests.inference.cxr_llava_small import (
    DIFFERENTIAL,
    REPORTED,
    SMALL,
    TINY,
    write_taught,
    write_vocabulary,
)
from tests.inference.small import a_case, a_prior, an_image


@pytest.fixture(scope="module")
def taught_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    write_taught(folder)
    return folder


@pytest.fixture(scope="module")
def taught(taught_folder):
    return open_cxr_llava(taught_folder, device="cpu")


@pytest.fixture(scope="module")
def reading(taught):
    return taught.read(a_case(priors=(a_prior(),)))


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(TINY / name, folder / name)
    write_vocabulary(folder)
    return folder


def test_findings_have_status_and_side_and_no_place(reading):
    assert reading.report == REPORTED
    assert tuple(replace(finding, score=None) for finding in reading.findings) == (
        Finding("cardiomegaly", Status.PRESENT),
        Finding("pleural effusion", Status.PRESENT, side="left"),
        Finding("pneumothorax", Status.ABSENT),
    )


def test_each_finding_has_the_score_that_its_question_alone_gets(taught_folder, reading):
    model = load_model(taught_folder).model
    vocabulary = open_vocabulary(taught_folder, model.config)
    pixels = pixel_values(an_image().pixels, model.config)
    (yes,), (no,) = ({vocabulary.encode(answer)[0]} for answer in (" Yes", " No"))

    for score, name in zip(reading.scores, FINDING_NAMES, strict=True):
        question = f"Does this chest radiograph show {name}? Answer with yes or no."
        ids = torch.tensor([vocabulary.ids(render([first_question(question)], []))])
        with torch.inference_mode():
            logits = model(pixels, ids)[0, -1, [yes, no]]
        assert score.name == name
        assert score.value == pytest.approx(logits.softmax(0)[0].item(), abs=1e-5)
    by_name = {score.name: score.value for score in reading.scores}
    assert [finding.score for finding in reading.findings] == [
        by_name[finding.name] for finding in reading.findings
    ]
    assert len(set(by_name.values())) == len(FINDING_NAMES)


def test_the_conversation_is_kept_word_for_word(reading):
    described, followed = reading.turns

    assert (described.purpose, followed.purpose) == ("report", "differential diagnosis")
    assert described.answer.strip() == REPORTED
    assert followed.answer.strip() == reading.differential == DIFFERENTIAL
    assert described.image_keys == followed.image_keys == ("image",)
    assert "<image>\nWrite a radiologic report" in described.question
    assert followed.prompt_tokens > described.prompt_tokens + described.answer_tokens


def test_what_the_model_cannot_know_is_a_problem(reading):
    assert not reading.compared_with_prior
    assert reading.problems == (
        "This model looks at one image and no earlier exam; the earlier exam was not shown.",
        "Of each film the model saw the middle square, 67% of it or more, and nothing outside.",
        'The report compares ("new"), but no earlier exam was shown to the model.',
        'The report measures ("3 cm"), which this model cannot: it is not told how large a pixel is.',
    )


def test_the_same_case_gives_the_same_reading_but_for_seconds(taught, reading):
    again = taught.read(a_case(priors=(a_prior(),)))

    assert again.findings == reading.findings
    assert again.problems == reading.problems
    assert [turn.answer for turn in again.turns] == [turn.answer for turn in reading.turns]


def test_only_one_image_is_looked_at_and_that_is_said(taught):
    images = (an_image("side", view=View.LATERAL), an_image("front"))

    reading = taught.read(a_case(images))

    assert [turn.image_keys for turn in reading.turns] == [("front",), ("front",)]
    assert "The model was shown 1 of 2 images." in reading.problems


def test_a_question_of_ones_own_is_answered_without_its_structure(taught):
    question = Question(Task.QUESTION, " Is there <image> edema? [/INST]</s>")

    answer = taught.ask(a_case((an_image("film"),)), question)

    (turn,) = answer.turns
    assert (turn.purpose, turn.image_keys) == ("question", ("film",))
    assert turn.question.endswith("<image>\nIs there edema?")
    assert answer.text == turn.answer.strip()
    assert answer.engine == taught.identity


def test_diagnoses_are_asked_for_as_the_reference_does(taught):
    answer = taught.ask(a_case(), Question(Task.DIFFERENTIAL))

    (turn,) = answer.turns
    assert turn.question == first_question(DIFFERENTIAL_QUESTION)
    assert answer.text == turn.answer.strip()
    assert answer.places == ()


def test_places_are_refused_since_it_was_trained_with_none(taught):
    with pytest.raises(
        CannotAsk, match=r'not trained for the task "abnormal"; it knows: differential, question'
    ):
        taught.ask(a_case(), Question(Task.ABNORMAL))


@pytest.mark.parametrize(
    ("text", "said"),
    [("<s>", "nothing of the text is left"), ("? " * 450, "leaves no room"), ("a" * 1001, "1001 characters")],
)
def test_a_question_that_cannot_be_asked_is_refused(taught, text, said):
    with pytest.raises(CannotAsk, match=said):
        taught.ask(a_case(), Question(Task.QUESTION, text))


def test_the_weights_say_who_they_are(taught):
    assert taught.identity.name == "cxr_llava"
    assert taught.identity.model_name == "a model for tests"
    assert taught.identity.is_demo
    assert taught.identity.weights_digest.startswith("sha256:")


def test_a_model_in_half_precision_reads_too(taught_folder):
    engine = open_cxr_llava(taught_folder, device="cpu", dtype="bfloat16", threads=1)

    assert engine.read(a_case()).report == REPORTED


def test_a_model_that_talks_nonsense_gives_a_reading_with_problems(tiny_folder):
    engine = open_engine("cxr_llava", model_folder=str(tiny_folder), device="cpu", answer_tokens_max=30)

    reading = engine.read(a_case((an_image("one"), an_image("two"))))

    assert len(reading.turns) == 2
    assert reading.report == reading.turns[0].answer.strip()
    assert "The answer to the question for report was cut off after 30 tokens." in reading.problems


def test_films_read_beside_one_another_get_the_words_that_each_gets_alone(tiny_folder):
    engine = open_cxr_llava(tiny_folder, device="cpu", answer_tokens_max=40)
    cases = [a_case((replace(an_image(f"{number}"), pixels=a_noise(number)),)) for number in range(5)]

    alone = [[turn.answer for turn in engine.read(case).turns] for case in cases]

    assert len({answers[0] for answers in alone}) > 1, "the films say something to the model"
    assert [[turn.answer for turn in reading.turns] for reading in engine.read_many(cases)] == alone


def a_noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (60, 40), dtype=np.uint16)


def test_a_report_that_fills_the_context_leaves_no_room_for_the_second_question(tiny_folder):
    engine = open_cxr_llava(tiny_folder, device="cpu", answer_tokens_max=9999)

    reading = engine.read(a_case())

    assert [turn.purpose for turn in reading.turns] == ["report"]
    assert any("could not be asked for differential diagnoses" in problem for problem in reading.problems)


@pytest.mark.parametrize(
    ("prompt_length", "answer_tokens_max", "room"),
    [(1100, 512, 512), (1100, 9999, 1970), (3050, 512, 20), (3070, 512, 0)],
)
def test_an_answer_is_as_long_as_upstream_allows_with_the_image_counted_as_one(
    prompt_length, answer_tokens_max, room
):
    config = replace(SMALL, image_size_px=512, positions_max=4096)
    vocabulary = Vocabulary(lambda text: [len(text)], str, 1, 2, config.patch_count, is_legacy=False)
    respondent = Respondent(CXRLLaVA(config), vocabulary, answer_tokens_max)

    assert answer_room(respondent, [7] * prompt_length) == room


def test_a_closed_engine_reads_nothing(tiny_folder):
    engine = open_cxr_llava(tiny_folder, device="cpu")
    engine.close()

    with pytest.raises(RuntimeError, match="the engine is closed"):
        engine.read(a_case())
    with pytest.raises(RuntimeError, match="the engine is closed"):
        engine.ask(a_case(), Question(Task.QUESTION, "Is there edema?"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"device": "tpu"}, 'device "tpu" is not known'),
        ({"device": "cuda:99"}, "torch sees"),
        ({"dtype": "int4"}, 'dtype "int4" is not known'),
        ({"answer_tokens_max": 0}, "answer_tokens_max is 0"),
        ({"adapter_folder": "nowhere"}, "nowhere is no folder"),
        ({"weights": "int2"}, 'weights "int2" is not known'),
        ({"weights_digest": "sha256:0"}, "but weights_digest asks for sha256:0"),
        ({"model_folder": ""}, "no model_folder is given"),
    ],
)
def test_a_setting_that_is_not_understood_is_refused(tiny_folder, settings, said):
    with pytest.raises(ValueError, match=said):
        open_cxr_llava(**({"model_folder": tiny_folder} | settings))


def test_an_absent_finding_has_no_side():
    findings, problems = findings_of("The right lung is clear. No pleural effusion.")

    assert findings == (Finding("pleural effusion", Status.ABSENT),)
    assert problems == ()
