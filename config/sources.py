"""Where settings come from: the text of a file, and the environment variables that stand above it."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.positions import lines_of
from config.problems import Problem, why_unread
from config.values import Frozen
from config.wording import around, is_text, plain_keys

FILE_BYTES_MAX = 262_144
"""A config file of that size is no config file; the commented examples have about 15,000 bytes."""

_BAD_LINES_MAX = 20

DEFAULT = "default"
"""The origin of a value that nobody has written."""


@dataclass(frozen=True)
class Source:
    """What is written for one file.

    Attributes:
        file: its name.
        table: what it says, with the variables' values in it.
        text: as it stands on the disk; "" if there is no such file.
        variables: places ("listener.port") to the environment variables that set them.
    """

    file: str
    table: Mapping[str, Any]
    text: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def lines(self) -> dict[str, int]:
        """Places to the lines that write them."""
        return lines_of(self.text)

    def origin(self, place: str) -> str:
        """Says where a value comes from: a variable's name, "agent.toml:12", or DEFAULT."""
        if place in self.variables:
            return self.variables[place]
        return f"{self.file}:{self.lines[place]}" if place in self.lines else DEFAULT

    def located(self, problem: Problem) -> Problem:
        """Adds to a mistake the line, or the variable, where what it is about is written, or should be."""
        place = problem.key
        while place:
            if place in self.variables:
                return Problem(self.variables[place], "", problem.value, problem.expected)
            if place in self.lines:
                return Problem(problem.file, problem.key, problem.value, problem.expected, self.lines[place])
            place = around(place)
        return problem


def read_source(
    folder: Path | None, file: str, model: type[Frozen], environment: Mapping[str, str]
) -> tuple[Source | None, tuple[Problem, ...]]:
    """Reads one file and the variables for it; a file that is not there, or no folder, is an empty one.

    Returns:
        what is written, None if the file cannot be read as TOML; and every mistake so far.
    """
    wanted = list(_overrides(file, model, environment))
    problems = [one for one in wanted if isinstance(one, Problem)]
    content = b"" if folder is None else _content(folder / file)
    if isinstance(content, Problem):
        return None, (content, *problems)
    table = _parse(file, content)
    if isinstance(table, Problem):
        return None, (table, *problems)
    variables = {}
    for one in wanted:
        if not isinstance(one, Problem):
            place, variable, value = one
            variables[place] = variable
            _put(table, place.split("."), value)
    return Source(file, table, content.decode("utf-8-sig"), variables), tuple(problems)


def read_leniently(folder: Path, file: str) -> Mapping[str, Any] | None:
    """Reads what a file says without the lines that are no TOML; None if it cannot be read even so."""
    content = _content(folder / file)
    lines = [] if isinstance(content, Problem) else content.splitlines(keepends=True)
    for _ in range(_BAD_LINES_MAX):
        table = _parse(file, b"".join(lines))
        if not isinstance(table, Problem):
            return table
        if table.line is None or table.line > len(lines):
            return None
        lines[table.line - 1] = b"\n"
    return None


def variable_of(file: str, place: str) -> str:
    """Names the environment variable of a setting: PREREAD_AGENT__LISTENER__PORT for listener.port of agent.toml."""
    return f"{_prefix(file)}{place.upper().replace('.', '__')}"


def without_overrides(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables but for those that set settings: for a process that is given what is in force as files."""
    return {name: value for name, value in environment.items() if not _OVERRIDE.match(name)}


_OVERRIDE = re.compile(r"PREREAD_(AGENT|PEERS|READING)__")


def _prefix(file: str) -> str:
    return f"PREREAD_{file.removesuffix('.toml').upper()}__"


def _overrides(
    file: str, model: type[BaseModel], environment: Mapping[str, str]
) -> Iterator[tuple[str, str, object] | Problem]:
    """The variables for a file, as (place, variable, value); a Problem for one that sets nothing we know."""
    places = {variable_of(file, place): (place, one) for place, one in plain_keys(model)}
    for variable in sorted(environment):
        if not variable.startswith(_prefix(file)):
            continue
        if variable in places:
            place, one = places[variable]
            yield place, variable, _value(environment[variable], one)
        else:
            close = difflib.get_close_matches(variable, places, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            yield Problem(variable, "", "", f"a setting of {file} outside its [[tables]]{meant}")


def _value(text: str, one: FieldInfo) -> object:
    """A text is taken word for word, anything else is written as in the file: 104, true, ["CR", "DX"]."""
    if is_text(one):
        return text
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except (ValueError, RecursionError):
        return text  # which no such setting takes, so that it is told what it expects
    return value


def _put(table: dict[str, Any], path: list[str], value: object) -> None:
    *outer, key = path
    for name in outer:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return  # the file is wrong here, and that is told
    table[key] = value


def _content(path: Path) -> bytes | Problem:
    """Reads a file of bounded size; one that is not there is an empty one."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return Problem(path.name, "", "", "a link to a file that exists") if path.is_symlink() else b""
    except OSError as error:
        return Problem(path.name, "", "", f"a file that we can read ({why_unread(error)})")
    if len(content) > FILE_BYTES_MAX:
        return Problem(path.name, "", "", f"a file of at most {FILE_BYTES_MAX} bytes")
    return content


def _parse(name: str, content: bytes) -> dict[str, Any] | Problem:
    """Reads TOML; gives the Problem if it is none."""
    try:
        # "-sig": editors on Windows put a byte order mark before the text.
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Problem(name, "", "", "UTF-8 text", content[: error.start].count(b"\n") + 1)
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(name, str(error), content)
    except RecursionError:
        return Problem(name, "", "", "lists and tables that are not nested hundreds deep")
    except ValueError:
        # tomllib lets through what int() says to a number of more than 4,300 digits.
        return Problem(name, "", "", "numbers with fewer digits")


def _syntax_problem(name: str, message: str, content: bytes) -> Problem:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    reason = message[: place.start()] if place else message
    line, column = place.groups() if place else (None, None)
    where = f"column {column}" if column else "end of file"
    wrong = f"{reason[:1].lower()}{reason[1:]}, {where}"
    return Problem(name, "", "", f"valid TOML ({wrong})", int(line or content.count(b"\n") + 1))
