"""The decoding loop of every engine: greedy, token by token."""

from typing import Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache


class Speaker(Protocol):
    """A language model as the loop needs it."""

    def embed(self, input_ids: Tensor, rows: Tensor | None) -> Tensor:
        """Gives the embeddings (B, T, H) of ids (B, T); `rows` fill places of images, None where there are none."""
        ...

    def logits(
        self,
        embeddings: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """Gives the logits (B, T or logits_to_keep, W) of embeddings (B, T, H) that follow what the cache holds."""
        ...


class Step(Protocol):
    """Conversations (B of them) that go on by one token of each."""

    def __call__(self, ids: Tensor) -> Tensor:
        """Says a token of each conversation, ids (B,), and gives the logits of the next, (B, W)."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Goes on with these conversations (indices) alone."""
        ...


def greedy(
    model: Speaker,
    embeddings: Tensor,
    *,
    cache: DynamicCache,
    tokens_max: int,
    end_id: int,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Continues conversations with the likeliest token each time, every pass as transformers makes it.

    Args:
        embeddings: (B, T, H), what the cache does not hold yet; T at least 1.
        cache: keys and values of what came before; it grows.
        attention_mask: (B, cached + T), 0 for padding on the left, or None.

    Returns, and raises, as `continued`.
    """
    logits = model.logits(embeddings, attention_mask, cache, logits_to_keep=1)[:, -1]  # (B, W)
    return continued(Passes(model, cache, attention_mask), logits, tokens_max=tokens_max, end_id=end_id)


class Passes:
    """Steps that are passes of transformers.

    Args:
        attention_mask: (B, cached), as in `greedy`.
    """

    def __init__(self, model: Speaker, cache: DynamicCache, attention_mask: Tensor | None = None) -> None:
        self._model = model
        self._cache = cache
        self._mask = attention_mask

    def __call__(self, ids: Tensor) -> Tensor:
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)
        embeddings = self._model.embed(ids[:, None], None)  # (B, 1, H)
        return self._model.logits(embeddings, self._mask, self._cache, logits_to_keep=1)[:, -1]  # (B, W)

    def keep(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
        if self._mask is not None:
            self._mask = self._mask[rows]


def continued(step: Step, logits: Tensor, *, tokens_max: int, end_id: int) -> Tensor:
    """Goes on from the logits (B, W) of the next token with the likeliest each time, until all have ended.

    Each time half of the conversations that go on have ended, the others go on without them.

    Returns:
        The new ids (B, up to tokens_max); a row that has ended is filled with `end_id`.

    Raises:
        FloatingPointError: if the model's numbers overflow; its answer would be noise.
    """
    new_ids = torch.full((len(logits), tokens_max), end_id, device=logits.device)
    going_on = torch.arange(len(logits), device=logits.device)  # rows of the result
    has_ended = torch.zeros_like(going_on, dtype=torch.bool)
    for place in range(tokens_max):
        ids = logits.argmax(1).masked_fill(has_ended, end_id)  # (B that go on,)
        new_ids[going_on, place] = ids
        has_ended |= ids == end_id
        # One look for both: a card is done with all that it was told before it shows a number.
        is_finite, *ended = torch.cat([logits.isfinite().all()[None], has_ended]).tolist()
        if not is_finite:
            advice = (
                "fetch its weights again" if logits.dtype is torch.float32 else "open it with dtype float32"
            )
            raise FloatingPointError(f"the model gives numbers that are not finite; {advice}")
        left = [row for row, has in enumerate(ended) if not has]
        if place + 1 == tokens_max or not left:
            break
        if 2 * len(left) <= len(ids):
            kept = torch.tensor(left, device=ids.device)
            step.keep(kept)
            ids, going_on, has_ended = ids[kept], going_on[kept], has_ended[kept]
        logits = step(ids)
    return new_ids[:, : place + 1]


def until_end(ids: Tensor, end_id: int) -> list[int]:
    """Cuts one row of new ids (T,) behind its end token; all of it if there is none."""
    every: list[int] = ids.tolist()
    return every[: every.index(end_id) + 1] if end_id in every else every


def positions_of(attention_mask: Tensor | None, length: int) -> Tensor | None:
    """Says at which positions the last `length` places stand, so that a row padded on the left says what it says alone.

    Args:
        attention_mask: (B, all places), 0 for padding, which has no position; or None where all counts.

    Returns:
        (B, length); None for None: transformers then counts from what is cached.
    """
    if attention_mask is None:
        return None
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)[:, -length:]
