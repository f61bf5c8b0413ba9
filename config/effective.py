"""The settings in force, as text that could be a config folder again."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from config.conditions import When, conditions_table
from config.settings import Settings
from config.values import Secret
from config.wording import holds_tables, is_list, key_of, quoted

Note = Callable[[str], str | None]
"""What is to be said beside a value, by its place ("destination[2].port"); None leaves the value out."""


def effective(settings: Settings, note: Callable[[str, str], str | None] | None = None) -> str:
    """Writes all settings as TOML, one block for each file, defaults included.

    Passwords are not in it: a Secret shows the place where one is.

    Args:
        note: by file and place, what stands as a comment behind a value; None leaves that value out.
    """
    blocks = (
        ("agent.toml", settings.agent),
        ("peers.toml", settings.peers),
        ("reading.toml", settings.reading),
    )
    return "\n".join(
        f"# {file}\n{toml_of(values, None if note is None else partial(note, file))}"
        for file, values in blocks
    )


def toml_of(values: BaseModel, note: Note | None = None) -> str:
    """Writes one file's settings as TOML; for `note` see `effective`."""
    return "\n".join(_lines(values, "", "", note)) + "\n"


def _lines(values: BaseModel, header: str, place: str, note: Note | None) -> Iterator[str]:
    model = type(values)
    fields = [
        (key_of(name, field), field, getattr(values, name)) for name, field in model.model_fields.items()
    ]
    for key, field, value in fields:
        if not holds_tables(field):
            yield from _line(key, value, place + key, note)
    for key, field, value in fields:
        if not holds_tables(field) or value is None:
            continue
        full = f"{header}.{key}" if header else key
        for number, one in enumerate(value if isinstance(value, tuple) else (value,), start=1):
            inside = f"{place}{key}[{number}]" if is_list(field) else place + key
            lines = list(_lines(one, full, f"{inside}.", note))
            if lines or note is None:
                yield f"\n[[{full}]]" if is_list(field) else f"\n[{full}]"
            yield from lines


def _line(key: str, value: object, place: str, note: Note | None) -> Iterator[str]:
    if note is None:
        yield f"{key} = {toml_value(value)}"
        return
    words = note(place)
    if words is not None:
        yield f"{key} = {toml_value(value)}  # {words}"


def toml_value(value: object) -> str:
    """Writes one value as TOML; None, which TOML has not, as the empty text that stands for it here."""
    if isinstance(value, Secret):
        place, name = ("env", value.env) if value.env else ("file", str(value.file))
        return f"{{ {place} = {quoted(name)} }}"
    if isinstance(value, When):
        return toml_value(conditions_table(value))
    if isinstance(value, dict):
        pairs = ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    if isinstance(value, str | Path):
        return quoted(str(value))
    return '""' if value is None else repr(value)
