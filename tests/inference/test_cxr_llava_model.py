"""The forward pass and the decoding loop give what the upstream class gave for the same random weights."""

import pytest
import torch
from transformers.cache_utils import DynamicCache

from inference.engines.cxr_llava.loading import load_model
from inference.engines.cxr_llava.model import CXRLLaVAConfig, text_config
from inference.engines.decoding import greedy
from inference.engines.talk import Talk
from tests.inference import cxr_llava_small
from tests.inference.cxr_llava_small import TINY

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def tiny():
    return load_model(TINY).model


@pytest.fixture(scope="module")
def golden():
    return cxr_llava_small.golden()


def near(expected, tolerance):
    return pytest.approx(expected.numpy(), abs=tolerance)


def test_every_stage_of_the_vision_tower_agrees(tiny, golden):
    tower = tiny.vision_tower
    embedded = tower.embed(golden["pixel_values"])
    encoded = tower.transformer(embedded)

    assert embedded.numpy() == near(golden["vision_after_ln_pre"], 1e-4)
    assert encoded.transpose(0, 1).numpy() == near(golden["vision_transformer_out_LND"], 1e-4)
    assert tower.ln_post(encoded).numpy() == near(golden["vision_after_ln_post"], 1e-4)


def test_features_are_taken_after_the_last_layernorm_and_without_the_class_token(tiny, golden):
    features = tiny.vision_features(golden["pixel_values"])

    assert features.numpy() == near(golden["vision_features"], 1e-4)
    assert torch.equal(golden["vision_features"], golden["vision_after_ln_post"][:, 1:])


def test_image_rows_agree_and_take_their_places_among_the_words(tiny, golden):
    rows = tiny.image_rows(golden["pixel_values"])

    assert rows.numpy() == near(golden["projector_output"], 1e-4)
    assert tiny.embed(golden["input_ids"], rows).numpy() == near(golden["inputs_embeds"], 1e-4)


def test_logits_of_a_whole_prompt_agree(tiny, golden):
    assert tiny(golden["pixel_values"], golden["input_ids"]).numpy() == near(golden["logits"], 1e-3)


def test_a_greedy_answer_has_the_same_ids_and_logits(tiny, golden):
    embeddings = tiny.embed(golden["input_ids"], tiny.image_rows(golden["pixel_values"]))
    cache = DynamicCache(config=text_config(tiny.config))

    # No id is this end: the golden answer runs on to its length.
    ids = greedy(tiny, embeddings, cache=cache, tokens_max=20, end_id=-2)

    whole = torch.cat([golden["input_ids"], ids], dim=1)
    steps = tiny(golden["pixel_values"], whole)[0, golden["input_ids"].shape[1] - 1 : -1]
    assert ids.tolist() == golden["generated_ids"].tolist()
    assert steps.numpy() == near(golden["greedy_step_logits"], 1e-3)


def test_a_talk_gives_the_greedy_answer(tiny, golden):
    talk = Talk(tiny, tiny.image_rows(golden["pixel_values"]))

    assert talk.answer(golden["input_ids"][0].tolist(), 20) == golden["generated_ids"][0].tolist()


def test_a_second_question_that_reuses_the_first_gets_the_same_ids_as_alone(tiny, golden):
    rows = tiny.image_rows(golden["pixel_values"])
    first = golden["input_ids"][0].tolist()
    talk = Talk(tiny, rows)
    second = [*first, *talk.answer(first, 12), 7, 8, 9]
    unlike = [*first[:5], 11, *first[6:]]

    assert talk.answer(second, 12) == Talk(tiny, rows).answer(second, 12)
    assert talk.answer(second, 12) == Talk(tiny, rows).answer(second, 12)
    assert talk.answer(unlike, 12) == Talk(tiny, rows).answer(unlike, 12)


def test_an_answer_stops_at_the_end_token(tiny, golden):
    fifth = int(golden["generated_ids"][0, 4])
    embeddings = tiny.embed(golden["input_ids"], tiny.image_rows(golden["pixel_values"]))
    cache = DynamicCache(config=text_config(tiny.config))

    ids = greedy(tiny, embeddings, cache=cache, tokens_max=20, end_id=fifth)

    assert ids[0, -1] == fifth
    assert ids.shape[1] <= 5


def test_places_without_rows_are_refused(tiny, golden):
    with pytest.raises(ValueError, match="the text has 16 places for rows of images, not 0"):
        tiny(None, golden["input_ids"])


def test_numbers_that_overflow_are_no_answer(golden):
    broken = load_model(TINY).model
    broken.lm_head.weight[0, 0] = float("nan")
    talk = Talk(broken, broken.image_rows(golden["pixel_values"]))

    with pytest.raises(FloatingPointError, match="open it with dtype float32"):
        talk.answer(golden["input_ids"][0].tolist(), 2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"image_size_px": 30}, "no multiple of patch size 16"), ({"vision_width": 100}, "of head width 64")],
)
def test_dimensions_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        CXRLLaVAConfig(**wrong)
