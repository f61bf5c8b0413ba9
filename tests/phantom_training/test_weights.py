"""The demo weights in the package are whole, small, honest about what they are, and see."""

import hashlib
import json

import pytest

from inference.engines.m4cxr import DEMO_WEIGHTS
from inference.phantom.cases import HELD_OUT_SEED_MIN
from inference.phantom.train.evaluate import read_cases, summary

WEIGHTS_BYTES_MAX = 12_000_000


def test_the_weights_are_small_and_are_those_of_the_card() -> None:
    weights = (DEMO_WEIGHTS / "model.safetensors").read_bytes()
    card = json.loads((DEMO_WEIGHTS / "model_card.json").read_text(encoding="utf-8"))

    assert len(weights) <= WEIGHTS_BYTES_MAX
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["is_demo"] is True
    assert card["name"] == "preread synthetic demo model"


@pytest.mark.slow
def test_the_weights_see_what_is_drawn_and_never_compare_with_nothing() -> None:
    seeds = range(HELD_OUT_SEED_MIN + 5000, HELD_OUT_SEED_MIN + 5024)

    figures = summary(read_cases(DEMO_WEIGHTS, seeds, side_px=280, threads=None))

    assert figures["findings_micro_f1"] >= 0.95
    assert figures["change_correct"] >= 0.9
    assert figures["side_correct"] >= 0.95
    assert figures["mean_box_iou"] >= 0.75
    assert figures["comparison_wording_without_prior"] == 0
