"""Settings and their values in words: what a field expects, and how a value is shown without its secrets."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.values import Expected

SHOWN_CHARACTERS_MAX = 80

_SECRET_KEY = re.compile(r"passw|pwd|passphrase|secret|token(?!s_max)|credential|authori[sz]", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(//[^/@\s:]*:)[^/@\s]*(?=@)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LAST_PART = re.compile(r"""(?:\[\d+\]|(?:^|\.)(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"))$""")
_PASSWORD_VALUE = re.compile(r"(passw\w*\s*=\s*)[^&\s]+", re.IGNORECASE)
# A token has as many names as there are web services, so every value of a query counts, and one without a name.
_QUERY = re.compile(r"(://[^?#\s]*[?#])(?!\S*=)\S+|([?#&][^=&#?\s]*=)[^&#\s]*")
_HTTP_CREDENTIAL = re.compile(r"\b(Basic|Bearer|Token)(\s+)\S+", re.IGNORECASE)


def key_of(field_name: str, field: FieldInfo) -> str:
    """Names a field as the TOML file does: `senders` is [[sender]] there."""
    return str(field.validation_alias or field_name)


def fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Gives the fields of a table under their TOML keys, in the order of the model."""
    return {key_of(name, field): field for name, field in model.model_fields.items()}


def table_in(annotation: Any) -> type[BaseModel] | None:
    """Finds the table that a field holds: itself, or None, or many of it. None if it holds a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if isinstance(inner, type | UnionType) or get_origin(inner) is not None:
            found = table_in(inner)
            if found is not None:
                return found
    return None


def is_table(field: FieldInfo) -> bool:
    """Is it one [table] that is always there, written or not?"""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def holds_tables(field: FieldInfo) -> bool:
    """Is it written under [a header of its own]? A password's place is not: it stands in one line."""
    return table_in(field.annotation) is not None and Expected not in map(type, field.metadata)


def is_list(field: FieldInfo) -> bool:
    """Is it written as a list (or as [[tables]])?"""
    return get_origin(field.annotation) is tuple


def expectation(field: FieldInfo) -> str:
    """Says what a field expects, as the end of "expected ..."."""
    return _expectation(field.annotation, field.metadata)


def _expectation(annotation: Any, metadata: list[Any]) -> str:
    in_words = next((one.words for one in metadata if isinstance(one, Expected)), None)
    if in_words is not None:
        return in_words
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _expectation(inner[0], [*_flat(inner[1:])])
    if origin is tuple:
        return _list_expectation(inner[0], metadata)
    if origin in (Union, UnionType):
        return " or ".join(_expectation(one, []) for one in inner if one is not NoneType)
    if origin is Literal:
        return one_of([f'"{value}"' for value in inner])
    if annotation in (int, float):
        return _number_expectation(annotation, metadata)
    if annotation is bool:
        return "true or false"
    return "a table" if table_in(annotation) else _text_expectation(metadata)


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    # Inside a list pydantic leaves Field(...) unopened in the annotation.
    for one in metadata:
        yield from one.metadata if isinstance(one, FieldInfo) else (one,)


def _list_expectation(element: Any, metadata: list[Any]) -> str:
    needs_one = any(isinstance(one, MinLen) and one.min_length for one in metadata)
    several = "a list of at least one" if needs_one else "a list"
    return f"{several}, each {_expectation(element, [])}"


def _number_expectation(annotation: type, metadata: list[Any]) -> str:
    least = next((one.ge for one in metadata if isinstance(one, Ge)), None)
    most = next((one.le for one in metadata if isinstance(one, Le)), None)
    return f"{'a whole number' if annotation is int else 'a number'} from {least} to {most}"


def _text_expectation(metadata: list[Any]) -> str:
    most = next((one.max_length for one in metadata if isinstance(one, MaxLen)), None)
    pattern = next((one.pattern for one in metadata if getattr(one, "pattern", None)), None)
    length = f" of at most {most} characters" if most else ""
    return f"a text{length}" + (f" that matches {pattern}" if pattern else "")


def one_of(words: list[str]) -> str:
    """Joins words to "a", "a or b", "a, b or c"."""
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def place_of(location: tuple[int | str, ...]) -> str:
    """Writes a place in a file as "destination[2].tls.ca_file": tables of a list are counted from 1."""
    parts = [f"[{part + 1}]" if isinstance(part, int) else f".{_key_text(part)}" for part in location]
    return "".join(parts).removeprefix(".")


def _key_text(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else quoted(key)


def around(place: str) -> str:
    """Names the table or list that a place is in; "" for one at the top of its file."""
    return _LAST_PART.sub("", place)


def leaf_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Walks every key below a model in order, as ("listener.tls.key_file", its field)."""
    for key, field in fields_by_key(model).items():
        table = table_in(field.annotation)
        if table is None or not holds_tables(field):
            yield prefix + key, field
        else:
            yield from leaf_keys(table, f"{prefix}{key}.")


def plain_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Walks the keys that are in no [[table]], and so there once at most, as `leaf_keys` does."""
    for key, field in fields_by_key(model).items():
        table = table_in(field.annotation)
        if table is None or not holds_tables(field):
            yield prefix + key, field
        elif not is_list(field):
            yield from plain_keys(table, f"{prefix}{key}.")


def is_text(field: FieldInfo) -> bool:
    """Is its value written as a text: a name, an address, a path, one of some words?"""
    return _is_text(field.annotation) and table_in(field.annotation) is None


def _is_text(annotation: Any) -> bool:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return all(isinstance(value, str) for value in inner)
    if origin is Annotated:
        return _is_text(inner[0])
    if origin in (Union, UnionType):
        return all(_is_text(one) for one in inner if one is not NoneType)
    return annotation in (str, Path)


def is_secret(key: str) -> bool:
    """Does the key, known or misspelt, look as if a password stood behind it?"""
    return _SECRET_KEY.search(key) is not None


def without_passwords(text: str) -> str:
    """Replaces what looks like a password in a URL, a connection string or an HTTP header by stars."""
    text = _QUERY.sub(r"\1\2***", _URL_PASSWORD.sub(r"\1***", text))
    return _HTTP_CREDENTIAL.sub(r"\1\2***", _PASSWORD_VALUE.sub(r"\1***", text))


def shown(value: object, key: str = "") -> str:
    """Writes a value as TOML would, short and without secrets. Tables are not opened."""
    if isinstance(value, dict):
        return "a table"
    if is_secret(key):
        return "***"
    if isinstance(value, list | tuple):
        return _cut("[" + ", ".join(shown(one) for one in value[:SHOWN_CHARACTERS_MAX]) + "]")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return _cut(quoted(without_passwords(value)) if isinstance(value, str) else str(value))


def quoted(text: str) -> str:
    """Writes a text as a TOML basic string on one line."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"
