"""What an engine computes is held against what the reference computed on the same weights and inputs.

The bounds, all in float32 on a CPU, stand here and nowhere else:

* `FEATURES`: image features, the abstractor's stages, image rows. An independent implementation came within 6e-6.
* `LOGITS`: logits; the independent implementation came within 3.1e-5.
* `EXACT`: ids, rendered prompts, preprocessed images: equal, images to the last bit.
* `INTERMEDIATE`: what lies between, for which nobody has named a bound: FEATURES times the largest absolute value of
  the reference tensor, where that is above 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inference.engines.stored import by_x, json_object
from inference.verdict import Comparison


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a tensor may lie from its reference.

    Attributes:
        difference: largest absolute difference.
        grows: whether it is for a tensor within -1..1, and grows with a larger one.
    """

    difference: float
    grows: bool = False

    def of(self, reference: Tensor) -> float:
        """Gives the bound for one reference tensor."""
        if not self.grows or not reference.numel():
            return self.difference
        return self.difference * max(1.0, float(reference.abs().max()))


FEATURES = Bound(1e-4)
LOGITS = Bound(1e-3)
EXACT = Bound(0.0)
INTERMEDIATE = Bound(1e-4, grows=True)


@dataclass
class References:
    """The tensors of one file of references, and which of them have been looked at.

    Attributes:
        tensors: by name.
        prefix: stands before the names in comparisons.
    """

    tensors: Mapping[str, Tensor]
    prefix: str = ""
    _compared: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        """Gives an input that a comparison needs. Raises ValueError if the file has none of that name."""
        self._compared.add(name)
        try:
            return self.tensors[name]
        except KeyError:
            raise ValueError(f"the references hold no {name}") from None

    def compare(self, name: str, bound: Bound, ours: Callable[[], Tensor]) -> Iterator[Comparison]:
        """Compares what `ours` computes with the reference called `name`; nothing if there is none."""
        if name in self.tensors:
            self._compared.add(name)
            yield compared(self.prefix + name, bound, ours, self.tensors[name])

    def left_over(self) -> tuple[str, ...]:
        """Lists the tensors that nobody has used or compared."""
        return tuple(sorted(self.prefix + name for name in set(self.tensors) - self._compared))


def read_references(path: Path, prefix: str = "") -> References:
    """Reads a file of references. Raises ValueError if it cannot be read."""
    try:
        return References(load_file(str(path)), prefix)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}; fetch it again") from error


def compared(name: str, bound: Bound, ours: Callable[[], Tensor], reference: Tensor) -> Comparison:
    """Compares one tensor; what goes wrong on the way to it is its problem, not the end of the comparing."""
    limit = bound.of(reference)
    try:
        made = ours()
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
    references: References, name: str, continue_ids: Callable[[int], Tensor], end_id: int
) -> Iterator[Comparison]:
    """Compares a greedy answer up to its end token; what the reference has behind that is padding.

    Args:
        name: of the reference's new ids, (B, T).
        continue_ids: gives our own T new ids, (B, T), running on over any end token.
    """

    def ours() -> Tensor:
        expected = references[name]  # (B, T)
        ids = continue_ids(expected.shape[1])  # (B, T)
        is_end = (expected == end_id).long()
        return torch.where(is_end.cumsum(1) > is_end, expected, ids)

    yield from references.compare(name, EXACT, ours)


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
