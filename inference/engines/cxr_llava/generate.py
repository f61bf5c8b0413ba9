"""Questions about one image: what one question computed is kept for the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from inference.engines.cxr_llava.model import IMAGE_MARKER, CXRLLaVA, text_config
from inference.engines.decoding import greedy, until_end


@dataclass(eq=False)
class Talk:
    """A conversation about one image; what two of its prompts begin with alike is computed once.

    Attributes:
        rows: the image as the text sees it, (1, P, H).
    """

    model: CXRLLaVA
    rows: Tensor
    _cache: DynamicCache = field(init=False)
    _cached_ids: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._cache = DynamicCache(config=text_config(self.model.config))

    def answer(self, ids: Sequence[int], tokens_max: int) -> list[int]:
        """Answers a whole prompt.

        Args:
            ids: from the first begin token on, IMAGE_MARKER at each place of the image.
            tokens_max: longest answer, 1 or more.

        Returns:
            New ids; the last one is the end token unless `tokens_max` cut the answer.
        """
        done = _shared_length(self._cached_ids, ids)
        if surplus := len(self._cached_ids) - done:
            self._cache.crop(-surplus)
        places_done = sum(token == IMAGE_MARKER for token in ids[:done])
        rows = self.rows[:, places_done:]  # (1, places to come, H)
        unread = torch.tensor([ids[done:]], dtype=torch.long, device=self.rows.device)  # (1, T)
        embeddings = self.model.embed(unread, rows)  # (1, T, H)
        end_id = self.model.config.end_id
        new_ids = greedy(self.model, embeddings, cache=self._cache, tokens_max=tokens_max, end_id=end_id)
        answer = until_end(new_ids[0], end_id)
        # The last new id was chosen but never read by the model, so the cache ends before it.
        self._cached_ids = [*ids, *answer[:-1]]
        return answer


def _shared_length(cached: Sequence[int], ids: Sequence[int]) -> int:
    """Counts the ids that both begin with; at least one of `ids` is left to be read."""
    longest = min(len(cached), len(ids) - 1)
    return next((place for place in range(longest) if cached[place] != ids[place]), longest)
