"""Each answer in the threat model is shown by a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/threats.md").read_text().splitlines()
    if line.startswith("|") and not re.match(r"\|(---|\s*threat\s)", line)
]


def test_each_threat_has_an_answer_and_a_test():
    assert len(ROWS) > 25
    assert [row for row in ROWS if len(row) != 3 or not all(row)] == []
    assert [row[2] for row in ROWS if not re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", row[2])] == []


def test_every_test_that_the_threat_model_names_exists():
    places = [row[2].strip("`").split("::") for row in ROWS]

    missing = [
        f"{file}::{name}"
        for file, name in places
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]

    assert missing == []
