"""The forward pass and the decoding loop give what the upstream classes gave for the same random weights."""

import pytest
import torch
from safetensors.torch import load_file
from transformers.cache_utils import DynamicCache

from inference.engines.decoding import greedy
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.model import IGNORED_LABEL, M4CXRConfig, next_token_loss, text_config
from inference.engines.talk import Talk
from tests.inference.small import TINY

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


def generate(model, pixel_values, input_ids, attention_mask=None, tokens_max=20):
    rows = None if pixel_values is None else model.image_rows(pixel_values)
    cache = DynamicCache(config=text_config(model.config))
    embeddings = model.embed(input_ids, rows)
    # No id is this end: the golden answers run on to their length.
    return greedy(
        model, embeddings, cache=cache, tokens_max=tokens_max, end_id=-2, attention_mask=attention_mask
    )


def near(expected, tolerance):
    return pytest.approx(expected.numpy(), abs=tolerance)


def test_every_layer_of_the_vision_encoder_agrees(tiny, golden):
    hidden = tiny.vision_model.embeddings(golden["pixel_values"])
    for number, layer in enumerate(tiny.vision_model.encoder.layer):
        assert hidden.numpy() == near(golden[f"vision_hidden_states.{number}"], 1e-4)
        hidden = layer(hidden)

    assert hidden.numpy() == near(golden["vision_hidden_states.4"], 1e-4)


def test_features_are_taken_before_the_last_layernorm_and_without_cls(tiny, golden):
    features = tiny.vision_features(golden["pixel_values"])

    assert features.numpy() == near(golden["vision_features"], 1e-4)
    assert (features - golden["vision_last_hidden_state_layernormed"][:, 1:]).abs().max() > 0.5


def test_every_stage_of_the_abstractor_agrees(tiny, golden):
    abstractor = tiny.abstractor
    x = golden["vision_features"] + abstractor.pos_emb
    x = x.transpose(1, 2).unflatten(2, (8, 8))

    assert abstractor.net[0].b1(x).numpy() == near(golden["abstractor_s1_b1_nchw"], 1e-4)
    for stage, name in zip(abstractor.net, ("s1", "pool", "s2"), strict=True):
        x = stage(x)
        assert x.numpy() == near(golden[f"abstractor_{name}_nchw"], 1e-4)
    assert tiny.image_rows(golden["pixel_values"]).numpy() == near(golden["projector_output"], 1e-4)


def test_image_rows_take_their_places_among_the_words(tiny, golden):
    embeddings = tiny.embed(golden["input_ids"], tiny.image_rows(golden["pixel_values"]))

    assert embeddings.numpy() == near(golden["inputs_embeds"], 1e-4)


def test_logits_of_a_whole_prompt_agree(tiny, golden):
    assert tiny(golden["pixel_values"], golden["input_ids"]).numpy() == near(golden["logits"], 1e-3)


def test_a_greedy_answer_has_the_same_ids_and_logits(tiny, golden):
    ids = generate(tiny, golden["pixel_values"], golden["input_ids"])

    whole = torch.cat([golden["input_ids"], ids], dim=1)
    steps = tiny(golden["pixel_values"], whole)[0, golden["input_ids"].shape[1] - 1 : -1]
    assert ids.tolist() == golden["generated_ids"].tolist()
    assert steps.numpy() == near(golden["greedy_step_logits"], 1e-3)


def test_a_batch_padded_on_the_left_answers_as_each_row_alone(tiny, golden):
    ids = generate(
        tiny, golden["batch_pixel_values"], golden["batch_input_ids"], golden["batch_attention_mask"]
    )

    assert ids.tolist() == golden["batch_generated_ids"].tolist()


def test_a_prompt_without_image_is_answered(tiny, golden):
    ids = generate(tiny, None, golden["text_only_input_ids"], tokens_max=10)

    assert ids.tolist() == golden["text_only_generated_ids"].tolist()


