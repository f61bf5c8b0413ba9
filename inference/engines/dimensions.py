"""What config.json says of a model, read with care: it is another's file, and a wrong number in it computes nonsense.

A model of our own has one way to compute. A file that asks for another is refused, and not read over.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from inference.engines.sources import Sources
from inference.engines.stored import Shapes, existing, json_object

_NUMBERS: Mapping[type, str] = {int: "a whole number above 0", float: "a number above 0"}
_Number = TypeVar("_Number", int, float)
_Config = TypeVar("_Config")


class Language(Protocol):
    """What the dimensions of a published model say of its language model."""

    @property
    def text_heads(self) -> int: ...
    @property
    def text_norm_epsilon(self) -> float: ...
    @property
    def rope_theta(self) -> float: ...
    @property
    def positions_max(self) -> int: ...
    @property
    def begin_id(self) -> int: ...
    @property
    def end_id(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Section:
    """One section of config.json, by its name; "" for the top of the file.

    Attributes:
        says: its keys; none where the section is not there, or null.
    """

    name: str
    says: Mapping[str, Any]

    def told(self, key: str, default: _Number) -> _Number:
        """Gives a number, in the kind of `default`, which holds where nothing or null is said.

        Raises:
            ValueError: if it is no number above 0, or not a whole one where `default` is whole.
        """
        value = self.says.get(key)
        if value is None:
            return default
        kind = type(default)
        if type(value) not in (int, kind) or not 0 < value < float("inf"):
            raise ValueError(f"{self._place(key)} is {value!r}, expected {_NUMBERS[kind]}")
        return kind(value)

    def check_needed(self, needed: Mapping[str, Any]) -> None:
        """Raises ValueError for a key that asks for another computation than `needed`; it may say nothing."""
        for key, value in needed.items():
            if self.says.get(key, value) != value:
                raise ValueError(f"{self._place(key)} is {self.says[key]!r}, expected {value!r}")

    def language(self, query_rows: int, key_rows: int, published: Language) -> dict[str, Any]:
        """Gives what this section says of a language model, by the names of our configurations.

        Args:
            query_rows, key_rows: rows of the projections' tensors.
            published: what holds where nothing is said.

        Raises:
            ValueError: as `told`, for positions that are scaled, and if heads and width do not make the rows.
        """
        heads, width, key_value_heads = self._heads(query_rows, key_rows, published.text_heads)
        return {
            "text_heads": heads,
            "text_head_width": width,
            "text_key_value_heads": key_value_heads,
            "text_norm_epsilon": self.told("rms_norm_eps", published.text_norm_epsilon),
            "rope_theta": self._rope_theta(published.rope_theta),
            "positions_max": self.told("max_position_embeddings", published.positions_max),
            "begin_id": self.told("bos_token_id", published.begin_id),
            "end_id": self.told("eos_token_id", published.end_id),
        }

    def _rope_theta(self, default: float) -> float:
        """Gives the base of the positions, in whichever way transformers writes it."""
        theta = self.told("rope_theta", default)
        for name in ("rope_scaling", "rope_parameters"):  # the latter since version 5
            rope = Section(f"{self.name}.{name}", section_of(self.says, name).says)
            rope.check_needed({"type": "default", "rope_type": "default"})
            theta = rope.told("rope_theta", theta)
        return theta

    def _heads(self, query_rows: int, key_rows: int, default: int) -> tuple[int, int, int]:
        """Gives the heads of a language model, their width, and the heads of keys and values."""
        heads = self.told("num_attention_heads", default)
        width = self.told("head_dim", max(1, query_rows // heads))
        if heads * width != query_rows or key_rows % width or width % 2:
            raise ValueError(
                f"{self._place('num_attention_heads')}: {heads} heads, {width} wide, do not make the "
                f"{query_rows} rows of queries and {key_rows} of keys that the tensors have"
            )
        return heads, width, key_rows // width

    def _place(self, key: str) -> str:
        return f"config.json: {f'{self.name}.{key}'.lstrip('.')}"


def found_in(sources: Sources, config_from: Callable[[Mapping[str, Any], Shapes], _Config]) -> _Config:
    """Finds a model's dimensions in its config.json and its tensors.

    Raises:
        ValueError: what `config_from` raises, with the folder.
    """
    sections = json_object(existing(sources.folder / "config.json"))
    try:
        return config_from(sections, sources.shapes)
    except ValueError as error:
        raise ValueError(f"{sources.folder}: {error}") from error


def section_of(sections: Mapping[str, Any], name: str) -> Section:
    """Gives a section of config.json. Raises ValueError if it is none."""
    said = sections.get(name)
    if said is not None and not isinstance(said, dict):
        raise ValueError(f"config.json: {name} is {said!r}, expected a section")
    return Section(name, said or {})


def shape_of(shapes: Shapes, name: str, axes: int, *, model: str) -> tuple[int, ...]:
    """Gives the shape of a tensor that tells dimensions.

    Args:
        model: whose weights they should be, with its article.

    Raises:
        ValueError: if it is missing, or has not so many axes.
    """
    shape = shapes.get(name)
    if shape is None:
        raise ValueError(f"these are not the weights of {model}: {name} is missing")
    if len(shape) != axes or 0 in shape:
        raise ValueError(f"these are not the weights of {model}: {name} has the shape {shape}")
    return shape


def count_of(shapes: Shapes, pattern: str) -> int:
    """Counts the different numbers that stand in names at `pattern`'s group."""
    return len({match[1] for name in shapes if (match := re.match(pattern, name))})
