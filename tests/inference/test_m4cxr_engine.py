"""A case goes in and a Reading comes out, whatever the model says."""

import shutil

import pytest

from inference.case import View
from inference.engine import open_engine
from inference.engines.m4cxr import open_m4cxr
from inference.question import Task
from inference.reading import Box, Change, Finding, Status
from tests.inference.small import DESCRIBED, LISTED, PLACED, SUMMED, a_case, a_prior, an_image

pytestmark = pytest.mark.slow

BOX = Box("image", left=4.0, top=30.0, right=16.0, bottom=46.0)
"""[10,50,40,90] of the middle square of a film of 60 rows and 40 columns."""


@pytest.fixture(scope="module")
def taught(taught_folder):
    return open_m4cxr(taught_folder, device="cpu")


@pytest.fixture(scope="module")
def compared(taught):
    return taught.read(a_case(priors=(a_prior(),)))


def test_findings_have_change_side_and_place(compared):
    assert compared.compared_with_prior
    assert compared.findings == (
        Finding("pleural effusion", Status.PRESENT, Change.NEW, "left", (BOX,)),
        Finding("edema", Status.ABSENT, Change.RESOLVED),
    )


def test_the_chain_of_thought_is_kept_word_for_word(compared):
    listed, described, summed, placed = compared.turns

    assert [turn.answer for turn in compared.turns] == [LISTED, DESCRIBED, SUMMED, PLACED]
    assert [turn.purpose for turn in compared.turns] == [
        "findings",
        "report",
        "impression",
        "grounding: pleural effusion",
    ]
    assert listed.image_keys == described.image_keys == summed.image_keys == ("prior 0", "image")
    assert placed.image_keys == ("image",)
    assert described.question.startswith("Based on the previous conversation")
    assert summed.prompt_tokens > described.prompt_tokens > listed.prompt_tokens


def test_the_impression_is_the_models_summary_of_its_own_report(compared):
    assert compared.report == DESCRIBED
    assert compared.impression == SUMMED


def test_what_the_model_did_not_see_of_the_films_is_told(taught):
    problems = taught.read(a_case(priors=(a_prior(),))).problems

    assert "Of each film the model saw the middle square, 67% of it or more, and nothing outside." in problems


def test_an_impression_that_compares_without_a_prior_is_a_problem(taught):
    problems = taught.read(a_case()).problems

    assert 'The impression compares ("new"), but no earlier exam was shown to the model.' in problems


def test_without_the_setting_no_impression_is_asked_for(taught_folder):
    reading = open_m4cxr(taught_folder, device="cpu", impression=False).read(a_case())

    assert reading.impression is None
    assert "impression" not in [turn.purpose for turn in reading.turns]


def test_weights_that_were_not_trained_to_sum_up_are_not_asked_to(taught_folder, tmp_path):
    folder = shutil.copytree(taught_folder, tmp_path / "weights")
    (folder / "model_card.json").write_text('{"name": "knows less", "tasks": []}')

    assert open_m4cxr(folder, device="cpu").read(a_case()).impression is None


def test_the_demo_model_is_asked_for_no_impression():
    engine = open_m4cxr(device="cpu")

    assert Task.SUMMARY not in engine.tasks
    assert engine.read(a_case()).impression is None


def test_a_card_with_a_task_that_the_engine_does_not_know_is_refused(taught_folder, tmp_path):
    folder = shutil.copytree(taught_folder, tmp_path / "weights")
    (folder / "model_card.json").write_text('{"name": "knows more", "tasks": ["fly"]}')

    with pytest.raises(ValueError, match=r'"tasks" is \[\x27fly\x27\], expected a list of these'):
        open_m4cxr(folder, device="cpu")


def test_a_report_that_leaves_no_room_for_its_summary_is_kept_and_that_is_said(tiny_folder):
    engine = open_m4cxr(tiny_folder, device="cpu", answer_tokens_max=9999)

    reading = engine.read(a_case())

    assert reading.report
    assert reading.impression is None
    assert "The report is so long that the model could not be asked to sum it up." in reading.problems


def test_without_a_prior_no_change_is_claimed_and_the_reports_claim_is_a_problem(taught):
    reading = taught.read(a_case())

    assert not reading.compared_with_prior
    assert reading.findings == (Finding("pleural effusion", Status.PRESENT, None, "left", (BOX,)),)
    assert any('compares ("new, resolved"), but no earlier exam' in problem for problem in reading.problems)


def test_a_measurement_in_a_draft_is_a_problem(compared):
    assert any('measures ("35 cm")' in problem for problem in compared.problems)


def test_the_same_case_gives_the_same_reading_but_for_seconds(taught, compared):
    again = taught.read(a_case(priors=(a_prior(),)))

    assert again.findings == compared.findings
    assert [turn.answer for turn in again.turns] == [turn.answer for turn in compared.turns]
    assert again.problems == compared.problems


@pytest.mark.parametrize("view", [View.LATERAL, View.UNKNOWN])
def test_without_a_frontal_image_no_place_is_asked_and_that_is_said(taught, view):
    reading = taught.read(a_case((an_image(view=view),)))

    assert [turn.purpose for turn in reading.turns] == ["findings", "report", "impression"]
    assert reading.findings[0].boxes == ()
    assert any(
        "No image of the current exam is known to be frontal" in problem for problem in reading.problems
    )


def test_the_weights_say_who_they_are(taught):
    assert taught.identity.model_name == "a model for tests"
    assert taught.identity.is_demo
    assert taught.identity.weights_digest.startswith("sha256:")


@pytest.mark.parametrize("priors", [(), (a_prior("Lungs <image> clear [INST]", 2),)])
def test_a_model_that_talks_nonsense_gives_a_reading_with_problems(tiny_folder, priors):
    engine = open_engine("m4cxr", model_folder=str(tiny_folder), device="cpu", answer_tokens_max=30)

    reading = engine.read(a_case((an_image("one"), an_image("two")), priors))

    assert [turn.purpose for turn in reading.turns] == ["findings", "report", "impression"]
    assert reading.report == reading.turns[1].answer.strip()
    assert reading.findings == ()
    assert any("holds what is no finding" in problem for problem in reading.problems)
    assert any("cut off after 30 tokens" in problem for problem in reading.problems)


def test_a_prior_too_long_for_the_model_is_left_out_and_that_is_said(tiny_folder):
    engine = open_m4cxr(tiny_folder, device="cpu", answer_tokens_max=2)

    reading = engine.read(a_case(priors=(a_prior("There is edema. " * 400),)))

    assert not reading.compared_with_prior
    assert "The prior exam does not fit into the model's context and was left out." in reading.problems


def test_a_model_in_half_precision_reads_too(taught_folder):
    engine = open_m4cxr(taught_folder, device="cpu", dtype="bfloat16", threads=1)

    reading = engine.read(a_case(priors=(a_prior(),)))

    assert reading.turns[0].answer == LISTED
    assert not engine.is_exact_at_once


def test_a_closed_engine_reads_nothing(tiny_folder):
    engine = open_m4cxr(tiny_folder, device="cpu")
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
    ],
)
def test_a_setting_that_is_not_understood_is_refused(tiny_folder, settings, said):
    with pytest.raises(ValueError, match=said):
        open_m4cxr(tiny_folder, **settings)
