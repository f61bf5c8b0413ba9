"""What the doctor says: one line for each thing looked at. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should look at it before it does not."""
    PROBLEM = "problem"
    """preread does not work, or not safely, until somebody does what the line says."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at. `text` says what was found and, unless it is ok, what to do; no patient is in it."""

    verdict: Verdict
    area: str
    text: str


def as_text(lines: Sequence[Line]) -> str:
    """Writes the lines for a person, and at the end how many are not ok."""
    words = [f"{line.verdict.upper() if line.verdict is not Verdict.OK else 'ok':8}" for line in lines]
    told = [f"{word}{line.area}: {line.text}" for word, line in zip(words, lines, strict=True)]
    problems, warnings = (count(lines, verdict) for verdict in (Verdict.PROBLEM, Verdict.WARNING))
    return "\n".join([*told, f"{problems} problems, {warnings} warnings, {len(lines)} things looked at"])


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Gives the lines for programs."""
    return [asdict(line) for line in lines]


def count(lines: Sequence[Line], verdict: Verdict) -> int:
    """Says how many lines have a verdict."""
    return sum(line.verdict is verdict for line in lines)
