"""Questions about one set of images: what one question computed is kept for the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from inference.engines.decoding import greedy
from inference.engines.m4cxr.model import IMAGE_MARKER, M4CXR, text_config


@dataclass(eq=False)
class Talk:
    """Questions about one set of images; what two questions begin with alike is computed once.

    Attributes:
        rows: the images as the text sees them, (N, Q, H), in the order of their places.
    """

    model: M4CXR
    rows: Tensor
    _cache: DynamicCache = field(init=False)
    _cached_ids: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._cache = DynamicCache(config=text_config(self.model.config))

    def answer(self, ids: Sequence[int], tokens_max: int) -> list[int]:
        """Answers a whole prompt.

        Args:
            ids: from the begin token on, IMAGE_MARKER at each place of an image.

        Returns:
            New ids; the last one is the end token unless `tokens_max` cut the answer.
        """
        shared = _shared_length(self._cached_ids, ids)
        if surplus := len(self._cached_ids) - shared:
            self._cache.crop(-surplus)
        places_done = sum(token == IMAGE_MARKER for token in ids[:shared])
        rows = self.rows.flatten(0, 1)[places_done:]  # (places to come, H)
        rest = torch.tensor([ids[shared:]], device=self.rows.device)  # (1, T)
        embeddings = self.model.embed(rest, rows[None] if len(rows) else None)  # (1, T, H)
        end_id = self.model.config.end_id
        new_ids = greedy(self.model, embeddings, cache=self._cache, tokens_max=tokens_max, end_id=end_id)[
            0
        ].tolist()
        # The last new id was chosen but never read by the model, so the cache ends before it.
        self._cached_ids = [*ids, *new_ids[:-1]]
        return new_ids


def _shared_length(cached: Sequence[int], ids: Sequence[int]) -> int:
    """Counts the ids that both begin with; at least one of `ids` is left to be read."""
    longest = min(len(cached), len(ids) - 1)
    return next((place for place in range(longest) if cached[place] != ids[place]), longest)
