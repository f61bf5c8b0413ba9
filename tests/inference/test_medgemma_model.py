"""What the engine computes is what transformers computes from the publisher's own call."""

import PIL.Image
import pytest
import torch

from inference.case import View
from inference.engines.m4cxr.preprocess import grey_levels
from inference.engines.medgemma.loading import load_model
from inference.engines.medgemma.prompts import last_question, messages, report_plan
from inference.engines.talk import Talk, speak
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

    logits = a_talk(model).hear(model.ids(model.render(questions, answers)), 1).logits

    for end in (model.end_id, model.processor.tokenizer.eos_token_id):
        logits[:, end] = expected[:, end]
    assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("answers", [[], [LISTED]])
def test_an_answer_is_the_one_that_generate_gives(model, answers):
    questions = QUESTIONS[: len(answers) + 1]

    new_ids = a_talk(model).answer(model.ids(model.render(questions, answers)), TOKENS_MAX)

    assert new_ids == generated(model, publishers_inputs(model, questions, answers))


def test_what_is_asked_next_weighs_as_in_the_whole_conversation_anew(model):
    talk = a_talk(model)
    first = model.ids(model.render(QUESTIONS[:1], []))
    answer = talk.answer(first, TOKENS_MAX)
    ending = "<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    second = [*first, *answer, *model.ids(ending)]

    logits = talk.hear(second, 1).logits

    assert torch.allclose(logits, a_talk(model).hear(second, 1).logits, atol=1e-4)


@pytest.mark.parametrize("shared", [1, 3, 8, 40])
def test_a_talk_goes_back_to_any_word_before_or_behind_its_images(model, shared):
    talk = a_talk(model)
    ids = model.ids(model.render(QUESTIONS, [LISTED]))
    talk.answer(ids, TOKENS_MAX)
    assert ids[shared] != model.image_marker
    other = [*ids[:shared], (ids[shared] + 1) % 300, *ids[shared + 1 :]]

    assert torch.allclose(talk.hear(other, 1).logits, a_talk(model).hear(other, 1).logits, atol=1e-4)


def test_conversations_of_several_lengths_are_answered_together_as_alone(model):
    prompts = [
        model.ids(model.render(QUESTIONS[:1], [])),
        model.ids(model.render(QUESTIONS, [DESCRIBED * 3])),
        model.ids(model.render(QUESTIONS, [LISTED])),
    ]
    alone = [a_talk(model).answer(ids, TOKENS_MAX) for ids in prompts]

    spoken = speak(model, [a_talk(model).hear(ids, TOKENS_MAX) for ids in prompts])

    assert len(set(map(len, prompts))) == 3
    assert [one.ids for one in spoken] == alone


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
    others = plain.argmax(-1)
    others[others == model.processor.tokenizer.eos_token_id] = model.end_id
    assert torch.equal(logits.argmax(-1), others)


def test_the_words_of_a_turn_are_those_that_were_rendered(model):
    first, second = model.render(QUESTIONS[:1], []), model.render(QUESTIONS, [LISTED])

    assert last_question(first) == f"You are an expert radiologist.\n\n{PLAN.findings_question}"
    assert last_question(second) == PLAN.report_question
