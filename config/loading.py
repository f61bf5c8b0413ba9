"""Files to Settings, or every mistake at once."""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.agent_settings import AgentSettings, StorageSettings
from config.conditions import Dictionary, Mistakes
from config.contradictions import contradictions
from config.effective import effective, toml_of
from config.peers_settings import PeersSettings
from config.problems import AGENT_FILE, PEERS_FILE, READING_FILE, ConfigError, Problem, why_unread
from config.readable import Readable, readable, readable_beside
from config.reading_settings import ReadingSettings
from config.settings import Settings
from config.sources import FILE_BYTES_MAX, Source, read_leniently, read_source, variable_of
from config.values import Frozen
from config.wording import (
    expectation,
    fields_by_key,
    is_list,
    is_table,
    leaf_keys,
    place_of,
    shown,
    table_in,
)

__all__ = [
    "FILES",
    "ConfigError",
    "Problem",
    "effective",
    "load",
    "load_with_origins",
    "storage_folder_of",
]

FILES: dict[str, type[Frozen]] = {
    AGENT_FILE: AgentSettings,
    PEERS_FILE: PeersSettings,
    READING_FILE: ReadingSettings,
}
"""The three files of a config folder and what each holds."""

PROBLEMS_MAX = 50
"""Mistakes of one file that are told; more than that is no typing mistake."""


Look = Callable[[Readable], Iterable[Problem]]
"""Finds what is wrong beyond the words of the files, in what could be read of them."""


def load(
    folder: Path | None,
    environment: Mapping[str, str] | None = None,
    dictionary: Dictionary | None = None,
    look: Look | None = None,
) -> Settings:
    """Reads the three files of a config folder, and the variables above them. What is not there keeps its default.

    Args:
        folder: with agent.toml, peers.toml, reading.toml; None for the defaults alone.
        environment: the variables, such as PREREAD_AGENT__LISTENER__PORT; None for those of this process.
        dictionary: gives the VR of every DICOM keyword; `agent.configuration.load` has it. Without it a rule that
            names a DICOM keyword is refused.
        look: what it finds is told with the other mistakes; `agent.configuration.load_to_serve` has one.

    Raises:
        ConfigError: with every mistake of all three files and of the variables.
    """
    return load_with_origins(folder, environment, dictionary, look)[0]


def load_with_origins(
    folder: Path | None,
    environment: Mapping[str, str] | None = None,
    dictionary: Dictionary | None = None,
    look: Look | None = None,
) -> tuple[Settings, Mapping[str, Source]]:
    """Reads the settings as `load` does; gives also, for each file, where its values come from."""
    environment = os.environ if environment is None else environment
    folder = None if folder is None else folder.absolute()
    problems = [] if folder is None else list(_folder_problems(folder))
    sources: dict[str, Source] = {}
    values: dict[str, Frozen] = {}
    found: dict[str, Any] = {}
    for file, model in FILES.items():
        source, mistakes = read_source(folder, file, model, environment)
        problems += mistakes
        if source is None:
            continue
        sources[file] = source
        read, beside, mistakes = _values(source, model, {"folder": folder, "dictionary": dictionary})
        problems += mistakes
        found |= beside
        if read is not None:
            values[file] = read
    together = (*contradictions(found), *(look(found) if look else ()))
    problems += [sources[one.file].located(one) for one in together]
    problems += _too_long(values)
    if problems:
        raise ConfigError(tuple(problems))
    agent, peers, reading = values[AGENT_FILE], values[PEERS_FILE], values[READING_FILE]
    assert isinstance(agent, AgentSettings)
    assert isinstance(peers, PeersSettings)
    assert isinstance(reading, ReadingSettings)
    return Settings(agent=agent, peers=peers, reading=reading, folder=folder), sources


def storage_folder_of(folder: Path, environment: Mapping[str, str] | None = None) -> Path | None:
    """Finds the storage folder that a config folder names, whatever else is wrong in it; None if that cannot be told.

    Args:
        environment: as of `load`.
    """
    environment = os.environ if environment is None else environment
    folder = folder.absolute()
    source, _ = read_source(folder, AGENT_FILE, AgentSettings, environment)
    table = read_leniently(folder, AGENT_FILE) if source is None else source.table
    storage = (table or {}).get("storage", {})
    named = storage.get("folder") if isinstance(storage, Mapping) else None
    named = environment.get(variable_of(AGENT_FILE, "storage.folder"), named)
    if named is None and source is None:
        return None  # a line that could not be read may have named one
    try:
        written = {} if named is None else {"folder": named}
        return StorageSettings.model_validate(written, context={"folder": folder}).folder
    except ValidationError:
        return None


