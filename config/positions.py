"""Where in a TOML text each key is written.

`tomllib` gives values and no places. Its own judgement is used all the same: the text is cut into statements (a header,
or a key with its value, over however many lines), and each, being valid TOML by itself, is read by `tomllib` again.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from config.wording import place_of

# What may hide a bracket or a line end from a reader who only counts them, and these themselves (TOML 1.0): strings
# of the four kinds, comments, brackets, line ends. Right for valid TOML only.
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?""""{0,2}'
    r"|'''.*?''''{0,2}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}\n]",
    re.DOTALL,
)


_DEPTH_MAX = 16
"""No setting lies deeper. A key of three thousand parts is valid TOML, and as deep."""


def lines_of(text: str) -> dict[str, int]:
    """Finds the line, from 1, on which each key of a valid TOML text begins, by its place ("destination[2].port").

    Tables are there too, at the first header or key that names them; what stands inside an inline table or a list
    has the line of its key. What lies deeper than any setting is left out.
    """
    found: dict[str, int] = {}
    counts: Counter[str] = Counter()
    table: tuple[int | str, ...] = ()
    for line, statement in _statements(text):
        written = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _table(written, counts)
            paths: Iterator[tuple[int | str, ...]] = (table[: end + 1] for end in range(len(table)))
        else:
            paths = _paths(written, table)
        for path in paths:
            found.setdefault(place_of(path), line)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Cuts a valid TOML text into statements, each with its first line; comments and empty lines are some too."""
    start, line, depth = 0, 1, 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in ("[", "{")) - (token[0] in ("]", "}"))
        if token[0] == "\n" and not depth:
            yield line, text[start : token.end()]
            line += text.count("\n", start, token.end())
            start = token.end()
    yield line, text[start:]


def _table(header: Mapping[str, Any], counts: Counter[str]) -> tuple[int | str, ...]:
    """The path of the table that a header opens; `counts` says how many [[tables]] of each place there are."""
    path: tuple[int | str, ...] = ()
    inner: Any = header
    while inner and len(path) < _DEPTH_MAX:
        ((name, inner),) = inner.items()
        path += (name,)
        if isinstance(inner, list):
            counts[place_of(path)] += 1
            inner = inner[0]
        if counts[place_of(path)]:
            path += (counts[place_of(path)] - 1,)
    return path


def _paths(value: object, path: tuple[int | str, ...]) -> Iterator[tuple[int | str, ...]]:
    """Every place below a value, each table before what is in it."""
    inner: Iterator[tuple[int | str, Any]]
    if len(path) >= _DEPTH_MAX:
        return
    if isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return
    for step, one in inner:
        yield (*path, step)
        yield from _paths(one, (*path, step))
