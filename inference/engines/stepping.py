"""One more token through a Mistral or a LLaMA, for every conversation that waits for one.

What transformers wraps around a pass (masks made anew, caches that are copied to grow, hooks) took a third of the time
of a token of the demo model, and on a GPU it keeps small kernels waiting. Here are the same layers, with the same
arithmetic in the same order, over keys and values that have their room from the beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaModel, MistralModel


@dataclass(frozen=True, eq=False)
class Decoder:
    """A language model by its parts.

    Attributes:
        network: without sliding window; its layers may be peft's, or quantised.
        head: the output layer, (B, H) to (B, W).
    """

    network: LlamaModel | MistralModel
    head: nn.Module


class Steps:
    """Conversations (B of them) that go on, each time by one token of each.

    Args:
        layers: keys and values of each layer, (B, heads, T + room, head width); the room is filled from the front.
        mask: (B, T), 0 for padding on the left, 1 for what counts.
    """

    def __init__(self, decoder: Decoder, layers: Sequence[tuple[Tensor, ...]], mask: Tensor) -> None:
        self._decoder = decoder
        self._layers = layers
        self._held = mask.shape[1]
        self._positions = mask.sum(1)  # (B,), of the next token: padding has none
        places = layers[0][0].shape[2]
        # Attention is faster where nothing needs to be masked.
        self._mask: Tensor | None = None
        if not mask.all():
            whole = functional.pad(mask.bool(), (0, places - self._held), value=True)
            self._mask = whole[:, None, None]  # (B, 1, 1, T + room)
        every = torch.arange(places, device=mask.device)[None]
        cosines, sines = decoder.network.rotary_emb(layers[0][0], every)  # (1, T + room, head width) each
        # Half of a head is turned by minus the sine of the other half: the sign is put into the table.
        first, second = sines[0].chunk(2, dim=-1)
        self._cosines, self._sines = cosines[0], torch.cat((-first, second), dim=-1)

    def __call__(self, ids: Tensor) -> Tensor:
        """Says a token of each conversation, ids (B,); gives the logits of the next, (B, W).

        Raises:
            IndexError: if there is no room left.
        """
        network = self._decoder.network
        cosines = self._cosines[self._positions][:, None]  # (B, 1, head width)
        sines = self._sines[self._positions][:, None]
        self._positions = self._positions + 1
        self._held += 1
        mask = None if self._mask is None else self._mask[..., : self._held]  # (B, 1, 1, held)
        x = network.embed_tokens(ids)  # (B, H)
        for layer, (keys, values) in zip(network.layers, self._layers, strict=True):
            attention = layer.self_attn
            normed = _normed(layer.input_layernorm, x)
            heads = keys.shape[1]
            query, key, value = (
                part(normed).unflatten(1, (-1, keys.shape[3]))  # (B, heads, head width)
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            turned = torch.cat((query, key), dim=1)
            turned = turned * cosines + turned.roll(keys.shape[3] // 2, -1) * sines
            query, key = turned[:, :-heads], turned[:, -heads:]
            keys[:, :, self._held - 1] = key
            values[:, :, self._held - 1] = value
            attended = _attended(
                query, keys[:, :, : self._held], values[:, :, : self._held], mask, attention.scaling
            )
            x = x + attention.o_proj(attended)  # (B, H)
            x = x + layer.mlp(_normed(layer.post_attention_layernorm, x))  # (B, H)
        return self._decoder.head(_normed(network.norm, x))  # (B, W)


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    """What the module itself computes, in fewer kernels and to the same bits: rounded before the weight, as there."""
    return norm.weight * functional.rms_norm(x, x.shape[-1:], eps=norm.variance_epsilon)


def _attended(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Tensor:
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
