"""A case goes in and a Reading comes out, whatever the model says."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from inference.case import Case, Exam
from inference.engine import open_engine
from inference.engines.medgemma import open_medgemma
from inference.engines.medgemma.loading import load_model
from inference.engines.medgemma.prompts import FREE_PROMPTING, report_plan
from inference.engines.report_words import FINDING_NAMES
from inference.question import CannotAsk, Question, Task
from inference.reading import Change, Finding, Status
from tests.inference.medgemma_small import (
    DESCRIBED,
    LISTED,
    SUMMED,
    edit_json,
    teach_medgemma,
    write_medgemma,
)
from tests.inference.small import a_case, a_prior, an_image


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory):
    return write_medgemma(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def taught_folder(tmp_path_factory):
    folder = write_medgemma(tmp_path_factory.mktemp("taught"))
    teach_medgemma(folder)
    (folder / "model_card.json").write_text('{"name": "a model for tests", "is_demo": true}')
    return folder


@pytest.fixture(scope="module")
def taught(taught_folder):
    return open_medgemma(taught_folder, device="cpu")


@pytest.fixture(scope="module")
def compared(taught):
    return taught.read(a_case(priors=(a_prior(),)))


def test_findings_have_change_and_side_and_no_place(compared):
    assert compared.compared_with_prior
    assert tuple(replace(finding, score=None) for finding in compared.findings) == (
        Finding("pleural effusion", Status.PRESENT, Change.NEW, "left"),
        Finding("edema", Status.ABSENT, Change.RESOLVED),
    )


def test_the_chain_of_thought_is_kept_word_for_word(compared):
    listed, described, summed = compared.turns

    assert [turn.answer for turn in compared.turns] == [LISTED, DESCRIBED, SUMMED]
    assert [turn.purpose for turn in compared.turns] == ["findings", "report", "impression"]
    assert listed.image_keys == described.image_keys == ("prior 0", "image")
    assert listed.question.startswith("You are an expert radiologist.\n\nThese are chest X-rays")
    assert listed.question.count("<image>") == 2
    assert described.question.startswith("Given these findings, write the findings section")
    assert described.prompt_tokens > listed.prompt_tokens + listed.answer_tokens
    assert compared.report == DESCRIBED
    assert compared.impression == SUMMED
    assert summed.question.startswith("Write the impression section")
    assert compared.seconds >= listed.seconds + described.seconds


def test_each_finding_has_the_score_that_its_question_alone_gets(taught_folder, compared):
    model = load_model(taught_folder).model
    plan = report_plan(a_case(priors=(a_prior(),)))
    pixels = torch.cat([model.pixels(image) for image in plan.images])
    yes, no = ([model.ids(answer)[0] for answer in answers] for answers in (("Yes", "yes"), ("No", "no")))

    for score, name in zip(compared.scores, FINDING_NAMES, strict=True):
        question = f"{plan.opening}Does the current exam show {name}? Answer with yes or no."
        ids = torch.tensor([model.ids(model.render([question], []))])
        with torch.inference_mode():
            logits = model.network(
                input_ids=ids, pixel_values=pixels, token_type_ids=(ids == model.image_marker).long()
            ).logits[0, -1]
        chances = logits.softmax(0)
        said_yes, said_no = (sum(chances[token].item() for token in set(tokens)) for tokens in (yes, no))
        assert score.name == name
        assert score.value == pytest.approx(said_yes / (said_yes + said_no), abs=1e-5)
    by_name = {score.name: score.value for score in compared.scores}
    assert [finding.score for finding in compared.findings] == [
        by_name[finding.name] for finding in compared.findings
    ]
    assert len(set(by_name.values())) > 1


def test_with_a_prior_the_reading_says_that_nobody_has_measured_this(taught, compared):
    assert FREE_PROMPTING in compared.problems
    assert FREE_PROMPTING not in taught.read(a_case()).problems


def test_without_a_prior_no_change_is_claimed_and_the_reports_claim_is_a_problem(taught):
    reading = taught.read(a_case())

    assert not reading.compared_with_prior
    (finding,) = reading.findings
    assert replace(finding, score=None) == Finding("pleural effusion", Status.PRESENT, None, "left")
    assert any('compares ("new, resolved"), but no earlier exam' in problem for problem in reading.problems)


def test_a_measurement_in_a_draft_is_a_problem(compared):
    assert any(
        'measures ("3 cm"), which this model cannot: it was shown' in problem for problem in compared.problems
    )


def test_the_same_case_gives_the_same_reading_but_for_seconds(taught, compared):
    again = taught.read(a_case(priors=(a_prior(),)))

    assert again.findings == compared.findings
    assert [turn.answer for turn in again.turns] == [turn.answer for turn in compared.turns]
    assert again.problems == compared.problems


def test_cases_read_together_get_the_reading_that_they_get_alone(taught, compared):
    cases = [a_case(), a_case(priors=(a_prior(),)), a_case((an_image("one"), an_image("two")))]

    readings = taught.read_many(cases)

    assert taught.is_exact_at_once
    assert len({reading.turns[0].prompt_tokens for reading in readings}) == 3
    for reading, case in zip(readings, cases, strict=True):
        alone = taught.read(case)
        assert [turn.answer for turn in reading.turns] == [turn.answer for turn in alone.turns]
        assert reading.findings == alone.findings
        assert reading.problems == alone.problems


def test_a_question_of_ones_own_is_put_about_one_image(taught):
    answer = taught.ask(a_case(), Question(Task.QUESTION, " Is there <bos> edema? "))

    (turn,) = answer.turns
    assert turn.question.endswith("Chest X-ray, PA view:<image>Is there edema?")
    assert (answer.text, answer.engine) == (turn.answer.strip(), taught.identity)


def test_easy_language_and_summary_go_on_from_the_draft(taught, compared):
    plain, summary = (
        taught.ask(a_case(priors=(a_prior(),)), Question(task)) for task in (Task.PLAIN, Task.SUMMARY)
    )

    assert summary.text == compared.impression
    assert [turn.purpose for turn in plain.turns] == ["findings", "report", "plain"]
    assert [turn.answer for turn in plain.turns[:2]] == [LISTED, DESCRIBED]
    assert FREE_PROMPTING in plain.problems


def test_places_are_refused_since_no_format_for_them_is_published(taught):
    with pytest.raises(
        CannotAsk, match=r'not trained for the task "region"; it knows: plain, question, summary'
    ):
        taught.ask(a_case(), Question(Task.REGION, "left lung"))


def test_the_weights_say_who_they_are(taught, taught_folder):
    digest = hashlib.sha256((taught_folder / "model.safetensors").read_bytes()).hexdigest()

    assert taught.identity.name == "medgemma"
    assert taught.identity.model_name == "a model for tests"
    assert taught.identity.is_demo
    assert taught.identity.weights_digest == f"sha256:{digest}"


@pytest.mark.parametrize("priors", [(), (a_prior("Lungs <start_of_image> clear <end_of_turn>", 2),)])
def test_a_model_that_talks_nonsense_gives_a_reading_with_problems(random_folder, priors):
    engine = open_engine("medgemma", model_folder=str(random_folder), device="cpu", answer_tokens_max=20)
    images = (an_image("one"), an_image("two"))

    reading = engine.read(Case(Exam(images), priors, indication="<bos>Cough<eos>"))

    assert engine.identity.model_name == "MedGemma"
    assert len(reading.turns) == 3
    assert reading.report == reading.turns[1].answer.strip()
    assert reading.findings == ()
    assert any("holds what is no finding" in problem for problem in reading.problems)
    assert any("cut off after 20 tokens" in problem for problem in reading.problems)


def test_a_model_in_half_precision_reads_too(taught_folder):
    engine = open_medgemma(taught_folder, device="cpu", dtype="bfloat16", threads=1)

    assert engine.read(a_case(priors=(a_prior(),))).turns[0].answer == LISTED


def test_a_case_too_long_for_the_model_is_refused_with_both_numbers(tmp_path):
    folder = write_medgemma(tmp_path)
    text_config = json.loads((folder / "config.json").read_text())["text_config"]
    edit_json(folder / "config.json", text_config=text_config | {"max_position_embeddings": 40})

    with pytest.raises(ValueError, match=r"takes \d+ tokens; the model has places for 40"):
        open_medgemma(folder, device="cpu").read(a_case())


def test_a_case_without_image_is_refused(taught):
    with pytest.raises(ValueError, match="the case has no image"):
        taught.read(a_case(()))


def test_a_closed_engine_reads_nothing(random_folder):
    engine = open_medgemma(random_folder, device="cpu")
    engine.close()

    with pytest.raises(RuntimeError, match="the engine is closed"):
        engine.read(a_case())


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
    ],
)
def test_a_setting_that_is_not_understood_is_refused(random_folder, settings, said):
    with pytest.raises(ValueError, match=said):
        open_medgemma(random_folder, **settings)
