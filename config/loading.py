"""Files to Settings, or every mistake at once."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.agent_settings import AgentSettings
from config.conditions import Dictionary, Mistakes
from config.contradictions import (
    AGENT_FILE,
    PEERS_FILE,
    READING_FILE,
    agent_contradictions,
    contradictions_between,
    contradictions_of_rules,
    contradictions_of_waiting,
    peers_contradictions,
    reading_contradictions,
)
from config.effective import effective
from config.peers_settings import PeersSettings
from config.problems import ConfigError, Problem
from config.reading_settings import ReadingSettings
from config.settings import Settings
from config.values import Frozen
from config.wording import expectation, fields_by_key, is_list, is_table, leaf_keys, shown, table_in

__all__ = ["FILES", "ConfigError", "Problem", "effective", "load"]

FILES: dict[str, type[Frozen]] = {
    AGENT_FILE: AgentSettings,
    PEERS_FILE: PeersSettings,
    READING_FILE: ReadingSettings,
}
"""The three files of a config folder and what each holds."""

FILE_BYTES_MAX = 262_144
"""A config file of that size is no config file; the commented examples have about 5,000 bytes."""


def load(folder: Path | None, *, dictionary: Dictionary | None = None) -> Settings:
    """Reads the three files of a config folder; a file that is not there leaves its defaults.

    Args:
        folder: with agent.toml, peers.toml, reading.toml; None for the defaults alone.
        dictionary: gives the VR of every DICOM keyword, `agent.dicom.attributes.vr_by_keyword`. Without it a rule
            that names a DICOM keyword is refused.

    Raises:
        ConfigError: with every mistake of all three files.
    """
    if folder is None:
        return Settings()
    folder = folder.absolute()
    problems = list(_folder_problems(folder))
    if not folder.is_dir():
        raise ConfigError(tuple(problems))
    read = {name: _read(folder, name, problems, dictionary) for name in FILES}
    agent, peers, reading = read[AGENT_FILE], read[PEERS_FILE], read[READING_FILE]
    if isinstance(agent, AgentSettings):
        problems += agent_contradictions(agent)
    if isinstance(peers, PeersSettings):
        problems += peers_contradictions(peers)
    if isinstance(reading, ReadingSettings):
        problems += reading_contradictions(reading)
    if isinstance(agent, AgentSettings) and isinstance(peers, PeersSettings):
        problems += contradictions_between(agent, peers)
    if isinstance(agent, AgentSettings) and isinstance(reading, ReadingSettings):
        problems += contradictions_of_waiting(agent, reading)
    if isinstance(peers, PeersSettings) and isinstance(reading, ReadingSettings):
        problems += contradictions_of_rules(peers, reading)
    if problems:
        raise ConfigError(tuple(problems))
    assert isinstance(agent, AgentSettings)
    assert isinstance(peers, PeersSettings)
    assert isinstance(reading, ReadingSettings)
    return Settings(agent=agent, peers=peers, reading=reading, folder=folder)


def _folder_problems(folder: Path) -> Iterator[Problem]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        yield Problem(str(folder), "", "", f"a folder that we can read ({error.strerror})")
        return
    if not any(name in FILES for name in names):
        yield Problem(str(folder), "", "", f"a folder with at least one of {', '.join(FILES)}")
    for name in names:
        if name.endswith(".toml") and name not in FILES:
            # A misspelt name would otherwise leave the defaults in force, and nobody would be told.
            yield Problem(name, "", "", f"no other TOML file than {', '.join(FILES)} here")


def _read(folder: Path, name: str, problems: list[Problem], dictionary: Dictionary | None) -> Frozen | None:
    """Reads one file; adds to `problems` and gives None if there are any."""
    content = _content(folder / name)
    table = _parse(name, content) if isinstance(content, bytes) else content
    if isinstance(table, Problem):
        problems.append(table)
        return None
    model = FILES[name]
    # A table that is not written is validated as an empty one, so that its relative paths are resolved too.
    whole = {key: {} for key, field in fields_by_key(model).items() if is_table(field)} | table
    try:
        context = {"folder": folder, "dictionary": dictionary}
        return model.model_validate(whole, context=context, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += _told(name, error)
        return None


def _content(path: Path) -> bytes | Problem:
    """Reads a file of bounded size; one that is not there is an empty one."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return Problem(path.name, "", "", "a link to a file that exists") if path.is_symlink() else b""
    except OSError as error:
        return Problem(path.name, "", "", f"a file that we can read ({error.strerror})")
    if len(content) > FILE_BYTES_MAX:
        return Problem(path.name, "", "", f"a file of at most {FILE_BYTES_MAX} bytes")
    return content


def _parse(name: str, content: bytes) -> dict[str, Any] | Problem:
    """Reads TOML; gives the Problem if it is none."""
    try:
        # "-sig": editors on Windows put a byte order mark before the text.
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return Problem(name, f"line {line}", "", "UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(name, str(error), content)
    except RecursionError:
        return Problem(name, "", "", "lists and tables that are not nested hundreds deep")
    except ValueError:
        # tomllib lets through what int() says to a number of more than 4,300 digits.
        return Problem(name, "", "", "numbers with fewer digits")


def _syntax_problem(name: str, message: str, content: bytes) -> Problem:
    place = re.search(r" \(at (line \d+, column \d+|end of document)\)$", message)
    reason = message[: place.start()] if place else message
    where = place.group(1) if place else ""
    if where == "end of document":
        where = f"line {content.count(bytes([10])) + 1}"
    return Problem(name, where, "", f"valid TOML ({reason[:1].lower()}{reason[1:]})")


def _told(file: str, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":
            continue  # follows from another mistake, which is told
        if detail["type"] == "extra_forbidden":
            yield _unknown_key(file, detail["loc"])
        elif isinstance(within := detail.get("ctx", {}).get("error"), Mistakes):
            key = _key(detail["loc"])
            yield from (Problem(file, key + one.key, one.value, one.expected) for one in within.mistakes)
        else:
            yield _wrong_value(file, detail)


def _wrong_value(file: str, detail: ErrorDetails) -> Problem:
    location = detail["loc"]
    key = _key(location)
    if detail["type"] == "missing":
        return Problem(file, key, "", f"{_expected_at(FILES[file], location)}; it is missing")
    if detail["type"] == "value_error":
        return Problem(file, key, shown(detail["input"], key), str(detail["ctx"]["error"]))
    return Problem(file, key, shown(detail["input"], key), _expected_at(FILES[file], location))


def _key(location: tuple[int | str, ...]) -> str:
    parts = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


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
    return Problem(file, _key(location), "", f"a known key{meant}")


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
