"""What the forward pass and the decoding loop promise; that they equal the reference: test_verification.py."""

import pytest
import torch
from transformers.cache_utils import DynamicCache

from inference.engines.comparing import LOGITS
from inference.engines.decoding import continued, greedy
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.model import IGNORED_LABEL, M4CXRConfig, next_token_loss, text_config
from inference.engines.talk import Talk, running_on
from tests.inference.small import TINY

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


def test_layernormed_features_would_be_far_off(tiny, golden):
    features = tiny.vision_features(golden["pixel_values"])

    assert (features - golden["vision_last_hidden_state_layernormed"][:, 1:]).abs().max() > 0.5


def test_padding_on_the_right_changes_nothing_before_it(tiny, golden):
    ids = golden["input_ids"]
    padded = torch.cat([ids, torch.zeros(1, 9, dtype=torch.long)], dim=1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 9, dtype=torch.long)], dim=1)

    logits = tiny(golden["pixel_values"], padded, mask)[:, : ids.shape[1]]

    assert torch.allclose(logits, golden["logits"], rtol=0, atol=LOGITS.difference)


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
    embeddings = broken.embed(golden["input_ids"], broken.image_rows(golden["pixel_values"]))

    with pytest.raises(FloatingPointError, match="fetch its weights again"):
        running_on(broken, embeddings, 2)


def test_numbers_that_overflow_where_they_are_coarse_may_be_none_in_float32():
    logits = torch.full((1, 4), float("inf"), dtype=torch.bfloat16)

    with pytest.raises(FloatingPointError, match="open it with dtype float32"):
        continued(lambda ids: logits, logits, tokens_max=1, end_id=0)


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
