"""Conversations with a model: prompts are heard one by one, and what waits for an answer is spoken together.

Hearing a prompt keeps a processor busy by itself, and what it begins with was often heard before. Speaking reads all
weights for each token, however many conversations it goes on with: so the answers of all that wait are spoken at once.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from inference.engines.decoding import Speaker, Step, continued, until_end
from inference.engines.stepping import Layers

PADDING_BYTES_MAX = 128 << 20
"""For padding of prompts that are answered side by side; part of the margin in `memory.need_of`."""


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
        """Makes an empty cache for one conversation; it keeps all that it is given."""
        ...

    def read_on(self, ids: Tensor, rows: Tensor | None, cache: DynamicCache) -> Tensor:
        """Reads ids (1, T), with whole images, behind what the cache holds; gives the logits (1, W) of what comes next.

        Args:
            rows: (1, places of images among the ids, H), None where there are none.
        """
        ...

    def steps(self, layers: Layers, mask: Tensor) -> Step:
        """Makes the step that says the tokens of answers.

        Args:
            mask: (B, T), 0 for padding on the left.
        """
        ...


@dataclass(frozen=True, eq=False)
class Heard:
    """Prompts (B of them) that were read up to where their answers begin.

    Attributes:
        layers: keys and values of each layer, (B, heads, T, head width).
        mask: (B, T), 0 where a shorter prompt was padded on the left.
        logits: (B, W), of the first token of each answer.
        tokens_max: longest answer.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor
    logits: Tensor
    tokens_max: int

    @property
    def bytes_of_token(self) -> int:
        """What the keys and values of one token take, in all layers."""
        return sum(part[0, :, 0].nbytes for layer in self.layers for part in layer)

    def only(self, places: Sequence[int]) -> "Heard":
        """Gives the prompts at these places."""
        index = torch.tensor(places, dtype=torch.long, device=self.mask.device)
        layers = tuple((keys[index], values[index]) for keys, values in self.layers)
        return replace(self, layers=layers, mask=self.mask[index], logits=self.logits[index])


@dataclass(frozen=True, slots=True)
class Spoken:
    """One answer.

    Attributes:
        ids: the new ids; the last one is the end token unless `tokens_max` cut the answer.
        seconds: that it took; of answers spoken together, each took its share.
    """

    ids: list[int]
    seconds: float


_Result = TypeVar("_Result")
Conversation = Generator[Sequence[Heard], list[Spoken], _Result]
"""Yields prompts when it wants them answered, is sent the answers in their order, and returns what came of it."""


def together(model: Converser, conversations: Sequence[Conversation[_Result]]) -> list[_Result]:
    """Carries conversations on to their ends; in float32 each gets the answers that it would get alone.

    What waits for an answer is answered together, then all go on: a short answer waits for the longest beside it.
    """
    results: dict[int, _Result] = {}
    asked: dict[int, Sequence[Heard]] = {}

    def go_on(place: int, answers: list[Spoken] | None) -> None:
        try:
            # None starts a generator.
            asked[place] = conversations[place].send(answers)  # type: ignore[arg-type]
        except StopIteration as ended:
            results[place] = ended.value

    for place in range(len(conversations)):
        go_on(place, None)
    while asked:
        waiting, asked = asked, {}
        spoken = iter(speak(model, [heard for each in waiting.values() for heard in each]))
        for place, each in waiting.items():
            go_on(place, [next(spoken) for heard in each for _ in heard.mask])
    return [results[place] for place in range(len(conversations))]


@dataclass(eq=False)
class Talk:
    """Prompts about one set of images; what two of them begin with alike is computed once.

    Attributes:
        rows: the images as the text sees them, (N, Q, H), in the order of their places.
    """

    model: Converser
    rows: Tensor
    _cache: DynamicCache = field(init=False)
    _cached_ids: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._cache = self.model.new_cache()

    def hear(self, ids: Sequence[int], tokens_max: int) -> Heard:
        """Reads a whole prompt.

        Args:
            ids: from the begin token on, `image_marker` at each place of an image.
            tokens_max: longest answer.
        """
        done = self._rewind(ids[:-1])
        logits = self._read(ids[done:])  # (1, W)
        mask = torch.ones(1, len(ids), dtype=torch.long, device=logits.device)
        return Heard(tuple(_layers(self._cache)), mask, logits, tokens_max)

    def hear_each(self, prompts: Sequence[Sequence[int]], tokens_max: int) -> Heard:
        """Reads several whole prompts side by side; what all begin with alike is computed once.

        Args:
            prompts: one or more, as in `hear`; all images are in what they share.
            tokens_max: longest answer to each.

        Raises:
            ValueError: if the prompts differ before their last image.
        """
        shared = _shared_length([ids[:-1] for ids in prompts])
        if any(self.model.image_marker in ids[shared:] for ids in prompts):
            raise ValueError("questions side by side must be about the same images")
        prefix = prompts[0][:shared]
        done = self._rewind(prefix)
        if done < shared:
            self._read(prefix[done:])
        cache = DynamicCache(_layers(self._cache))
        cache.batch_repeat_interleave(len(prompts))
        ends, mask = _padded_left([ids[shared:] for ids in prompts], shared)  # (B, E), (B, shared + E)
        mask = mask.to(self.rows.device)
        embeddings = self.model.embed(ends.to(self.rows.device), None)  # (B, E, H)
        logits = self.model.logits(embeddings, mask, cache, logits_to_keep=1)[:, -1]  # (B, W)
        return Heard(tuple(_layers(cache)), mask, logits, tokens_max)

    def answer(self, ids: Sequence[int], tokens_max: int) -> list[int]:
        """Reads a whole prompt and answers it, with ids as in `Spoken`."""
        return speak(self.model, [self.hear(ids, tokens_max)])[0].ids

    def _rewind(self, ids: Sequence[int]) -> int:
        """Forgets what `ids` do not begin with; gives how many of them are cached."""
        done = _shared_length([self._cached_ids, ids])
        if surplus := len(self._cached_ids) - done:
            self._cache.crop(-surplus)
            del self._cached_ids[done:]
        return done

    def _read(self, ids: Sequence[int]) -> Tensor:
        """Reads on: images in their places; gives the logits (1, W) of what comes next."""
        places_done = self._cached_ids.count(self.model.image_marker)
        rows = self.rows.flatten(0, 1)[places_done:]  # (places to come, H)
        places = sum(token == self.model.image_marker for token in ids)
        rest = torch.tensor([ids], dtype=torch.long, device=self.rows.device)  # (1, T)
        logits = self.model.read_on(rest, rows[None] if places else None, self._cache)  # (1, W)
        self._cached_ids += ids
        return logits


