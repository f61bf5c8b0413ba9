"""Questions about one set of images: what one question computed is kept for the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from inference.engines.decoding import Speaker, continued, greedy, until_end


class Converser(Speaker, Protocol):
    """A language model that is shown images.

    Attributes:
        image_marker: stands in a prompt at each place where a row of an image goes; no token of the vocabulary.
        end_id: of the token that ends an answer.
    """

    @property
    def image_marker(self) -> int: ...
    @property
    def end_id(self) -> int: ...

    def new_cache(self) -> DynamicCache:
        """Makes an empty cache for one conversation."""
        ...


@dataclass(eq=False)
class Talk:
    """Questions about one set of images; what two questions begin with alike is computed once.

    Attributes:
        rows: the images as the text sees them, (N, Q, H), in the order of their places.
    """

    model: Converser
    rows: Tensor
    _cache: DynamicCache = field(init=False)
    _cached_ids: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._cache = self.model.new_cache()

    def answer(self, ids: Sequence[int], tokens_max: int) -> list[int]:
        """Answers a whole prompt.

        Args:
            ids: from the begin token on, `image_marker` at each place of an image.

        Returns:
            New ids; the last one is the end token unless `tokens_max` cut the answer.
        """
        embeddings = self._unread(ids, _shared_length([self._cached_ids, ids[:-1]]))  # (1, T, H)
        end_id = self.model.end_id
        new_ids = greedy(self.model, embeddings, cache=self._cache, tokens_max=tokens_max, end_id=end_id)
        answer = until_end(new_ids[0], end_id)
        # The last new id was chosen but never read by the model, so the cache ends before it.
        self._cached_ids = [*ids, *answer[:-1]]
        return answer

    def fork(self, prompts: Sequence[Sequence[int]]) -> "Fork":
        """Puts several whole prompts side by side; what all begin with alike is computed once.

        The talk is over: its cache goes to the fork.

        Args:
            prompts: one or more, as in `answer`; all images are in what they share.

        Raises:
            ValueError: if the prompts differ before their last image.
        """
        shared = _shared_length([ids[:-1] for ids in prompts])
        if any(self.model.image_marker in ids[shared:] for ids in prompts):
            raise ValueError("questions side by side must be about the same images")
        prefix = prompts[0][:shared]
        done = _shared_length([self._cached_ids, prefix])
        unread = self._unread(prefix, done)  # (1, T, H)
        if unread.shape[1]:
            self.model.logits(unread, None, self._cache, logits_to_keep=1)
        self._cache.batch_repeat_interleave(len(prompts))
        self._cached_ids = []
        ends, mask = _padded_left([ids[shared:] for ids in prompts], shared)  # (B, E), (B, shared + E)
        embeddings = self.model.embed(ends.to(unread.device), None)  # (B, E, H)
        mask = mask.to(unread.device)
        logits = self.model.logits(embeddings, mask, self._cache, logits_to_keep=1)[:, -1]  # (B, W)
        return Fork(self.model, self._cache, mask, logits)

    def _unread(self, ids: Sequence[int], done: int) -> Tensor:
        """Crops the cache to the first `done` of `ids` and embeds the others, images in their places: (1, T, H)."""
        if surplus := len(self._cached_ids) - done:
            self._cache.crop(-surplus)
        places_done = sum(token == self.model.image_marker for token in ids[:done])
        rows = self.rows.flatten(0, 1)[places_done:]  # (places to come, H)
        rest = torch.tensor([ids[done:]], dtype=torch.long, device=self.rows.device)  # (1, T)
        return self.model.embed(rest, rows[None] if len(rows) else None)


@dataclass(frozen=True, eq=False)
class Fork:
    """Several questions about the same images, each read up to the first token of its answer.

    Attributes:
        mask: (B, T), 0 where a shorter question was padded.
        logits: (B, W), of the first token of each answer.
    """

    model: Converser
    cache: DynamicCache
    mask: Tensor
    logits: Tensor

    def answers(self, chosen: Sequence[int], tokens_max: int) -> list[list[int]]:
        """Answers the questions at these places, together; once, since the cache goes with them.

        Returns:
            For each of `chosen` its new ids, as `Talk.answer` gives them.
        """
        places = torch.tensor(chosen, dtype=torch.long, device=self.logits.device)
        self.cache.batch_select_indices(places)
        end_id = self.model.end_id
        new_ids = continued(
            self.model,
            self.logits[places],
            cache=self.cache,
            tokens_max=tokens_max,
            end_id=end_id,
            attention_mask=self.mask[places],
        )
        return [until_end(row, end_id) for row in new_ids]


def _shared_length(sequences: Sequence[Sequence[int]]) -> int:
    """Counts the ids that all sequences begin with."""
    longest = min(map(len, sequences))
    first, *others = sequences
    return next(
        (place for place in range(longest) if any(other[place] != first[place] for other in others)), longest
    )


def _padded_left(sequences: Sequence[Sequence[int]], before: int) -> tuple[Tensor, Tensor]:
    """Pads ids to one length (B, E), and says what counts (B, before + E); what comes `before` does."""
    length = max(map(len, sequences))
    ids = torch.zeros(len(sequences), length, dtype=torch.long)
    mask = torch.ones(len(sequences), before + length, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        gap = length - len(sequence)
        ids[row, gap:] = torch.tensor(sequence)
        mask[row, before : before + gap] = 0
    return ids, mask
