"""What an engine computes is held against what the reference computed on the same weights and inputs.

The bounds stand here and nowhere else. In float32:

* `FEATURES`: image features, the abstractor's stages, image rows. An independent implementation came within 6e-6.
* `LOGITS`: logits; the independent implementation came within 3.1e-5.
* `EXACT`: ids, rendered prompts, preprocessed images: equal, images to the last bit.
* `INTERMEDIATE`: what lies between, for which nobody has named a bound: FEATURES times the largest absolute value of
  the reference tensor, where that is above 1.

In bfloat16 and float16 rounding is all there is. On its way through a layer a number is rounded some sixteen times:
weights and results of the products, norms, sums. Each time it moves by at most u of itself (2^-8 in bfloat16, 2^-11 in
float16), evenly spread, so by u/√3 in the root mean square, and independently: sixteen together by 2.3 u, and the
farthest of the millions by three or four times that. So the bound is 8 u times the largest absolute value of the
reference tensor for one layer, and √n times that for n layers one after the other. Products are summed in float32 on a
CPU and, as `opening.place_of` sets it, on a card, so both have this bound. An answer need not be
equal then; see `answer_comparisons`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inference.engines.opening import IN_FLOAT32_ON_CPU, Place
from inference.engines.stored import by_x, json_object
from inference.engines.talk import Converser, led, running_on
from inference.verdict import Comparison

_ROUNDINGS_IN_A_LAYER = 8.0
"""What the roundings of one layer come to, in u of the largest value."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a tensor may lie from its reference.

    Attributes:
        difference: largest absolute difference in float32; 0 holds in all numbers.
        grows: whether that is for a tensor within -1..1, and grows with a larger one.
        layers: how many layers a number goes through on its way.
        times: how many differences add up.
    """

    difference: float
    grows: bool = False
    layers: int = 1
    times: int = 1

    def through(self, layers: int) -> "Bound":
        """Gives the bound behind so many layers."""
        return replace(self, layers=layers)

    def of(self, largest: float, dtype: torch.dtype = torch.float32) -> float:
        """Gives the bound for a reference tensor.

        Args:
            largest: absolute value of the reference, or of what it is made from.
        """
        if dtype is torch.float32 or not self.difference:
            return self.times * self.difference * (max(1.0, largest) if self.grows else 1.0)
        u = torch.finfo(dtype).eps / 2
        return self.times * _ROUNDINGS_IN_A_LAYER * u * math.sqrt(self.layers) * largest


FEATURES = Bound(1e-4)
LOGITS = Bound(1e-3)
EXACT = Bound(0.0)
INTERMEDIATE = Bound(1e-4, grows=True)


@dataclass
class References:
    """The tensors of one file of references, and which of them have been looked at.

    Attributes:
        tensors: by name, in float32 on the CPU.
        prefix: stands before the names in comparisons.
        place: where inputs go, and in which numbers.
    """

    tensors: Mapping[str, Tensor]
    prefix: str = ""
    place: Place = IN_FLOAT32_ON_CPU
    _compared: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        """Gives an input that a comparison needs, where and in which numbers it computes. Raises as `as_stored`."""
        tensor = self.as_stored(name)
        return tensor.to(self.place.device, self.place.dtype if tensor.is_floating_point() else tensor.dtype)

    def as_stored(self, name: str) -> Tensor:
        """Gives an input as it is. Raises ValueError if the file has none of that name."""
        self._compared.add(name)
        try:
            return self.tensors[name]
        except KeyError:
            raise ValueError(f"the references hold no {name}") from None

    def compare(
        self, name: str, bound: Bound, ours: Callable[[], Tensor], made_from: str | None = None
    ) -> Iterator[Comparison]:
        """Compares what `ours` computes with the reference called `name`; nothing if there is none.

        Args:
            made_from: of which other tensor the largest value counts, where there is such a tensor.
        """
        if name in self.tensors:
            self._compared.add(name)
            limit = self.limit(bound, made_from or name)
            yield compared(self.prefix + name, limit, ours, self.tensors[name])

    def limit(self, bound: Bound, name: str) -> float:
        """Gives the bound for what is as large as a tensor, or as small as nothing if there is none of that name."""
        reference = self.tensors.get(name)
        largest = float(reference.abs().max()) if reference is not None and reference.numel() else 0.0
        return bound.of(largest, self.place.dtype)

    def left_over(self) -> tuple[str, ...]:
        """Lists the tensors that nobody has used or compared."""
        return tuple(sorted(self.prefix + name for name in set(self.tensors) - self._compared))


def read_references(path: Path, prefix: str = "", place: Place = IN_FLOAT32_ON_CPU) -> References:
    """Reads a file of references, for a model at a place. Raises ValueError if it cannot be read."""
    try:
        return References(load_file(str(path)), prefix, place)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}; fetch it again") from error


def compared(name: str, limit: float, ours: Callable[[], Tensor], reference: Tensor) -> Comparison:
    """Compares one tensor; what goes wrong on the way to it is its problem, not the end of the comparing."""
    try:
        made = ours().cpu()
    except (ValueError, RuntimeError, IndexError, FloatingPointError) as error:
        return Comparison(name, None, limit, f"it cannot be computed: {error}")
    if made.shape != reference.shape:
        shapes = f"it is {by_x(tuple(made.shape))}, expected {by_x(tuple(reference.shape))}"
        return Comparison(name, None, limit, shapes)
    if not made.numel():
        return Comparison(name, None, limit, "it is empty")
    # In double precision: in single, a difference of two large ids may vanish.
    difference = float((made.double() - reference.double()).abs().max())
    if difference != difference:
        return Comparison(name, None, limit, "it holds what is not a number")
    return Comparison(name, difference, limit)


def answer_comparisons(
    references: References,
    name: str,
    model: Converser,
    prompt: Callable[[], tuple[Tensor, Tensor | None]],
    bound: Bound,
    logits: str = "logits",
) -> Iterator[Comparison]:
    """Compares a greedy answer up to its end token; what the reference has behind that is padding.

    In float32 the ids are the same. In other numbers, where two ids are likely alike the other one may be taken, and
    from there on the answer is another. So the model says the reference's own ids, and each of them must be the
    likeliest but for what rounding may do to two logits.

    Args:
        name: of the reference's new ids, (B, T).
        prompt: gives embeddings (B, T, H) and what counts of them (B, T), None where all does.
        bound: of the logits, which are called `logits`.
    """

    def ids() -> Tensor:
        expected = references[name]  # (B, T)
        embeddings, mask = prompt()
        ids = running_on(model, embeddings, expected.shape[1], mask)  # (B, T)
        return torch.where(_is_padding(expected, model.end_id), expected, ids)

    def shortfall() -> Tensor:
        expected = references[name]  # (B, T)
        embeddings, mask = prompt()
        likely = led(model, embeddings, expected, mask)  # (B, T, W)
        shortfall = likely.amax(2) - likely.gather(2, expected[:, :, None])[:, :, 0]  # (B, T)
        return shortfall.masked_fill(_is_padding(expected, model.end_id), 0.0)

    if references.place.dtype is torch.float32:
        yield from references.compare(name, EXACT, ids)
    elif name in references:
        nothing = torch.zeros(references.tensors[name].shape)
        limit = references.limit(replace(bound, times=2), logits)
        yield compared(references.prefix + name, limit, shortfall, nothing)


def _is_padding(ids: Tensor, end_id: int) -> Tensor:
    is_end = (ids == end_id).long()
    return is_end.cumsum(1) > is_end


def text_comparison(name: str, ours: Sequence[object], expected: Sequence[object]) -> Comparison:
    """Compares texts or lists of ids one by one; the difference is how many are not equal."""
    unlike = [place for place, pair in enumerate(zip(ours, expected, strict=True)) if pair[0] != pair[1]]
    problem = f"number {unlike[0] + 1} of {len(expected)} is the first that is not equal" if unlike else ""
    return Comparison(name, float(len(unlike)), EXACT.difference, problem)


def prompt_cases(folder: Path) -> tuple[str, list[dict]]:
    """Reads the conversations beside the weights, `*prompts.json`: the file's name and its cases; none: no file.

    Raises:
        ValueError: if the file is no JSON object with a list "cases".
    """
    for path in sorted(folder.glob("*prompts.json")):
        cases = json_object(path).get("cases")
        if not isinstance(cases, list):
            raise ValueError(f'{path} holds no list "cases"')
        return path.name, cases
    return "", []