def speak(model: Converser, heard: Sequence[Heard]) -> list[Spoken]:
    """Answers prompts together; gives the answers prompt by prompt, row by row."""
    answers: dict[int, list[Spoken]] = {}
    for places in _of_like_length(heard):
        group = [heard[place] for place in places]
        began = perf_counter()
        new_ids = _answer_ids(model, group, model.end_id)
        seconds = (perf_counter() - began) / len(new_ids)
        rows = iter(new_ids)
        for place, one in zip(places, group, strict=True):
            answers[place] = [
                Spoken(until_end(next(rows)[: one.tokens_max], model.end_id), seconds) for _ in one.mask
            ]
    return [spoken for place in range(len(heard)) for spoken in answers[place]]


def _of_like_length(heard: Sequence[Heard]) -> list[list[int]]:
    """Divides prompts, by their places, so that padding takes no more than PADDING_BYTES_MAX of each group.

    A place is asked for in 430 tokens and a report in up to 4,096: side by side with a large model the places
    would take more memory for nothing than the report for its own.
    """
    groups: list[list[int]] = []
    longest = padding = 0
    for place in sorted(range(len(heard)), key=lambda place: -heard[place].mask.shape[1]):
        rows, length = heard[place].mask.shape
        added = rows * (longest - length) * heard[place].bytes_of_token
        if not groups or padding + added > PADDING_BYTES_MAX:
            groups.append([])
            longest, padding, added = length, 0, 0
        groups[-1].append(place)
        padding += added
    return groups


def _answer_ids(model: Converser, heard: Sequence[Heard], end_id: int) -> Tensor:
    """Answers prompts together, up to the longest `tokens_max`; gives the ids of all, as `continued` does."""
    length = max(one.mask.shape[1] for one in heard)
    tokens_max = max(one.tokens_max for one in heard)
    gaps = [length - one.mask.shape[1] for one in heard]
    mask = torch.cat([functional.pad(one.mask, (gap, 0)) for one, gap in zip(heard, gaps, strict=True)])
    return continued(
        model.steps(_joined(heard, gaps, tokens_max), mask),
        torch.cat([one.logits for one in heard]),
        tokens_max=tokens_max,
        end_id=end_id,
    )


def _joined(heard: Sequence[Heard], gaps: Sequence[int], room: int) -> Layers:
    """Puts the keys and values of prompts side by side, with gaps on the left and room on the right."""
    return [
        tuple(
            torch.cat(
                [functional.pad(part, (0, 0, gap, room)) for part, gap in zip(parts, gaps, strict=True)]
            )
            for parts in zip(*layer, strict=True)
        )
        for layer in zip(*(one.layers for one in heard), strict=True)
    ]


def running_on(model: Converser, embeddings: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
    """Answers conversations (B, T, H) with `count` ids each, (B, count), over any end token; for comparisons.

    Args:
        mask: (B, T), 0 for padding on the left; None where all counts.
    """
    # No id is this end.
    return _answer_ids(model, [_heard(model, embeddings, count, mask)], end_id=-2)


def led(model: Converser, embeddings: Tensor, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Has conversations (B, T, H) say `ids` (B, N) and not what is likeliest; for comparisons.

    Returns:
        (B, N, W), the logits from which each id would have been taken.
    """
    heard = _heard(model, embeddings, ids.shape[1], mask)
    step = model.steps(_joined([heard], [0], heard.tokens_max), heard.mask)
    return torch.stack([heard.logits, *(step(said) for said in ids[:, :-1].unbind(1))], dim=1)


def _heard(model: Converser, embeddings: Tensor, tokens_max: int, mask: Tensor | None) -> Heard:
    cache = model.new_cache()
    logits = model.logits(embeddings, mask, cache, logits_to_keep=1)[:, -1]  # (B, W)
    if mask is None:
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
    return Heard(tuple(_layers(cache)), mask, logits, tokens_max)


def _layers(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    """Gives the keys and values of each layer. A cache that grows or is cropped puts others in their place."""
    return [(keys, values) for keys, values, *_ in cache]


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
