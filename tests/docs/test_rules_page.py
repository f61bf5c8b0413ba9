"""Every example of docs/rules.md is loaded, and every command in it says what the page says."""

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import clock
from agent.cli import app
from config.conditions import FACTS
from tests.builders import a_code, a_radiograph, having, write

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

PEERS = """\
[[destination]]
name = "pacs"
ae_title = "PACS"
host = "10.1.2.3"
port = 104

[[destination]]
name = "research"
ae_title = "RESEARCH"
host = "10.1.2.4"
port = 104
outputs = ["report_sr"]
"""

FILES = {
    "chest.dcm": a_radiograph(study_uid="2.25.1"),
    "child.dcm": a_radiograph(study_uid="2.25.1", birth_date="20200101"),
    "bedside.dcm": having(a_radiograph(study_uid="2.25.1", view="AP"), StationName="ICU-2"),
    "oddly-named.dcm": having(
        a_radiograph(study_uid="2.25.1", body_part="TRUNK"),
        StationName="ROOM 4",
        ProcedureCodeSequence=[a_code("36643-5", "LN", "XR Chest 2 Views")],
    ),
}


def examples() -> Iterator[tuple[str, str]]:
    """Each toml block of the page, and each command after it with what it says."""
    rules = '[[rule]]\nname = "misspelt"\nwhen = { Modalty = "DX" }\n'
    for kind, text in re.findall(r"^```(toml|console)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        if kind == "toml":
            rules = text
        else:
            yield from (
                (rules, command) for command in re.split(r"^\$ preread ", text, flags=re.MULTILINE)[1:]
            )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine_zone: Callable[[str], None]) -> Path:
    """A folder with the files of the page, where it is noon."""
    for name, dataset in FILES.items():
        write(dataset, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clock, "system_clock", lambda: NOON)
    machine_zone("UTC")
    return tmp_path


@pytest.mark.parametrize(("rules", "command"), list(examples()))
def test_a_command_of_the_page_says_what_the_page_says(site: Path, rules: str, command: str):
    line, _, said = command.partition("\n")
    folder = site / "misspelt"
    folder.mkdir()
    (folder / "reading.toml").write_text(rules)
    (folder / "peers.toml").write_text(PEERS)
    (folder / "agent.toml").write_text('[device]\nalso_called = ["PREREAD_TRIAL"]\n')

    words = shlex.split(line)
    result = CliRunner().invoke(app, words if "--config" in words else [*words, "--config", str(folder)])

    assert result.output == said


def test_the_page_has_its_examples():
    assert len(list(examples())) == PAGE.count("\n$ preread ") >= 8


def test_every_fact_is_on_the_page_with_its_meaning_and_values():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, flags=re.MULTILINE))

    for name, fact in FACTS.items():
        assert rows[name].startswith(fact.meaning)
        assert set(fact.words) <= set(re.findall(r"\w+", rows[name]))
    assert rows.keys() == FACTS.keys()
