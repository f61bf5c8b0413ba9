"""What checking a model comes to: sentences, well or not, and differences, within their bounds or not."""

from dataclasses import dataclass

NO_ROOM_TO_LOOK = "to be looked at, the weights are loaded into"
"""Begins the sentence where memory is short for a look; whether the weights are well, nobody knows then."""


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """One thing looked at. `text` says what to do where `ok` is False."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One tensor held against its reference.

    Attributes:
        name: of the reference tensor, with its file where that is not golden.safetensors.
        difference: the largest absolute one; None if the two cannot be compared, or one is not a number.
        bound: the largest that passes.
        problem: why they cannot be compared, as a sentence, or "".
    """

    name: str
    difference: float | None
    bound: float
    problem: str = ""

    @property
    def passed(self) -> bool:
        return self.difference is not None and self.difference <= self.bound
