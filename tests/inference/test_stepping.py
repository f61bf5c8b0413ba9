"""A token said by the model's parts is, to the last bit, the token that a pass of transformers says."""

import pytest
import torch
from torch.nn import functional

from inference.engines.cxr_llava import loading as cxr_llava
from inference.engines.decoding import passes
from inference.engines.m4cxr import DEMO_WEIGHTS
from inference.engines.m4cxr import loading as m4cxr
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.engines.sources import find_sources
from inference.engines.stepping import Steps
from tests.inference import cxr_llava_small
from tests.inference.small import TINY

TOKENS = 24
GAPS = [(0,), (0, 0, 0), (5, 0, 11, 1)]
"""Places of padding on the left, for each conversation."""


def both_ways(model, gaps):
    """The logits (tokens, B, W) after each of a few tokens of noise, as transformers gives them and as `Steps` does."""
    noise = torch.Generator().manual_seed(len(gaps))
    ids = torch.randint(3, model.config.vocabulary_size, (TOKENS, len(gaps)), generator=noise)
    prompt = torch.randint(3, model.config.vocabulary_size, (len(gaps), 40), generator=noise)
    mask = torch.ones_like(prompt)
    for row, gap in enumerate(gaps):
        mask[row, :gap] = 0
    whole = bool(mask.all())
    cache = model.new_cache()
    with torch.inference_mode():
        model.logits(model.embed(prompt, None), None if whole else mask, cache, logits_to_keep=1)
        roomy = [
            tuple(functional.pad(part, (0, 0, 0, TOKENS)) for part in (keys, values))
            for keys, values, *_ in cache
        ]
        steps = Steps(model.decoder, roomy, mask)
        step = passes(model, cache, None if whole else mask)
        said = [(step(token), steps(token)) for token in ids]
    return (torch.stack(each) for each in zip(*said, strict=True))


def assert_alike(model, gaps):
    expected, ours = both_ways(model, gaps)

    assert torch.equal(ours, expected)
    assert not torch.equal(ours[0], ours[1])


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("load", "folder"),
    [(m4cxr, TINY), (m4cxr, DEMO_WEIGHTS), (cxr_llava, cxr_llava_small.TINY)],
    ids=["m4cxr-tiny", "demo", "cxr-llava-tiny"],
)
def test_each_step_gives_the_logits_of_a_pass(load, folder, dtype, gaps):
    assert_alike(load.load_model(folder, Place("cpu", dtype)).model, gaps)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_rounded_weights_are_computed_with_as_in_a_pass(weights):
    assert_alike(m4cxr.load_model(TINY, Place("cpu", torch.float32, weights)).model, GAPS[-1])


def test_the_adapter_that_a_case_names_is_computed_with_as_in_a_pass():
    sources = find_sources(TINY, m4cxr.published_names, attached={"trained": TINY / "adapter"})
    loaded = m4cxr.load_sources(sources, IN_FLOAT32_ON_CPU)

    with loaded.adapters.chosen("trained"):
        assert_alike(loaded.model, GAPS[-1])
        adapted, _ = both_ways(loaded.model, GAPS[-1])
    with loaded.adapters.chosen(None):
        assert_alike(loaded.model, GAPS[-1])
        plain, _ = both_ways(loaded.model, GAPS[-1])

    assert not torch.equal(adapted, plain)


def test_a_token_more_than_there_is_room_for_is_an_error(tiny):
    empty = tiny.decoder.network.config
    shape = (1, empty.num_key_value_heads, 3, empty.head_dim)
    layers = [(torch.zeros(shape), torch.zeros(shape)) for _ in tiny.decoder.network.layers]
    steps = Steps(tiny.decoder, layers, torch.ones(1, 1, dtype=torch.long))
    with torch.inference_mode():
        steps(torch.tensor([5]))
        steps(torch.tensor([5]))

        with pytest.raises(IndexError):
            steps(torch.tensor([5]))