def test_padding_on_the_right_changes_nothing_before_it(tiny, golden):
    ids = golden["input_ids"]
    padded = torch.cat([ids, torch.zeros(1, 9, dtype=torch.long)], dim=1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 9, dtype=torch.long)], dim=1)

    logits = tiny(golden["pixel_values"], padded, mask)[:, : ids.shape[1]]

    assert logits.numpy() == near(golden["logits"], 1e-3)


def test_an_adapter_is_merged_with_its_scale(golden):
    adapted = load_model(TINY, adapter_folder=TINY / "adapter").model
    expected = load_file(TINY / "adapter" / "golden_adapter.safetensors")

    logits = adapted(golden["pixel_values"], golden["input_ids"])
    ids = generate(adapted, golden["pixel_values"], golden["input_ids"])

    assert logits.numpy() == near(expected["logits_with_adapter"], 1e-3)
    assert ids.tolist() == expected["generated_ids_with_adapter"].tolist()


def test_a_second_question_that_reuses_the_first_gets_the_same_ids_as_alone(tiny, golden):
    rows = tiny.image_rows(golden["pixel_values"])
    first = golden["input_ids"][0].tolist()
    talk = Talk(tiny, rows)
    second = [*first, *talk.answer(first, 12), 7, 8, 9]
    unlike = [*first[:64], 11, 12]

    assert talk.answer(second, 12) == Talk(tiny, rows).answer(second, 12)
    assert talk.answer(unlike, 12) == Talk(tiny, rows).answer(unlike, 12)
    assert talk.answer(unlike, 12) == Talk(tiny, rows).answer(unlike, 12)


def test_an_answer_stops_at_the_end_token(tiny, golden):
    fifth = int(golden["generated_ids"][0, 4])
    cache = DynamicCache(config=text_config(tiny.config))
    embeddings = tiny.embed(golden["input_ids"], tiny.image_rows(golden["pixel_values"]))

    ids = greedy(tiny, embeddings, cache=cache, tokens_max=20, end_id=fifth)

    assert ids[0].tolist() == golden["generated_ids"][0, : ids.shape[1]].tolist()
    assert ids[0, -1] == fifth


def test_one_image_too_few_is_refused(tiny, golden):
    with pytest.raises(ValueError, match="the text has places for 2 images, not 1"):
        tiny(golden["pixel_values"][:1], golden["input_ids"])
    with pytest.raises(ValueError, match="the text has places for 2 images, not 0"):
        tiny(None, golden["input_ids"])


def test_numbers_that_overflow_are_no_answer(golden):
    broken = load_model(TINY).model
    broken.language_model.lm_head.weight[0, 0] = float("nan")

    with pytest.raises(FloatingPointError, match="open it with dtype float32"):
        generate(broken, golden["pixel_values"], golden["input_ids"])


def test_the_loss_asks_each_place_for_the_next_label():
    labels = torch.tensor([[1, 2, IGNORED_LABEL]])
    sure = torch.full((1, 3, 4), -50.0)
    sure[0, 0, 2] = 50.0

    assert next_token_loss(sure, labels).item() == pytest.approx(0)
    assert next_token_loss(sure, torch.tensor([[1, 3, IGNORED_LABEL]])).item() > 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"image_size_px": 30}, "no multiple of patch size 14"), ({"query_count": 24}, "square grid")],
)
def test_dimensions_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        M4CXRConfig(**wrong)


@torch.inference_mode()
def test_the_output_layer_is_not_copied_for_each_row(tiny):
    embeddings = torch.randn(3, 5, tiny.config.text_width)

    with torch.profiler.profile(record_shapes=True) as watched:
        tiny.logits(embeddings, logits_to_keep=1)

    products = [event.input_shapes for event in watched.events() if event.name in ("aten::mm", "aten::bmm")]
    of_output = [shapes for shapes in products if tiny.config.vocabulary_size in shapes[1]]
    assert of_output == [[[3, tiny.config.text_width], [tiny.config.text_width, 320]]]
