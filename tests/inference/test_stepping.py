"""A token said by the model's parts is, to the last bit, the token that a pass of transformers says."""

import pytest
import torch
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from inference.engines.cxr_llava import loading as cxr_llava
from inference.engines.decoding import Passes, continued
from inference.engines.m4cxr import DEMO_WEIGHTS
from inference.engines.m4cxr import loading as m4cxr
from inference.engines.medgemma import loading as medgemma
from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.engines.sources import find_sources
from inference.engines.stepping import Steps
from tests.inference import cxr_llava_small
from tests.inference.medgemma_small import write_medgemma
from tests.inference.small import TINY

TOKENS = 24
GAPS = [(0,), (0, 0, 0), (5, 0, 11, 1)]
"""Places of padding on the left, for each conversation."""


def both_ways(model, gaps, cache=None):
    """The logits (tokens, B, W) after each of a few tokens of noise, as transformers gives them and as steps do.

    Args:
        cache: what transformers keeps; None: what the model keeps.
    """
    noise = torch.Generator().manual_seed(len(gaps))
    ids = torch.randint(10, 250, (TOKENS, len(gaps)), generator=noise)
    prompt = torch.randint(10, 250, (len(gaps), 40), generator=noise)
    mask = torch.ones_like(prompt)
    for row, gap in enumerate(gaps):
        mask[row, :gap] = 0
    whole = bool(mask.all())
    kept = model.new_cache()
    cache = cache or model.new_cache()
    with torch.inference_mode():
        for each in (kept, cache):
            model.logits(model.embed(prompt, None), None if whole else mask, each, logits_to_keep=1)
        roomy = [
            tuple(functional.pad(part, (0, 0, 0, TOKENS)) for part in (keys, values))
            for keys, values, *_ in kept
        ]
        steps = model.steps(roomy, mask)
        step = Passes(model, cache, None if whole else mask)
        said = [(step(token), steps(token)) for token in ids[: TOKENS // 2]]
        staying = torch.arange(len(gaps))[::2]
        step.keep(staying)
        steps.keep(staying)
        fewer = [(step(token[staying]), steps(token[staying])) for token in ids[TOKENS // 2 :]]
    return [torch.cat(each) for each in zip(*said, *fewer, strict=True)]


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


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [16, 512])
def test_a_layer_that_looks_through_a_window_is_told_all_and_sees_what_transformers_keeps(
    window, dtype, gaps, tmp_path
):
    folder = write_medgemma(tmp_path, sliding_window=window, strength=10)
    model = medgemma.load_model(folder, Place("cpu", dtype)).model

    expected, ours = both_ways(model, gaps, DynamicCache(config=model.network.config))

    # A window that is full gets a mask from transformers where nothing is masked, and with it another kernel.
    assert torch.allclose(ours, expected, rtol=0, atol=1e-6 if window == 16 else 0)
    assert not torch.equal(ours[0], ours[1])


def test_those_that_have_ended_are_left_behind_when_they_are_half():
    end = 0
    lengths = [2, 5, 1, 3, 5]
    rows_said = []

    class Counting:
        """Row r says 10 r + 1, 10 r + 2, ... and ends after its length."""

        def __init__(self):
            self.rows, self.said = torch.arange(len(lengths)), 1

        def logits(self):
            likeliest = [
                10 * row + self.said if self.said < lengths[row] else end for row in self.rows.tolist()
            ]
            return functional.one_hot(torch.tensor(likeliest), 60).float()

        def __call__(self, ids):
            assert len(ids) == len(self.rows)
            rows_said.append(len(ids))
            self.said += 1
            return self.logits()

        def keep(self, rows):
            self.rows = self.rows[rows]

    step = Counting()

    ids = continued(step, step.logits(), tokens_max=10, end_id=end)

    assert ids.tolist() == [
        [1, 0, 0, 0, 0],
        [11, 12, 13, 14, 0],
        [0, 0, 0, 0, 0],
        [31, 32, 0, 0, 0],
        [41, 42, 43, 44, 0],
    ]
    assert rows_said == [5, 5, 2, 2]


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
