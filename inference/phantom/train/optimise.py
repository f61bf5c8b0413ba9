"""The optimiser of all three stages, its learning rate over time, and the running average of the weights."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_WARM_UP_SHARE = 0.04
_GRADIENT_NORM_MAX = 1.0
_STEPS_BETWEEN_LINES = 50


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is brought near to an orthogonal matrix, in float32.

    torch.optim.Muon works in bfloat16, for which a CPU without such instructions takes 0.11 s a matrix: five
    seconds a step of the eye, five times the rest.
    """

    def __init__(self, matrices: Iterable[Tensor], rate: float, momentum: float = 0.95) -> None:
        super().__init__(list(matrices), {"lr": rate, "momentum": momentum, "weight_decay": 0.02})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Moves every matrix that has a gradient; matrices of one shape together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for matrices in by_shape.values():
                self._move(matrices, group)

    def _move(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        moving: list[Tensor] = []
        for matrix in matrices:
            state = self.state[matrix]
            memory = state.setdefault("momentum", torch.zeros_like(matrix))
            memory.lerp_(matrix.grad, 1 - group["momentum"])
            moving.append(matrix.grad.lerp(memory, group["momentum"]))  # Nesterov's look ahead
        rows, columns = matrices[0].shape
        length = group["lr"] * max(1.0, rows / columns) ** 0.5
        for matrix, direction in zip(matrices, near_orthogonal(torch.stack(moving)), strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-length)


def near_orthogonal(matrices: Tensor) -> Tensor:
    """Brings the singular values of matrices (B, rows, columns) to about 1, by five Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # (B, short, long)
    for _ in range(5):
        gram = x @ x.mT  # (B, short, short)
        x = a * x + (b * gram + c * (gram @ gram)) @ x  # (B, short, long)
    return x.mT if is_tall else x


class Optimiser:
    """Muon for the matrices inside the layers and AdamW for all else.

    Embeddings, biases and convolution kernels are not what Muon is for.
    """

    def __init__(self, parts: nn.Module, matrix_rate: float, other_rate: float) -> None:
        trained = [(name, weight) for name, weight in parts.named_parameters() if weight.requires_grad]
        self.weights = [weight for _, weight in trained]
        matrices = [weight for name, weight in trained if _is_inner_matrix(name, weight)]
        others = [weight for name, weight in trained if not _is_inner_matrix(name, weight)]
        self._optimisers = (
            Muon(matrices, matrix_rate),
            torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.98), weight_decay=0.02, fused=True),
        )
        self._rates = (matrix_rate, other_rate)

    def step(self, loss: Tensor, rate_share: float) -> None:
        """Takes a step down the loss, at this share of the highest learning rates."""
        for optimiser, rate in zip(self._optimisers, self._rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * rate_share
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, _GRADIENT_NORM_MAX)
        for optimiser in self._optimisers:
            optimiser.step()


@dataclass(frozen=True, slots=True)
class Stage:
    """How long one stage of training goes on, and who is told about it.

    Attributes:
        name: for the log.
        steps: the stage ends after so many.
        seconds_max: or after so much time, or None. The learning rate falls by whichever is nearer its end.
        average_decay: of the running average of the weights.
        log: takes one line.
    """

    name: str
    steps: int
    seconds_max: float | None
    average_decay: float
    log: Callable[[str], None]


def descend(
    parts: nn.Module, optimiser: Optimiser, next_loss: Callable[[], Tensor], stage: Stage
) -> list[float]:
    """Trains `parts` in place and leaves them at the running average of their weights.

    Args:
        next_loss: computes the loss of the next batch.

    Returns:
        The loss of every step.
    """
    average = AveragedModel(parts, multi_avg_fn=get_ema_multi_avg_fn(stage.average_decay))
    began = monotonic()
    losses: list[float] = []
    while (done := _share_done(stage, len(losses), monotonic() - began)) < 1:
        loss = next_loss()
        optimiser.step(loss, rate_share(done))
        average.update_parameters(parts)
        losses.append(loss.item())
        if len(losses) % _STEPS_BETWEEN_LINES == 0:
            recent = sum(losses[-_STEPS_BETWEEN_LINES:]) / _STEPS_BETWEEN_LINES
            stage.log(f"{stage.name}: step {len(losses)}, {done:.0%}, loss {recent:.4f}")
    parts.load_state_dict(average.module.state_dict())
    return losses


def rate_share(done: float) -> float:
    """Gives the share of the highest learning rate when this share (0..1) of a stage is done: up, then a cosine."""
    if done < _WARM_UP_SHARE:
        return (done + 0.002) / (_WARM_UP_SHARE + 0.002)
    fallen = (done - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fallen))


def _share_done(stage: Stage, steps: int, seconds: float) -> float:
    if stage.seconds_max is None:
        return steps / stage.steps
    by_time = 1.0 if seconds >= stage.seconds_max else seconds / stage.seconds_max
    return max(steps / stage.steps, by_time)


def _is_inner_matrix(name: str, weight: Tensor) -> bool:
    outer = ("embed", "lm_head", "pos_emb", "mask_token", "head.", "query")
    # `query` alone is the heads' table; the vision model's attention has `.q_proj.` or `.query.weight`.
    return weight.ndim == 2 and not any(part in name for part in outer[:-1]) and not name.endswith(outer[-1])