def _folder_problems(folder: Path) -> Iterator[Problem]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        unread = Problem(str(folder), "", "", f"a folder that we can read ({why_unread(error)})")
        raise ConfigError((unread,)) from None
    if not any(name in FILES for name in names):
        yield Problem(str(folder), "", "", f"a folder with at least one of {', '.join(FILES)}")
    for name in names:
        if name.endswith(".toml") and name not in FILES:
            # A misspelt name would otherwise leave the defaults in force, and nobody would be told.
            yield Problem(name, "", "", f"no other TOML file than {', '.join(FILES)} here")


def _values(
    source: Source, model: type[Frozen], context: Mapping[str, Any]
) -> tuple[Frozen | None, Readable, tuple[Problem, ...]]:
    """The values of a file, None if there are mistakes in it; what of it can be read; and the mistakes."""
    # A table that is not written is validated as an empty one, so that its relative paths are resolved too.
    whole = {key: {} for key, field in fields_by_key(model).items() if is_table(field)} | dict(source.table)
    try:
        values = model.model_validate(whole, context=dict(context), by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = [detail["loc"] for detail in error.errors(include_url=False, include_input=False)]
        beside = readable_beside(source.file, model, whole, wrong, context)
        return None, beside, tuple(_bounded(source, error))
    return values, readable(source.file, values), ()


def _bounded(source: Source, error: ValidationError) -> list[Problem]:
    told = [source.located(one) for one in islice(_told(source.file, error), PROBLEMS_MAX)]
    if len(told) == PROBLEMS_MAX:
        few = f"fewer than the {PROBLEMS_MAX} mistakes so far; the rest is told when these are corrected"
        told.append(replace(told[-1], value="", expected=few))
    return told


def _too_long(values: Mapping[str, Frozen]) -> Iterator[Problem]:
    for file, one in values.items():
        # What is in force is written down, defaults and all, and read again: agent/loaded.py.
        if len(toml_of(one).encode()) > FILE_BYTES_MAX:
            most = f"settings that have at most {FILE_BYTES_MAX} bytes when their defaults are written out"
            yield Problem(file, "", "", most)


def _told(file: str, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":
            continue  # follows from another mistake, which is told
        if detail["type"] == "extra_forbidden":
            yield _unknown_key(file, detail["loc"])
        elif isinstance(within := detail.get("ctx", {}).get("error"), Mistakes):
            key = place_of(detail["loc"])
            yield from (Problem(file, key + one.key, one.value, one.expected) for one in within.mistakes)
        else:
            yield _wrong_value(file, detail)


def _wrong_value(file: str, detail: ErrorDetails) -> Problem:
    location = detail["loc"]
    key = place_of(location)
    if detail["type"] == "missing":
        return Problem(file, key, "", f"{_expected_at(FILES[file], location)}; it is missing")
    if detail["type"] == "value_error":
        return Problem(file, key, shown(detail["input"], key), str(detail["ctx"]["error"]))
    return Problem(file, key, shown(detail["input"], key), _expected_at(FILES[file], location))


def _expected_at(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Says what is expected at a place; for one element of a list, what its list expects."""
    key, *rest = location
    field = fields_by_key(model)[str(key)]
    table = table_in(field.annotation)
    names = [part for part in rest if isinstance(part, str)]
    if table is not None and names:
        return _expected_at(table, tuple(names))
    if table is not None and is_list(field):
        return "a table" if rest else f"tables, each under its own [[{key}]]"
    return expectation(field)


def _unknown_key(file: str, location: tuple[int | str, ...]) -> Problem:
    *place, last = location
    near = _nearest(file, [str(part) for part in place if isinstance(part, str)], str(last))
    meant = f"; did you mean {near}?" if near else ""
    return Problem(file, place_of(location), "", f"a known key{meant}")


def _nearest(file: str, place: list[str], key: str) -> str | None:
    """Names the setting that was probably meant: the same word elsewhere, or one spelt nearly so."""
    here = ".".join(place)
    siblings = list(fields_by_key(_table_at(FILES[file], place)))
    everywhere = [(name, full) for name, model in FILES.items() for full, _ in leaf_keys(model)]
    elsewhere = [one for one in everywhere if one[1].rpartition(".")[2] == key]
    in_this_file = [full for name, full in elsewhere if name == file]
    if in_this_file:
        return in_this_file[0]
    if elsewhere:
        return f"{elsewhere[0][1]} in {elsewhere[0][0]}"
    close = difflib.get_close_matches(key, siblings, n=1)
    if close:
        return f"{here}.{close[0]}" if here else close[0]
    words = {full.rpartition(".")[2]: (name, full) for name, full in reversed(everywhere)}
    close = difflib.get_close_matches(key, list(words), n=1)
    if not close:
        return None
    name, full = words[close[0]]
    return full if name == file else f"{full} in {name}"


def _table_at(model: type[BaseModel], place: list[str]) -> type[BaseModel]:
    for key in place:
        inner = table_in(fields_by_key(model)[key].annotation)
        assert inner is not None, f"{key} holds no table"
        model = inner
    return model
