"""What can be read of a file that has mistakes in it, so that what is wrong beside them is told in the same go."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from config.values import Frozen
from config.wording import fields_by_key, holds_tables, is_list, key_of

T = TypeVar("T")

Numbered = Sequence[tuple[int, T]]
"""Tables of one [[kind]] with their numbers in the file, from 1."""

Readable = Mapping[str, Any]
"""Tables and values by their place, "agent.listener" or "peers.accept_any_sender", where nothing in them is wrong. Of
[[tables]] there is "peers.sender", all of them, if nothing is wrong in any, and "peers.sender[]", Numbered, those in
which nothing is wrong. "peers" alone is the file, and tells only which of its keys are written."""

Location = tuple[int | str, ...]
"""Where pydantic has found a mistake: the key and, inside [[tables]], the index of the table, from 0."""


def readable(file: str, values: Frozen) -> dict[str, Any]:
    """Names what a file without mistakes holds."""
    return _readable(file, values, frozenset(), {})


def readable_beside(
    file: str,
    model: type[Frozen],
    table: Mapping[str, Any],
    wrong: Iterable[Location],
    context: Mapping[str, Any],
) -> dict[str, Any]:
    """Names what a file holds beside its mistakes.

    Args:
        table: the file as it stands; with the mistakes, it does not validate.
        wrong: where they are; all of them, or this raises what pydantic does.
    """
    wrong = frozenset(wrong)
    keys = frozenset(str(location[0]) for location in wrong)
    rest: dict[str, Any] = {key: value for key, value in table.items() if key not in keys}
    right: dict[str, list[int]] = {}
    for key, field in fields_by_key(model).items():
        inside = {location[1] if len(location) > 1 else None for location in wrong if location[0] == key}
        if inside and _is_tables(field) and None not in inside:
            right[key] = [index for index in range(len(table[key])) if index not in inside]
            rest[key] = [table[key][index] for index in right[key]]
    values = model.model_validate(rest, context=dict(context), by_alias=True, by_name=False)
    return _readable(file, values, keys, right)


def _readable(
    file: str, values: Frozen, wrong: frozenset[str], right: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """As the above.

    Args:
        wrong: keys in which there are mistakes.
        right: of [[tables]] among them, the indices of those that `values` has.
    """
    part = file.removesuffix(".toml")
    found: dict[str, Any] = {part: values}
    for name, field in type(values).model_fields.items():
        key, value = key_of(name, field), getattr(values, name)
        if key not in wrong:
            found[f"{part}.{key}"] = value
        if _is_tables(field) and (key not in wrong or key in right):
            numbers = [index + 1 for index in right.get(key, range(len(value)))]
            found[f"{part}.{key}[]"] = tuple(zip(numbers, value, strict=True))
    return found


def _is_tables(field: FieldInfo) -> bool:
    """Is it written as [[tables]]?"""
    return is_list(field) and holds_tables(field)
