"""A mistake in the settings, told so that the administrator can put it right without asking anybody."""

import os
import pwd
from dataclasses import dataclass

AGENT_FILE, PEERS_FILE, READING_FILE = "agent.toml", "peers.toml", "reading.toml"
"""The three files of a config folder."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        file: name of the file inside the config folder, the folder itself, or an environment variable.
        key: "listener.port", "destination[2].host" (the first is 1), or "" for all of it.
        value: what is written there, short and without secrets; "" if nothing is.
        expected: what should be there, as the end of "expected ...".
        line: where in the file, from 1: the key, or the table in which it is missing; None if there is no such line.
    """

    file: str
    key: str
    value: str
    expected: str
    line: int | None = None

    def __str__(self) -> str:
        file = self.file if self.line is None else f"{self.file}:{self.line}"
        place = f"{file}: {self.key}" if self.key else file
        return f"{place}{f' = {self.value}' if self.value else ''}: expected {self.expected}"


class ConfigError(Exception):
    """The settings cannot be used.

    Attributes:
        problems: every mistake that was found, in the order of the files.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def why_unread(error: OSError) -> str:
    """Says why a file or folder cannot be read and, of a permission, who has none."""
    why = error.strerror or "no reason given"
    return f"{why} for user {_own_name()}" if isinstance(error, PermissionError) else why


def _own_name() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container may run as a number that has no name
        return str(number)
