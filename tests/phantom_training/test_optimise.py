"""The optimiser's parts do what they say."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from inference.phantom.train.optimise import Optimiser, Stage, descend, near_orthogonal, rate_share


@pytest.mark.parametrize("shape", [(3, 24, 24), (2, 16, 48), (2, 48, 16)])
def test_singular_values_come_near_to_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    values = torch.linalg.svdvals(near_orthogonal(matrices))

    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.4


def test_the_rate_rises_then_falls_to_nearly_nothing() -> None:
    shares = [rate_share(done / 100) for done in range(101)]

    top = shares.index(max(shares))
    assert all(early < late for early, late in pairwise(shares[: top + 1]))
    assert all(early > late for early, late in pairwise(shares[top:]))
    assert shares[-1] == pytest.approx(0.02)


def a_stage(steps: int, seconds_max: float | None = None) -> Stage:
    return Stage("test", steps, seconds_max, 0.5, lambda line: None)


def test_a_stage_takes_its_steps_and_the_loss_falls() -> None:
    torch.manual_seed(0)
    model, seen = nn.Linear(8, 8), torch.randn(32, 8)

    optimiser = Optimiser(model, 0.05, 0.05)
    losses = descend(model, optimiser, lambda: (model(seen) - seen).square().mean(), a_stage(60))

    assert len(losses) == 60
    assert losses[-1] < 0.2 * losses[0]


def test_a_stage_without_time_takes_no_step() -> None:
    model = nn.Linear(4, 4)

    losses = descend(model, Optimiser(model, 0.1, 0.1), lambda: model.weight.sum(), a_stage(60, 0.0))

    assert losses == []
