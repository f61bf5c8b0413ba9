"""Linear layers whose weights are kept in 8 or 4 bits: half or a quarter of the memory, for smaller cards.

Weights only, rounded to nearest: int8 with one scale for each row, int4 with one scale and one zero for each group of
32 weights in a row. A forward pass makes the layer's weights anew in the numbers that it computes in, so nothing is
gained in speed. Which layers: the language model's projections, nine tenths of the weights. Embeddings, norms, the
output layer and all that sees the image stay as they are.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Weights = Literal["full", "int8", "int4"]

GROUP = 32
"""Weights that share one scale in int4."""


class QuantisedLinear(nn.Linear):
    """A linear layer with its weight in 8 bits (out, in), or two in a byte (out, in / 2).

    A subclass of nn.Linear, so that what looks for linear layers (peft) finds it.
    """

    scale: Tensor
    zero: Tensor | None

    def __init__(self, linear: nn.Linear, weights: Weights, dtype: torch.dtype) -> None:
        """Rounds the weights of `linear`; it computes in `dtype`.

        Raises:
            ValueError: if the width does not divide into groups of int4, or a weight is not finite.
        """
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()  # (out, in)
        if not weight.isfinite().all():
            raise ValueError("a weight is not finite; fetch the weights again")
        rounded = _in_eight_bits if weights == "int8" else _in_four_bits
        packed, scale, zero = rounded(weight, dtype)
        self.register_buffer("weight", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero)
        self.register_parameter("bias", None if linear.bias is None else nn.Parameter(linear.bias.to(dtype)))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.dense().to(x.dtype), self.bias)  # (..., out)

    def dense(self) -> Tensor:
        """Makes the weights anew, (out, in), as near to what they were as the bits allow."""
        if self.zero is None:
            return self.weight * self.scale
        nibbles = torch.stack([self.weight & 15, self.weight >> 4], dim=-1)  # (out, in / 2, 2)
        grouped = nibbles.view(self.out_features, -1, GROUP)  # (out, groups, GROUP)
        return torch.add(grouped * self.scale, self.zero).flatten(1)

    def extra_repr(self) -> str:
        bits = 8 if self.zero is None else 4
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={bits}"


def _in_eight_bits(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, None]:
    """Gives weights (out, in) and their scales (out, 1)."""
    scale = _scale(weight.abs().amax(1, keepdim=True) / 127, dtype)
    return (weight / scale.float()).round().clamp(-127, 127).to(torch.int8), scale, None


def _in_four_bits(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Gives weights (out, in / 2), and scales and zeros, (out, groups, 1) each."""
    rows, columns = weight.shape
    if columns % GROUP:
        raise ValueError(f'a layer is {columns} wide, no multiple of {GROUP}; set weights = "int8"')
    grouped = weight.view(rows, -1, GROUP)  # (out, groups, GROUP)
    zero = grouped.amin(2, keepdim=True).to(dtype)
    scale = _scale((grouped.amax(2, keepdim=True) - zero.float()) / 15, dtype)
    steps = ((grouped - zero.float()) / scale.float()).round().clamp(0, 15).to(torch.uint8)
    nibbles = steps.view(rows, columns // 2, 2)
    return nibbles[..., 0] | (nibbles[..., 1] << 4), scale, zero


def _scale(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounds scales before weights are rounded by them, so that one rounding makes good for the other."""
    return scale.clamp(min=torch.finfo(dtype).tiny).to(dtype)


def stored_bytes(rows: int, columns: int, weights: Weights, dtype: torch.dtype) -> int:
    """Counts the bytes of one matrix of a language model as it is kept."""
    if weights == "int8":
        return rows * columns + rows * dtype.itemsize
    if weights == "int4":
        return rows * columns // 2 + 2 * rows * (columns // GROUP) * dtype.itemsize
    return rows * columns * dtype.itemsize
