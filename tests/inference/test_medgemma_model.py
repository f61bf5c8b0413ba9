"""What the engine computes is what transformers computes from the publisher's own call."""

from copy import deepcopy

import PIL.Image
import pytest
import torch

from inference.case import View
from inference.engines.m4cxr.preprocess import grey_levels
from inference.engines.medgemma.loading import load_model
from inference.engines.medgemma.model import Talk
from inference.engines.medgemma.prompts import last_question, messages, report_plan
from tests.inference.medgemma_small import DESCRIBED, LISTED, write_medgemma
from tests.inference.small import a_case, a_prior, an_image

TOKENS_MAX = 12
IMAGES = (an_image("first"), an_image("second", rows=30, columns=50, view=View.LATERAL))
PLAN = report_plan(a_case(IMAGES, (a_prior(),)))
QUESTIONS = [PLAN.findings_question, PLAN.report_question]


@pytest.fixture(scope="module", params=[16, 512])
def model(request, tmp_path_factory):
    """Its sliding window is shorter than a conversation, or longer."""
    folder = tmp_path_factory.mktemp("medgemma")
    return load_model(write_medgemma(folder, sliding_window=request.param, strength=10)).model


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


def publishers_inputs(model, questions, answers):
    """What the model card's own call makes of the same conversation."""
    turns = messages(questions, answers)
    pictures = iter(PIL.Image.fromarray(grey_levels(image.pixels)).convert("RGB") for image in PLAN.images)
    for part in (part for turn in turns for part in turn["content"] if part["type"] == "image"):
        part["image"] = next(pictures)
    return model.processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def generated(model, inputs):
    end_ids = [model.end_id, model.processor.tokenizer.eos_token_id]
    ids = model.network.generate(**inputs, max_new_tokens=TOKENS_MAX, do_sample=False, eos_token_id=end_ids)
    return ids[0, inputs["input_ids"].shape[1] :].tolist()


def a_talk(model):
    return Talk(model, torch.stack([model.look(model.pixels(image)) for image in PLAN.images]))


@pytest.mark.parametrize("answers", [[], [LISTED]])
def test_a_conversation_gets_the_ids_and_pixels_of_the_publishers_call(model, answers):
    questions = QUESTIONS[: len(answers) + 1]

    inputs = publishers_inputs(model, questions, answers)

    assert model.ids(model.render(questions, answers)) == inputs["input_ids"][0].tolist()
    pixels = torch.cat([model.pixels(image) for image in PLAN.images])
    assert torch.equal(pixels, inputs["pixel_values"])


@pytest.mark.parametrize("answers", [[], [LISTED]])
def test_the_first_token_of_an_answer_weighs_as_in_the_publishers_call(model, answers):
    questions = QUESTIONS[: len(answers) + 1]
    expected = model.network(**publishers_inputs(model, questions, answers)).logits[:, -1]

    logits = a_talk(model).read(model.ids(model.render(questions, answers)))

    logits[:, model.end_id] = expected[:, model.end_id]
    assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("answers", [[], [LISTED]])
def test_an_answer_is_the_one_that_generate_gives(model, answers):
    questions = QUESTIONS[: len(answers) + 1]

    new_ids = a_talk(model).answer(model.ids(model.render(questions, answers)), TOKENS_MAX)

    assert new_ids == generated(model, publishers_inputs(model, questions, answers))


def test_a_second_answer_from_the_cache_is_that_of_the_whole_conversation_anew(model):
    talk = a_talk(model)
    first = model.ids(model.render(QUESTIONS[:1], []))
    answer = talk.answer(first, TOKENS_MAX)
    ending = "<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    second = [*first, *answer, *model.ids(ending)]
    logits = a_talk(model).read(second)

    assert talk._continues(second)
    assert torch.allclose(deepcopy(talk).read(second), logits, atol=1e-4)
    assert talk.answer(second, TOKENS_MAX) == a_talk(model).answer(second, TOKENS_MAX)


def test_a_conversation_that_does_not_go_on_is_computed_anew(model):
    talk = a_talk(model)
    talk.answer(model.ids(model.render(QUESTIONS[:1], [])), TOKENS_MAX)
    other = model.ids(model.render(QUESTIONS, [DESCRIBED]))

    assert not talk._continues(other)
    assert talk.answer(other, TOKENS_MAX) == a_talk(model).answer(other, TOKENS_MAX)


@pytest.mark.parametrize("tokens_max", [1, TOKENS_MAX])
def test_the_same_question_twice_gets_the_same_answer(model, tokens_max):
    talk = a_talk(model)
    ids = model.ids(model.render(QUESTIONS[:1], []))

    assert talk.answer(ids, tokens_max) == talk.answer(ids, tokens_max)


def test_every_image_changes_what_is_said(model):
    ids = model.ids(model.render(QUESTIONS[:1], []))
    rows = a_talk(model).rows
    answer = Talk(model, rows).answer(ids, TOKENS_MAX)

    for number in range(len(PLAN.images)):
        others = rows.clone()
        others[number] = -rows[number]
        assert Talk(model, others).answer(ids, TOKENS_MAX) != answer


def test_either_end_token_ends_an_answer(model):
    embeddings = model.embed(torch.arange(10, 60)[None], None)
    plain = model.network(inputs_embeds=embeddings).logits
    of_turn, of_text = plain[..., model.end_id], plain[..., model.processor.tokenizer.eos_token_id]

    logits = model.logits(embeddings)

    assert (of_turn < of_text).any()
    assert (of_turn > of_text).any()
    assert torch.equal(logits[..., model.end_id], torch.maximum(of_turn, of_text))


def test_the_words_of_a_turn_are_those_that_were_rendered(model):
    first, second = model.render(QUESTIONS[:1], []), model.render(QUESTIONS, [LISTED])

    assert last_question(first) == f"You are an expert radiologist.\n\n{PLAN.findings_question}"
    assert last_question(second) == PLAN.report_question
