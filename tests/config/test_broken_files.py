"""Two hundred config folders, each broken in its own way: each is refused in words, none with a traceback."""

import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.documentation import example_file
from config.loading import FILES, ConfigError, Problem, load
from config.sources import FILE_BYTES_MAX
from config.wording import around, leaf_keys

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


def a_missing_quote(lines: list[str], rng: random.Random) -> list[str]:
    at = rng.choice([number for number, line in enumerate(lines) if line.endswith('"')])
    return [*lines[:at], lines[at].removesuffix('"'), *lines[at + 1 :]]


def a_table_twice(lines: list[str], rng: random.Random) -> list[str]:
    """The whole file again: [tables] may not come twice, nor the names of [[tables]]."""
    header = next(number for number, line in enumerate(lines) if line.startswith("["))
    return [*lines, *lines[header:]]


A_DESTINATION = ["[[destination]]", 'name = "a"', 'ae_title = "A"', 'host = "::1"', "port = 104"]
CONTRADICTIONS = {
    "[listener]": ["[hl7]", 'host = "0.0.0.0"'],
    "[worker]": ["[worker]", "retry_seconds_min = 9", "retry_seconds_max = 3"],
    "[[sender]]": ["accept_any_sender = false"],
    "[[issuer]]": A_DESTINATION * 2,
    "[[destination]]": [*A_DESTINATION[:-1], "port = 11112"],
    "[priors]": ["[priors]", "wait_seconds = 600.0"],
    "[engine]": ["[engine]", 'model_folder = "weights"'],
}
"""Settings that are right one by one and wrong together; each under a header of the file that it belongs in."""


def a_contradiction(lines: list[str], rng: random.Random) -> list[str]:
    return CONTRADICTIONS[rng.choice([line for line in lines if line in CONTRADICTIONS])]


def garbage(lines: list[str], rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 3000))


def another_encoding(lines: list[str], rng: random.Random) -> bytes:
    """UTF-16 has its byte order mark; Latin-1 and Shift-JIS fail at the first letter that is not ASCII."""
    words = 'institution_name = "Universitätsklinik 大学病院"'
    encoding = rng.choice(["utf-16", "utf-16-be", "utf-32", "latin-1", "shift-jis"])
    return "\n".join([words, *lines]).encode(encoding, "ignore")


def a_misplaced_mark(lines: list[str], rng: random.Random) -> list[str]:
    """One byte order mark is what editors write; a second, or one inside, is no TOML."""
    at = rng.randrange(1, len(lines))
    return ["\ufeff" * 2 + lines[0]] if rng.random() < 0.5 else [*lines[:at], "\ufeff" + lines[at]]


def a_huge_file(lines: list[str], rng: random.Random) -> list[str]:
    too_long, too_many = "# " + "x" * 300_000, "\n".join(f"key{number} = 1" for number in range(2000))
    return [rng.choice([too_long, too_many]), *lines]


def a_deep_value(lines: list[str], rng: random.Random) -> list[str]:
    depth = rng.randrange(200, 3000)
    opening, closing = rng.choice([("[", "]"), ("{a=", "}")])
    return [f"deep = {opening * depth}1{closing * depth}", *lines]


Way = Callable[[list[str], random.Random], list[str] | bytes]
WAYS: list[Way] = [
    a_wrong_value,
    a_misspelt_key,
    a_key_twice,
    a_line_cut_off,
    a_foreign_character,
    a_table_of_another_kind,
    a_missing_quote,
    a_table_twice,
    a_contradiction,
    garbage,
    another_encoding,
    a_misplaced_mark,
    a_huge_file,
    a_deep_value,
]


def problems_in(folder: Path) -> tuple[Problem, ...]:
    try:
        load(folder)
    except ConfigError as error:
        return error.problems
    return ()


def broken(seed: int) -> tuple[str, bytes]:
    """A file that may be wrong in one way; which file, where and how comes from the seed."""
    rng = random.Random(seed)
    file = rng.choice(list(FILES))
    made = WAYS[seed % len(WAYS)](lines_of(file), rng)
    return file, made if isinstance(made, bytes) else ("\n".join(made) + "\n").encode()


def parses(content: bytes) -> bool:
    try:
        tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        return False
    return True


def is_told_in_full(problem: Problem, content: bytes) -> bool:
    """File, key (as far as there are keys), the line that writes it, and what is expected."""
    if problem.line is None:
        has_place = not parses(content) or bool(problem.key) or len(content) > FILE_BYTES_MAX
    else:
        line = content.decode("utf-8-sig", "replace").splitlines()[problem.line - 1]
        name = around(problem.key) or problem.key
        has_place = not problem.key or any(
            word in line for word in re.findall(r"\w+", f"{name} {problem.key}")
        )
    return (
        problem.file in FILES and has_place and 4 <= len(problem.expected) < 300 and len(str(problem)) < 500
    )


def test_two_hundred_broken_files_are_each_refused_with_file_key_line_and_expectation(tmp_path):
    refused: Counter[str] = Counter()
    for seed in range(1000):
        file, content = broken(seed)
        (tmp_path / file).write_bytes(content)
        problems = problems_in(tmp_path)
        (tmp_path / file).unlink()
        assert [str(one) for one in problems if not is_told_in_full(one, content)][:3] == [], seed
        refused[WAYS[seed % len(WAYS)].__name__] += bool(problems)  # now and then another value fits
        if refused.total() == 200:
            break

    assert refused.total() == 200
    assert min(refused[way.__name__] for way in WAYS) >= 10


@pytest.mark.parametrize("file", FILES)
def test_each_setting_refuses_a_value_of_another_type_under_its_own_name(tmp_path, file):
    for key, _ in leaf_keys(FILES[file]):
        # With the commented-out tables too: a key is looked for in a table of the kind that it belongs to.
        text = re.sub(r"^#(?=[\[\w])", "", example_file(file), flags=re.MULTILINE)
        table, _, name = key.rpartition(".")
        raw = tomllib.loads(text)
        place = raw
        for part in table.split(".") if table else []:
            place = place[part]
            place = place[0] if isinstance(place, list) else place
        place[name] = 1979.5j
        with pytest.raises(ValueError, match=f"{name}"):
            FILES[file].model_validate(raw, by_alias=True, by_name=False)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "ignore")


@pytest.mark.parametrize(
    "deep",
    [
        "[[archive]]\nnama" + ".a" * 3_000 + " = 1\n",
        "[nama" + ".a" * 3_000 + "]\n",
        "nama = " + "[" * 200 + "]" * 200 + "\n",
    ],
    ids=["key", "header", "list"],
)
def test_what_lies_deeper_than_any_setting_is_refused_by_its_outermost_name(tmp_path, deep):
    (tmp_path / "peers.toml").write_text(deep)

    with pytest.raises(ConfigError) as refused:
        load(tmp_path, {})

    assert any("nama" in str(problem) for problem in refused.value.problems)


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_in_any_file_are_settings_or_problems(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "agent.toml").write_bytes(content)

    assert all(problem.file == "agent.toml" and problem.expected for problem in problems_in(folder))
