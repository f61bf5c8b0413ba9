"""One more token through a language model, for every conversation that waits for one.

What transformers wraps around a pass (masks made anew, caches that are copied to grow, hooks) took a third of the time
of a token of the demo model, and on a GPU it keeps small kernels waiting. Here are the same layers, with the same
arithmetic in the same order, over keys and values that have their room from the beginning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Gemma3TextModel, LlamaModel, MistralModel

Layers = Sequence[tuple[Tensor, ...]]
"""Of each layer keys and values, (B, heads, T + room, head width); nothing is in the room yet."""


@dataclass(frozen=True, eq=False)
class Decoder:
    """A language model by its parts.

    Attributes:
        network: without sliding window; its layers may be peft's, or quantised.
        head: the output layer, (B, H) to (B, W).
    """

    network: LlamaModel | MistralModel
    head: nn.Module


class Room:
    """What conversations (B of them) have been told, and the room for the tokens to come; it fills from the front.

    Args:
        mask: (B, T), 0 for padding on the left, 1 for what counts.

    Attributes:
        positions: (B,), of the token that is said; padding has none.
    """

    def __init__(self, layers: Layers, mask: Tensor) -> None:
        self._layers = list(layers)
        self._held = mask.shape[1]
        self.positions = mask.sum(1) - 1
        # Attention is faster where nothing needs to be masked.
        self._mask: Tensor | None = None
        if not mask.all():
            whole = functional.pad(mask.bool(), (0, self.places - self._held), value=True)
            self._mask = whole[:, None, None]  # (B, 1, 1, T + room)

    @property
    def places(self) -> int:
        """T and the room behind it."""
        return self._layers[0][0].shape[2]

    def go_on(self) -> None:
        """Takes the next place of each conversation."""
        self.positions = self.positions + 1
        self._held += 1

    def keep(self, rows: Tensor) -> None:
        """Keeps these conversations (indices) and gives the room of the others back."""
        self.positions = self.positions[rows]
        for number, (keys, values) in enumerate(self._layers):
            self._layers[number] = keys[rows], values[rows]
        if self._mask is not None:
            self._mask = self._mask[rows]

    def parts(self, number: int, *projected: Tensor) -> list[Tensor]:
        """Divides what a layer projected, (B, heads · head width), among its heads: (B, heads, head width)."""
        width = self._layers[number][0].shape[3]
        return [part.unflatten(1, (-1, width)) for part in projected]

    def attended(
        self, number: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None = None
    ) -> Tensor:
        """Puts the new key and value of a layer in their place; gives what queries find, (B, heads · head width).

        Args:
            query, key, value: (B, heads, head width).
            window: how many places, its own included, a token sees; None for all.

        Raises:
            IndexError: if there is no room left.
        """
        keys, values = self._layers[number]
        keys[:, :, self._held - 1] = key
        values[:, :, self._held - 1] = value
        seen = slice(0 if window is None else max(0, self._held - window), self._held)
        mask = None if self._mask is None else self._mask[..., seen]  # (B, 1, 1, seen)
        return _found(query, keys[:, :, seen], values[:, :, seen], mask, scale)


class Steps:
    """Conversations (B of them) with a Mistral or a LLaMA that go on, each time by one token of each.

    Args:
        mask: (B, T), 0 for padding on the left, 1 for what counts.
    """

    def __init__(self, decoder: Decoder, layers: Layers, mask: Tensor) -> None:
        self._decoder = decoder
        self._room = Room(layers, mask)
        self._turns = _turns(decoder.network.rotary_emb, layers[0][0])

    def __call__(self, ids: Tensor) -> Tensor:
        """Says a token of each conversation, ids (B,); gives the logits of the next, (B, W).

        Raises:
            IndexError: if there is no room left.
        """
        network, room = self._decoder.network, self._room
        room.go_on()
        turns = self._turns[:, room.positions, None]  # (2, B, 1, head width)
        x = network.embed_tokens(ids)  # (B, H)
        for number, layer in enumerate(network.layers):
            attention = layer.self_attn
            normed = _normed(layer.input_layernorm, x)
            query, key, value = room.parts(
                number, attention.q_proj(normed), attention.k_proj(normed), attention.v_proj(normed)
            )
            query, key = _turned(query, key, turns)
            x = x + attention.o_proj(room.attended(number, query, key, value, attention.scaling))  # (B, H)
            x = x + layer.mlp(_normed(layer.post_attention_layernorm, x))  # (B, H)
        return self._decoder.head(_normed(network.norm, x))  # (B, W)

    def keep(self, rows: Tensor) -> None:
        """Goes on with these conversations (indices) alone."""
        self._room.keep(rows)


class Gemma3Steps:
    """Conversations (B of them) with a Gemma 3 that go on, each time by one token of each.

    Args:
        network: its layers may be peft's, or quantised.
        head: from (B, H) to the logits (B, W).
        layers: those that look through a window have all, as the others.
        mask: (B, T), 0 for padding on the left, 1 for what counts.
    """

    def __init__(
        self, network: Gemma3TextModel, head: Callable[[Tensor], Tensor], layers: Layers, mask: Tensor
    ) -> None:
        self._network = network
        self._head = head
        self._room = Room(layers, mask)
        kinds = set(network.config.layer_types)
        self._turns = {kind: _turns(network.rotary_emb, layers[0][0], kind) for kind in kinds}
        # Gemma keeps of each norm how much its weight differs from 1.
        norms = [module for module in network.modules() if hasattr(module, "eps")]
        self._weights = {norm: 1.0 + norm.weight.float() for norm in norms}

    def __call__(self, ids: Tensor) -> Tensor:
        """Says a token of each conversation, ids (B,); gives the logits of the next, (B, W).

        Raises:
            IndexError: if there is no room left.
        """
        room, normed = self._room, self._normed
        room.go_on()
        turns = {kind: table[:, room.positions, None] for kind, table in self._turns.items()}
        x = self._network.embed_tokens(ids)  # (B, H)
        for number, layer in enumerate(self._network.layers):
            attention = layer.self_attn
            y = normed(layer.input_layernorm, x)
            query, key, value = room.parts(
                number, attention.q_proj(y), attention.k_proj(y), attention.v_proj(y)
            )
            query, key = normed(attention.q_norm, query), normed(attention.k_norm, key)
            query, key = _turned(query, key, turns[attention.layer_type])
            found = room.attended(number, query, key, value, attention.scaling, attention.sliding_window)
            x = x + normed(layer.post_attention_layernorm, attention.o_proj(found))  # (B, H)
            y = layer.mlp(normed(layer.pre_feedforward_layernorm, x))
            x = x + normed(layer.post_feedforward_layernorm, y)  # (B, H)
        return self._head(normed(self._network.norm, x))  # (B, W)

    def keep(self, rows: Tensor) -> None:
        """Goes on with these conversations (indices) alone."""
        self._room.keep(rows)

    def _normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        """What the module itself computes, in fewer kernels and to the same bits; rounded after the weight."""
        return (functional.rms_norm(x.float(), x.shape[-1:], eps=norm.eps) * self._weights[norm]).type_as(x)


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    """What the module itself computes, in fewer kernels and to the same bits: rounded before the weight, as there."""
    return norm.weight * functional.rms_norm(x, x.shape[-1:], eps=norm.variance_epsilon)


def _turns(rotary: nn.Module, keys: Tensor, *kind: str) -> Tensor:
    """Gives cosines and sines for every place of keys (B, heads, places, head width), (2, places, head width)."""
    every = torch.arange(keys.shape[2], device=keys.device)[None]
    cosines, sines = rotary(keys, every, *kind)  # (1, places, head width) each
    # Half of a head is turned by minus the sine of the other half: the sign is put into the table.
    first, second = sines[0].chunk(2, dim=-1)
    return torch.stack((cosines[0], torch.cat((-first, second), dim=-1)))


def _turned(query: Tensor, key: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Turns queries and keys (B, heads, head width) to where they stand."""
    cosines, sines = turns
    both = torch.cat((query, key), dim=1)
    both = both * cosines + both.roll(key.shape[2] // 2, -1) * sines
    return both[:, : query.shape[1]], both[:, query.shape[1] :]


def _found(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """What queries (B, heads, head width) find, (B, heads · head width), by the kernels that transformers takes."""
    if mask is None:
        found = functional.scaled_dot_product_attention(
            query[:, :, None], keys, values, scale=scale, enable_gqa=True
        )  # (B, heads, 1, head width)
    else:
        # Those that share a key stand where several tokens of one head would: a GPU's kernels know either masks or
        # shared keys.
        shared = query.unflatten(1, (keys.shape[1], -1))  # (B, key heads, queries, head width)
        found = functional.scaled_dot_product_attention(shared, keys, values, attn_mask=mask, scale=scale)
    return found.flatten(1)
