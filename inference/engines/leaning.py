"""How far an answer that has not begun leans to yes: what the model's own logits say of its first token."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.engines.talk import Talk


@dataclass(frozen=True, slots=True)
class YesNo:
    """The first tokens of answers that say yes, and of those that say no; no token is both."""

    yes_ids: tuple[int, ...]
    no_ids: tuple[int, ...]

    def leanings(self, logits: Tensor) -> list[float]:
        """Weighs first tokens (B, W): softmax over yes and no, 0..1 for each of B. No probability; see `Score`."""
        sums = [logits[:, list(ids)].float().logsumexp(1) for ids in (self.yes_ids, self.no_ids)]  # (B,) each
        leanings: list[float] = torch.stack(sums, dim=1).softmax(1)[:, 0].tolist()
        return leanings

    def scores(self, talk: Talk, prompts: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Asks for each finding alone, given the whole prompt for it, and gives how far the model leans to it.

        One after the other: side by side each prompt would hold the images that all are about once more.
        """
        logits = torch.cat([talk.hear(ids, 1).logits for ids in prompts.values()])  # (findings, W)
        return dict(zip(prompts, self.leanings(logits), strict=True))


def yes_no(encode: Callable[[str], Sequence[int]], yes: Sequence[str], no: Sequence[str]) -> YesNo | None:
    """Finds the first tokens of answers; None if a vocabulary begins a yes and a no alike."""
    yes_ids, no_ids = ({encode(answer)[0] for answer in answers} for answers in (yes, no))
    if yes_ids & no_ids:
        return None
    return YesNo(tuple(sorted(yes_ids)), tuple(sorted(no_ids)))
