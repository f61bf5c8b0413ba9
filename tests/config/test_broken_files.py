"""Two hundred config folders, each broken in its own way: each is refused in words, none with a traceback."""

import random
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.documentation import example_file
from config.loading import FILES, ConfigError, Problem, load
from config.wording import leaf_keys

WRONG = [
    "true",
    "-1",
    "1e300",
    "0x" + "f" * 6000,
    '"\\u0000"',
    '""',
    "1979-05-27",
    "[[1]]",
    "{ a = 1 }",
    "[{}]",
    "nan",
]
"""Values of every TOML type that most settings refuse; some of them fit some settings."""


def lines_of(file: str) -> list[str]:
    return [line for line in example_file(file).splitlines() if line and not line.startswith("#")]


def a_wrong_value(lines: list[str], rng: random.Random) -> list[str]:
    at = rng.choice([number for number, line in enumerate(lines) if " = " in line])
    return [*lines[:at], f"{lines[at].partition(' = ')[0]} = {rng.choice(WRONG)}", *lines[at + 1 :]]


def a_misspelt_key(lines: list[str], rng: random.Random) -> list[str]:
    at = rng.choice([number for number, line in enumerate(lines) if " = " in line])
    key, _, value = lines[at].partition(" = ")
    return [*lines[:at], f"{key}{rng.choice('xyz')} = {value}", *lines[at + 1 :]]


def a_key_twice(lines: list[str], rng: random.Random) -> list[str]:
    line = rng.choice([line for line in lines if " = " in line])
    at = lines.index(line)
    return [*lines[:at], line, *lines[at:]]


def a_line_cut_off(lines: list[str], rng: random.Random) -> list[str]:
    at = rng.choice([number for number, line in enumerate(lines) if " = " in line])
    return [*lines[:at], lines[at].partition(" = ")[0] + " =", *lines[at + 1 :]]


def a_foreign_character(lines: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(lines))
    return [*lines[:at], rng.choice("\x00\x07{}=,§") + lines[at], *lines[at + 1 :]]


def a_table_of_another_kind(lines: list[str], rng: random.Random) -> list[str]:
    headers = [number for number, line in enumerate(lines) if line.startswith("[")]
    at = rng.choice(headers)
    name = lines[at].strip("[]")
    other = f"[{name}]" if lines[at].startswith("[[") else f"[[{name}]]"
    return [*lines[:at], other, *lines[at + 1 :]]


WAYS = [
    a_wrong_value,
    a_misspelt_key,
    a_key_twice,
    a_line_cut_off,
    a_foreign_character,
    a_table_of_another_kind,
]


def problems_in(folder: Path) -> tuple[Problem, ...]:
    try:
        load(folder)
    except ConfigError as error:
        return error.problems
    return ()


def test_two_hundred_broken_files_are_each_refused_with_file_key_and_expectation(tmp_path):
    refused = 0
    for seed in range(1000):
        rng = random.Random(seed)
        file = rng.choice(list(FILES))
        broken = WAYS[seed % len(WAYS)](lines_of(file), rng)
        (tmp_path / file).write_text("\n".join(broken) + "\n", encoding="utf-8")
        problems = problems_in(tmp_path)
        (tmp_path / file).unlink()
        refused += bool(problems)  # now and then the other value fits, and nothing is wrong
        for problem in problems:
            assert problem.file in FILES
            assert problem.key, str(problem)
            assert 3 < len(problem.expected) < 300  # "en"
            assert len(str(problem)) < 500
        if refused == 200:
            return
    pytest.fail(f"only {refused} of the planted mistakes were found")


@pytest.mark.parametrize("file", FILES)
def test_each_setting_refuses_a_value_of_another_type_under_its_own_name(tmp_path, file):
    for key, _ in leaf_keys(FILES[file]):
        text = "\n".join(lines_of(file))
        table, _, name = key.rpartition(".")
        raw = tomllib.loads(text)
        place = raw
        for part in table.split(".") if table else []:
            place = place.setdefault(part, {})
            place = place[0] if isinstance(place, list) else place
        place[name] = 1979.5j
        with pytest.raises(ValueError, match=f"{name}"):
            FILES[file].model_validate(raw, by_alias=True, by_name=False)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "ignore")


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_in_any_file_are_settings_or_problems(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "agent.toml").write_bytes(content)

    assert all(str(problem).startswith("agent.toml: ") for problem in problems_in(folder))
