"""The settings as JSON Schema, for editors that complete and check TOML files as they are written (taplo, VS Code)."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from config.documentation import field_documents
from config.loading import FILES
from config.wording import expectation, fields_by_key, holds_tables, table_in


def schema_of(file: str) -> dict[str, Any]:
    """Gives the JSON Schema (2020-12) of one of the FILES: every key, what it is for, what it expects, its default.

    It refuses nothing that `load` takes. `load` refuses more: what goes together, files that are not there.
    """
    model = FILES[file]
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    for table in {one.__name__: one for one in _tables(model)}.values():
        _describe(schema if table is model else definitions[table.__name__], table)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": file}


def _tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in fields_by_key(model).values():
        table = table_in(field.annotation)
        if table is not None:
            yield from _tables(table)


def _describe(schema: dict[str, Any], table: type[BaseModel]) -> None:
    """Puts the words of docs/settings.md to each key, and takes away what pydantic makes up."""
    schema.pop("title", None)
    schema["description"] = " ".join((table.__doc__ or "").split())
    documents = field_documents(table)
    for key, field in fields_by_key(table).items():
        one = _without_null(schema["properties"][key])
        if not holds_tables(field):
            one["description"] = f"{documents[key]} Expects {expectation(field)}."
        elif key in documents:
            one["description"] = documents[key]
        schema["properties"][key] = one


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: where None may stand, the key is left out, or "" is written for a plain value."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "anyOf")}
    if kept.get("default", "") is None:
        del kept["default"]
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) > 1:
        return kept | {"anyOf": choices}
    return kept | (choices[0] if choices else {})
