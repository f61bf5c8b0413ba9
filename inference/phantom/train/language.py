"""Second and third stage: the tongue learns to talk about what the eye reports, then both learn together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from inference.engines.m4cxr.model import IGNORED_LABEL, M4CXR
from inference.engines.m4cxr.tokens import Vocabulary
from inference.geometry import MODEL_UNITS
from inference.phantom.train.conversations import (
    Conversation,
    grounding_conversation,
    grounding_names,
    longest_first,
    report_conversation,
)
from inference.phantom.train.optimise import Optimiser, Stage, descend
from inference.phantom.train.pool import Pool
from inference.phantom.train.recipe import Recipe
from inference.phantom.train.vision import Heads, model_input, seeing_loss, truth_of

_FILMS_AT_ONCE = 100
_BATCHES_SORTED_TOGETHER = 8
_NUMBER_SPREAD_UNITS = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations side by side, padded on the right.

    Attributes:
        ids, labels, mask: (B, T).
        films: of all conversations, in the order of their places.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    films: tuple[int, ...]


def batch_of(conversations: Sequence[Conversation]) -> Batch:
    """Pads conversations to the longest."""
    length = max(len(conversation.ids) for conversation in conversations)
    ids = torch.zeros(len(conversations), length, dtype=torch.long)
    labels, mask = torch.full_like(ids, IGNORED_LABEL), torch.zeros_like(ids)
    for row, conversation in enumerate(conversations):
        end = len(conversation.ids)
        ids[row, :end] = torch.tensor(conversation.ids)
        labels[row, :end] = torch.tensor(conversation.labels)
        mask[row, :end] = 1
    return Batch(ids, labels, mask, tuple(film for talk in conversations for film in talk.films))


def endless_batches(
    pool: Pool, vocabulary: Vocabulary, size: int, grounding_share: float, rng: Generator
) -> Iterator[Batch]:
    """Yields batches of fresh conversations about exams drawn at random, each batch of about one length."""
    while True:
        drawn: list[Conversation] = []
        for number in rng.integers(0, len(pool.exams), size * _BATCHES_SORTED_TOGETHER):
            exam = pool.exams[int(number)]
            if rng.random() < grounding_share:
                name = grounding_names(exam, 1, rng)[0]
                drawn.append(grounding_conversation(exam, name, vocabulary))
            else:
                drawn.append(report_conversation(pool, exam, vocabulary, rng))
        ordered = longest_first(drawn)
        starts = rng.permutation(range(0, len(ordered), size))
        yield from (batch_of(ordered[start : start + size]) for start in starts)


def target_spread(vocabulary: Vocabulary, vocabulary_size: int) -> Tensor:
    """Says for each label which tokens are right (W, W): itself, and for a number of a box its neighbours a little.

    Cross entropy alone would call 57 for 58 as wrong as 3.
    """
    spread = torch.eye(vocabulary_size)
    # Spelled as inside a box, where no space comes before a number.
    numbers = [vocabulary.encode(f"[{number}")[-1] for number in range(MODEL_UNITS + 1)]
    units = torch.arange(MODEL_UNITS + 1, dtype=torch.float32)
    bell = torch.exp(-0.5 * ((units[:, None] - units[None, :]) / _NUMBER_SPREAD_UNITS) ** 2)
    rows = torch.tensor(numbers)
    spread[rows[:, None], rows[None, :]] = bell / bell.sum(1, keepdim=True)
    return spread


def speaking_loss(model: M4CXR, rows: Tensor, batch: Batch, spread: Tensor) -> Tensor:
    """Gives the mean cross entropy of all answer tokens of a batch, given its image rows (N, Q, H)."""
    embedded = model.embed(batch.ids, rows)  # (B, T, H)
    # Right padding changes nothing to its left in a causal model, so no mask is needed, and attention is faster.
    hidden = model.language_model.model(
        inputs_embeds=embedded, use_cache=False
    ).last_hidden_state  # (B, T, H)
    asked = batch.labels[:, 1:] != IGNORED_LABEL  # (B, T - 1)
    logits = model.language_model.lm_head(hidden[:, :-1][asked])  # (answers, W)
    wanted = spread[batch.labels[:, 1:][asked]]  # (answers, W)
    return functional.cross_entropy(logits, wanted)


@torch.inference_mode()
def pooled_features(model: M4CXR, pool: Pool, seed: int) -> Tensor:
    """Looks at every film of the pool once: what the abstractor's readout takes, float16 (films, Q, C)."""
    rng = np.random.default_rng([seed, 2])
    parts: list[Tensor] = []
    for start in range(0, len(pool.films), _FILMS_AT_ONCE):
        seen = model.vision_features(
            model_input(pool.films[start : start + _FILMS_AT_ONCE], rng)
        )  # (N, P, V)
        parts.append(before_readout(model, seen).half())
    return torch.cat(parts)


