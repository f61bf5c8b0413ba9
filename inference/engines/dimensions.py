"""What config.json says of a model, read with care: it is another's file, and a wrong number in it computes nonsense.

A model of our own has one way to compute. A file that asks for another is refused, and not read over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

_NUMBERS: Mapping[type, str] = {int: "a whole number above 0", float: "a number above 0"}
_Number = TypeVar("_Number", int, float)


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

    def rope_theta(self, default: float) -> float:
        """Gives the base of the positions, in whichever way transformers writes it.

        Raises:
            ValueError: as `told`, and for positions that are scaled.
        """
        theta = self.told("rope_theta", default)
        for name in ("rope_scaling", "rope_parameters"):  # the latter since version 5
            rope = Section(f"{self.name}.{name}", section_of(self.says, name).says)
            rope.check_needed({"type": "default", "rope_type": "default"})
            theta = rope.told("rope_theta", theta)
        return theta

    def heads(self, query_rows: int, key_rows: int, default: int) -> tuple[int, int, int]:
        """Gives the heads of a language model, their width, and the heads of keys and values.

        Args:
            query_rows, key_rows: rows of the projections' tensors.
            default: heads where nothing is said.

        Raises:
            ValueError: as `told`, and if heads and width do not make the rows.
        """
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


def section_of(sections: Mapping[str, Any], name: str) -> Section:
    """Gives a section of config.json. Raises ValueError if it is none."""
    said = sections.get(name)
    if said is not None and not isinstance(said, dict):
        raise ValueError(f"config.json: {name} is {said!r}, expected a section")
    return Section(name, said or {})
