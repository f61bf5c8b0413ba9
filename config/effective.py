"""The settings in force, as text that could be a config folder again."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from config.settings import Settings
from config.values import Secret
from config.wording import holds_tables, is_list, key_of, quoted


def effective(settings: Settings) -> str:
    """Writes all settings as TOML, one block for each file, defaults included.

    Passwords are not in it: a Secret shows the place where one is.
    """
    blocks = (
        ("agent.toml", settings.agent),
        ("peers.toml", settings.peers),
        ("reading.toml", settings.reading),
    )
    return "\n".join(f"# {name}\n{toml_of(values)}" for name, values in blocks)


def toml_of(values: BaseModel) -> str:
    """Writes one file's settings as TOML."""
    return "\n".join(_lines(values, "")) + "\n"


def _lines(values: BaseModel, table: str) -> Iterator[str]:
    model = type(values)
    fields = [
        (key_of(name, field), field, getattr(values, name)) for name, field in model.model_fields.items()
    ]
    for key, field, value in fields:
        if not holds_tables(field):
            yield f"{key} = {toml_value(value)}"
    for key, field, value in fields:
        full = f"{table}.{key}" if table else key
        if not holds_tables(field) or value is None:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            yield f"\n[[{full}]]" if is_list(field) else f"\n[{full}]"
            yield from _lines(one, full)


def toml_value(value: object) -> str:
    """Writes one value as TOML; None, which TOML has not, as the empty text that stands for it here."""
    if isinstance(value, Secret):
        place, name = ("env", value.env) if value.env else ("file", str(value.file))
        return f"{{ {place} = {quoted(name)} }}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, str | Path):
        return quoted(str(value))
    return '""' if value is None else repr(value)