def before_readout(model: M4CXR, features: Tensor) -> Tensor:
    """Runs the abstractor (N, P, V) up to its readout: (N, Q, C)."""
    abstractor = model.abstractor
    x = (features + abstractor.pos_emb).transpose(1, 2)  # (N, V, P)
    x = x.unflatten(2, (abstractor.patch_grid, abstractor.patch_grid))  # (N, V, g, g)
    return abstractor.net(x).flatten(2).transpose(1, 2)  # (N, Q, C)


def train_tongue(
    model: M4CXR, pool: Pool, vocabulary: Vocabulary, recipe: Recipe, stage: Stage
) -> list[float]:
    """Trains the language model and the readout in place; the eye stays, what it sees is kept in memory."""
    features = pooled_features(model, pool, recipe.seed)
    rng = np.random.default_rng([recipe.seed, 3])
    batches = endless_batches(pool, vocabulary, recipe.language_batch, recipe.grounding_share, rng)
    spread = target_spread(vocabulary, model.config.vocabulary_size)

    def next_loss() -> Tensor:
        batch = next(batches)
        rows = model.abstractor.readout(features[list(batch.films)].float())  # (N, Q, H)
        return speaking_loss(model, rows, batch, spread)

    parts = nn.ModuleList([model.language_model, model.abstractor.readout])
    optimiser = Optimiser(parts, recipe.language_matrix_rate, recipe.language_other_rate)
    return descend(parts, optimiser, next_loss, stage)


def train_together(
    model: M4CXR, heads: Heads, pool: Pool, vocabulary: Vocabulary, recipe: Recipe, stage: Stage
) -> list[float]:
    """Trains eye and tongue together in place at a low rate: from the answers, and by the heads as before."""
    rng = np.random.default_rng([recipe.seed, 4])
    batches = endless_batches(pool, vocabulary, recipe.joint_batch, recipe.grounding_share, rng)
    spread = target_spread(vocabulary, model.config.vocabulary_size)
    truth, exam_of_film = truth_of(pool.exams, model.config.patch_grid), np.full(len(pool.films), -1)
    exam_of_film[pool.frontal_films()] = np.arange(len(pool.exams))

    def next_loss() -> Tensor:
        batch = next(batches)
        films = list(batch.films)
        features = model.vision_features(model_input(pool.films[films], rng))  # (N, P, V)
        rows = model.abstractor(features)  # (N, Q, H)
        exams = torch.from_numpy(exam_of_film[films])  # (N,), -1 for lateral films
        frontal = exams >= 0
        seen = seeing_loss(heads(features[frontal], rows[frontal]), truth, exams[frontal])
        return speaking_loss(model, rows, batch, spread) + recipe.joint_seeing_weight * seen

    parts = nn.ModuleList([model, heads])
    optimiser = Optimiser(parts, recipe.joint_matrix_rate, recipe.joint_other_rate)
    return descend(parts, optimiser, next_loss, stage)
