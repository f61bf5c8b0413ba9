"""Every command in a block of the README and of docs/ is run, beside a service that has read three studies."""

import logging
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from typer.testing import CliRunner

from agent.cli import app
from agent.demo.pacs import MiniPacs
from inference.published import DEMO_FOLDER
from tests.builders import a_radiograph, having
from tests.docs.test_docs import PAGES, ROOT
from tests.end_to_end.conftest import Running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings(
        "ignore:unclosed file:ResourceWarning"
    ),  # the log's, which ends with the process
]

RUN_ELSEWHERE = {
    ("serve",): "the fixture runs it",
    ("config", "init"): "tests/agent/test_cli_config.py answers its questions",
    ("models", "pull"): "tests/agent/test_models.py has a hub for it",
    ("calibrate",): "tests/agent/test_calibrating.py has the table of truth",
}
FOLLOWED_ELSEWHERE = (
    "first-draft.md",
    "rules.md",
)  # by test_first_draft.py and test_rules_page.py, to the letter

REPORTS = (
    "patient_id,issuer,study_date,accession_number,text,status\nA1,,20260301,F1,FINDINGS: Clear.,final\n"
)


@dataclass
class Site:
    """A running service, and what stands where the pages say FOLDER, STUDY and NAME."""

    preread: Running
    folder: Path
    studies: dict[str, str] = field(default_factory=dict)

    def word(self, word: str, command: tuple[str, ...]) -> str:
        """A word of a page, as it is called here."""
        if word == "STUDY":
            return self.studies.get(command[0], self.studies["any"])
        backups = sorted((self.folder / "backup").glob("*")) if word.startswith("/backup/") else []
        places = {
            "/etc/preread": self.preread.folder / "config",
            "site": self.preread.folder / "config",
            "/etc/preread.new": self.folder / "config.new",
            "/backup": self.folder / "backup",
            "/var/lib/preread-restored": self.folder / "restored",
            "/tmp/fault-1": self.folder / "fault-1",
            "F": self.folder / "fault-2",
            "FOLDER": self.folder / {"backup": "backup", "reports": "reports"}.get(command[0], "films"),
            "/srv/preread/m4cxr": DEMO_FOLDER,
            "NAME": "pacs",
            "TEXT": "wrong patient",
            "11112": self.preread.port,
        }
        return str(backups[-1] if backups else places.get(word, word))

    def words(self, line: str) -> list[str]:
        words = shlex.split(line)
        here = [self.word(word, tuple(words[:2])) for word in words]
        if "--config" not in words and "--config" in options_of(words):
            here += ["--config", str(self.preread.folder / "config")]
        return here


def options_of(words: list[str]) -> set[str]:
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break
        command = command.commands[word]
    return {name for parameter in command.params for name in parameter.opts}


def is_run_elsewhere(line: str) -> bool:
    words = tuple(shlex.split(line))
    return any(words[: len(start)] == start for start in RUN_ELSEWHERE)


def shown() -> Iterator[tuple[str, str]]:
    """(page, command) of each block, in the order of the pages; what ends a study comes last."""
    found = []
    for page in PAGES:
        if page.name in FOLLOWED_ELSEWHERE:
            continue
        blocks = "\n".join(re.findall(r"^```.*?^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL))
        lines = re.findall(r"^preread ([a-z-][^#&|>\n]*)", blocks, flags=re.MULTILINE)
        found += [(str(page.relative_to(ROOT)), line.strip()) for line in lines]
    yield from sorted(found, key=lambda one: one[1].startswith(("withdraw", "delete")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("commands")
    pacs = MiniPacs("TESTPACS", folder / "pacs")
    second = "[second_engine]\nthreads = 1\n"
    preread = Running(
        folder / "preread", pacs.port, settle_seconds=0.3, outputs=("report_sr",), more_of_reading=second
    )
    preread.folder.mkdir()
    preread.start()
    site = Site(preread, folder)
    try:
        for number, name in enumerate(("any", "withdraw", "delete")):
            image = a_radiograph(patient_id=f"DOC{number}", rows=300, columns=280)
            image = having(image, BurnedInAnnotation="NO")
            pacs.send([image], "127.0.0.1", preread.port, "PREREAD")
            site.studies[name] = str(image.StudyInstanceUID)
            preread.wait_for_jobs(site.studies[name])
        shutil.copytree(preread.folder / "config", folder / "config.new")
        (folder / "reports").mkdir()
        (folder / "reports" / "old.csv").write_text(REPORTS)
        yield site
    finally:
        preread.stop()
        pacs.close()


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Commands set up logging and warnings for a process of their own; here they share that of other tests."""
    names = ("pynetdicom", "pydicom", "apscheduler", "apscheduler.executors")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        yield
    structlog.reset_defaults()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("page", "line"), [(page, line) for page, line in shown() if not is_run_elsewhere(line)]
)
def test_a_command_that_a_page_shows_does_what_it_is_told(site: Site, page: str, line: str):
    asked = (
        site.studies["delete"][-4:] if line.startswith("delete") else None
    )  # it wants the UID's last characters

    done = CliRunner().invoke(app, site.words(line), input=asked)

    assert done.exit_code == 0, f"{page}: {done.output}"


def test_what_is_run_elsewhere_is_shown_somewhere():
    lines = [tuple(shlex.split(line)) for _, line in shown()]

    for start, where in RUN_ELSEWHERE.items():
        assert any(line[: len(start)] == start for line in lines), start
        assert where.startswith("the fixture") or (ROOT / where.split()[0]).exists()
