"""What the forward pass and the decoding loop promise; that they equal the reference: test_verification.py."""

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

    with pytest.raises(FloatingPointError, match="fetch its weights again"):
        talk.answer(golden["input_ids"][0].tolist(), 2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"image_size_px": 30}, "no multiple of patch size 16"), ({"vision_width": 100}, "of head width 64")],
)
def test_dimensions_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        CXRLLaVAConfig(**wrong)
