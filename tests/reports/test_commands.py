"""What the administrator types about outside reports, and what she is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.store import open_store
from config.loading import load
from tests.hl7.builders import an_obx, an_oru

NAMES_AND_WORDS = ("DOE", "JANE", "A1^", "Clear", "19500101")


def preread(folder: Path, *arguments: str | Path) -> tuple[int, str]:
    """Runs `preread reports` as a process of its own, with a store in `folder`."""
    (folder / "agent.toml").write_text('[storage]\nfolder = "data"\n')
    open_store(load(folder)).database.close()
    command = [sys.executable, "-m", "agent", "reports", *map(str, arguments), "--config", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert not [word for word in NAMES_AND_WORDS if word in said], said
    return done.returncode, done.stdout


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """A good message, and one that does not say what it is a report of."""
    path = tmp_path / "engine.log"
    path.write_text(an_oru() + an_oru(an_obx("Clear too."), filler=""), newline="")
    return path


@pytest.mark.slow
def test_import_says_what_was_taken_and_what_was_not(tmp_path: Path, log_file: Path):
    code, said = preread(tmp_path, "import", log_file)

    assert code == 1
    assert "1 files, 2 messages" in said
    assert "1 report versions in them, 1 with findings or impression set apart" in said
    assert "engine.log 2: OBR-3" in said
    assert "hl7 final of 20260301100000, order F100, from RIS CLINIC MSG1" in preread(tmp_path, "list")[1]


@pytest.mark.slow
def test_a_dry_run_leaves_nothing_behind(tmp_path: Path, log_file: Path):
    code, said = preread(tmp_path, "import", log_file, "--dry-run")

    assert (code, "nothing was stored" in said) == (1, True)
    assert preread(tmp_path, "list")[1] == "no reports\n"
    assert preread(tmp_path, "quarantine")[1] == "nothing in quarantine\n"


@pytest.mark.slow
def test_what_is_in_quarantine_is_shown_and_replayed(tmp_path: Path, log_file: Path):
    preread(tmp_path, "import", log_file)

    assert "1 times" in preread(tmp_path, "quarantine")[1]
    code, said = preread(tmp_path, "replay")

    assert code == 1
    assert said.startswith("message 1: still not taken: OBR-3")
    assert preread(tmp_path, "replay", "7") == (1, "message 7 is not in quarantine\n")
