"""The words are true: what the docs say of the code is compared with the code."""

import ast
import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from pynetdicom.sop_class import SOPClass

from agent.admission import SOP_CLASSES, TRANSFER_SYNTAXES
from agent.cli import app
from agent.demo.studies import demo_patient
from agent.dicom.uids import IMPLEMENTATION_CLASS_UID
from agent.outputs import OUTPUTS
from agent.peers import querying, retrieving
from agent.peers.storing import StoreKind, judge_status
from config.peers_settings import PROFILES
from config.settings import Settings
from storage.jobs import NEXT
from tests.docs import attributes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_picture_of_the_stages_is_the_table_in_the_code():
    page = (ROOT / "docs/ARCHITECTURE.md").read_text()

    drawn = {
        match[1]: set(match[2].split())
        for match in re.finditer(r"^(\w+) -> ([a-z ]+)$", page, flags=re.MULTILINE)
    }

    assert drawn == {stage.value: {after.value for after in nexts} for stage, nexts in NEXT.items() if nexts}


def test_the_first_draft_says_which_synthetic_patient_is_read_at_once_and_which_one_waits():
    page = (ROOT / "docs/first-draft.md").read_text()
    has = {("PA",): "has a frontal view alone", ("PA", "LATERAL"): "has a frontal and a lateral view"}

    patients = [demo_patient(position, datetime(2026, 3, 2), rows=8, columns=8) for position in range(2)]

    assert Settings().reading.study.complete_when_views == ("frontal", "lateral")
    assert all(f"{one.patient_id} {has[one.current.views]}" in page for one in patients)


def test_the_table_of_profiles_is_that_of_the_settings():
    page = (ROOT / "docs/conformance.md").read_text()
    table = page.split("| `profile` | forms |\n|---|---|\n")[1].split("\n\n")[0]

    written = dict(re.findall(r"^\| (\w+) \| (?:.*: )?(.+) \|$", table, flags=re.MULTILINE))

    defaults = Settings().reading.outputs.defaults
    assert written == {name: ", ".join(kinds or defaults) for name, kinds in PROFILES.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())

    missing = [target for target in targets if not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page: Path):
    makefile = (ROOT / "Makefile").read_text()

    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE))

    assert {
        target for target in named if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    } == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_exists_with_its_options(page: Path):
    text = page.read_text()
    code = "\n".join(re.findall(r"^```.*?^```$", text, flags=re.MULTILINE | re.DOTALL))
    shown = re.findall(r"^preread ([a-z-][^#&|>\n]*)", code, flags=re.MULTILINE)
    shown += re.findall(r"`preread ([a-z-][^`\n]*)`", text)

    unknown = [line for line in shown if not _is_a_command(shlex.split(line.partition("  ")[0]))]

    assert unknown == []


def _is_a_command(words: list[str]) -> bool:
    command: Any = typer.main.get_command(app)
    while words and isinstance(command, click.Group | typer.core.TyperGroup):
        if words[0] not in command.commands:
            return words[0] == "--help"
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= options


def test_no_page_names_a_path_outside_the_project():
    for page in PAGES:
        assert "/work/" not in page.read_text()


def _table_uids(heading: str) -> dict[str, str]:
    """UID to first cell, for each row of the table under a heading of the conformance statement."""
    page = (ROOT / "docs/conformance.md").read_text()
    section = page.split(heading, 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line
    ]
    return {
        next(c for c in row if c.startswith("1.2.840")): row[0]
        for row in rows
        if any(c.startswith("1.2.840") for c in row)
    }


def test_the_conformance_statement_lists_the_sop_classes_that_are_accepted():
    accepted = {uid: f"{name} Storage" for uid, (name, _) in SOP_CLASSES.items()}

    assert _table_uids("### 6.2 SOP Classes accepted") == accepted


def test_the_conformance_statement_lists_the_transfer_syntaxes_that_are_accepted():
    assert _table_uids("### 6.3 Transfer syntaxes accepted") == TRANSFER_SYNTAXES


def test_the_conformance_statement_lists_what_archives_and_worklists_are_asked_with():
    used = {
        value
        for module in (querying, retrieving)
        for value in vars(module).values()
        if isinstance(value, SOPClass)
    }

    assert set(_table_uids("### 6.5 SOP Classes asked with")) == used


def test_the_conformance_statement_says_what_becomes_of_an_object_at_each_status_of_a_destination():
    page = (ROOT / "docs/conformance.md").read_text()
    table = page.split("| status of the answer | what it means for the object |\n|---|---|\n")[1].split(
        "\n\n"
    )[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    words = {
        StoreKind.TAKEN: "stored",
        StoreKind.REFUSED_FOR_NOW: "sent again",
        StoreKind.CLASS_REFUSED: "sent in another form",
        StoreKind.REFUSED_FOR_GOOD: "final",
    }

    told = {
        code: meaning.strip() for codes, meaning in rows for code in re.findall(r"\b[0-9A-Fx]{4}\b", codes)
    }

    for status in range(0x10000):
        code = f"{status:04X}"
        meaning = (
            told.get(code) or told.get(f"{code[0]}xxx") or told.get(f"{code[:2]}xx") or rows[-1][1].strip()
        )
        assert meaning.startswith(words[judge_status(status).kind]), code


def test_the_conformance_statement_lists_every_kind_of_output():
    assert set(_table_uids("### 6.4 SOP Classes of our objects").values()) == set(OUTPUTS)


def test_the_conformance_statement_has_the_attributes_of_our_objects_as_they_are_made():
    page = (ROOT / "docs/conformance.md").read_text()

    assert attributes.table() in page, "python -m tests.docs.attributes prints the table as it should be"


def test_the_conformance_statement_names_this_implementation():
    page = (ROOT / "docs/conformance.md").read_text()

    assert f"Implementation Class UID {IMPLEMENTATION_CLASS_UID}," in page
    assert f"version {version('preread')}," in page


def test_every_warning_and_error_on_the_log_has_its_cure():
    page = (ROOT / "docs/troubleshooting.md").read_text()

    told = set(re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE))

    assert told == set(_logged("warning", "error", "exception"))


def _logged(*levels: str) -> Iterator[str]:
    """The events that the code logs at these levels."""
    for package in ("agent", "config", "inference", "storage"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id="log"), attr=level),
                        args=[ast.Constant(value=str(event)), *_],
                    ) if level in levels:
                        yield event
