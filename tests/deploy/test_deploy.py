"""What is handed to the administrator: units, container, rotation, alerts. Checked as far as nothing has to run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from agent.logs import RotatedFile
from agent.metrics.counting import Metrics, State
from config.settings import MetricsSettings
from storage.census import Census
from storage.database import connect
from tests.storage.builders import NOW

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
EXPOSURE_MAX = 20
"""Of systemd-analyze's 100 (it prints 2.0 for it); most of what is left is the network."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def runnable(unit: Path, folder: Path) -> Path:
    """The unit with a program that is there: systemd-analyze looks for it."""
    text = unit.read_text().replace("/opt/preread/bin/preread", str(shutil.which("true")))
    (folder / unit.name).write_text(text)
    return folder / unit.name


def exports(tmp_path: Path) -> set[str]:
    """The names of the metrics as Prometheus stores them; of a histogram, its family."""
    database = connect(f"sqlite:///{tmp_path}/preread.sqlite")
    page = Metrics(Census(database), lambda: NOW, lambda: State(1, None, "sha256:ab")).text().decode()
    database.close()
    return set(re.findall(r"^# TYPE (\w+)", page, flags=re.MULTILINE))


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path):
    found = subprocess.run(
        ["systemd-analyze", "verify", runnable(unit, tmp_path)], capture_output=True, text=True
    )

    assert (found.returncode, found.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_leaves_little_of_the_system_open(unit: Path, tmp_path: Path):
    threshold = f"--threshold={EXPOSURE_MAX}"
    command = ["systemd-analyze", "security", "--offline=true", threshold, runnable(unit, tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)

    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_exists_as_a_user_that_is_made(unit: Path):
    text = unit.read_text()
    users = (DEPLOY / "sysusers.d" / "preread.conf").read_text()
    (command,) = re.findall(r"^ExecStart=/opt/preread/bin/preread (\w+) ", text, flags=re.MULTILINE)
    (user,) = re.findall(r"^User=(\w+)$", text, flags=re.MULTILINE)

    assert command in ("serve", "read")
    assert re.search(rf"^u {user} ", users, flags=re.MULTILINE)


def shut_in(name: str) -> str:
    """What a unit may see and do."""
    text = (DEPLOY / "systemd" / name).read_text()
    return text[text.index("User=") : text.index("[Install]")]


def test_the_second_reader_may_do_no_more_than_the_first_and_is_last_of_all():
    first, second = shut_in("preread-read.service"), shut_in("preread-second.service")

    changed = set(second.splitlines()) ^ set(first.splitlines())
    assert {line for line in changed if not line.startswith("#")} == {"Nice=10", "Nice=19"}


def test_every_process_has_a_unit():
    commands = [re.findall(r"^ExecStart=\S+ (.+) --config", unit.read_text(), re.MULTILINE) for unit in UNITS]

    assert sorted(commands) == [["read"], ["read --second"], ["serve"]]


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Containerfile, continued lines joined, comments left out."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_container_s_base_has_a_version():
    (base,) = [rest for word, rest in instructions() if word == "ARG" and rest.startswith("BASE=")]

    assert re.search(r":\d+\.\d+\.\d+-|@sha256:[0-9a-f]{64}$", base)
    assert {rest.split()[0] for word, rest in instructions() if word == "FROM"} == {"${BASE}"}


def test_the_container_does_not_run_as_root_and_says_how_it_is():
    last = instructions()[[word for word, _ in instructions()].index("FROM", 2) :]
    after = dict(last)

    assert after["USER"] == "10001:10001"
    assert [word for word, _ in last].index("USER") > max(
        number for number, (word, _) in enumerate(last) if word in ("RUN", "COPY")
    )
    assert str(MetricsSettings().port) in after["HEALTHCHECK"]


def test_the_container_is_built_in_a_format_that_keeps_its_health_check():
    page = (ROOT / "docs" / "operations.md").read_text()

    assert set(re.findall(r"^podman build (.+) -f", page, re.MULTILINE)) == {"--format docker"}


def test_the_container_takes_in_what_the_package_has_and_no_secret():
    copied = [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    allowed = (DEPLOY / "Containerfile.containerignore").read_text().split()
    arguments = " ".join(rest for word, rest in instructions() if word in ("ARG", "ENV"))

    assert all((ROOT / source).exists() for source in copied)
    assert [f"!{source}" for source in sorted(copied)] == sorted(set(allowed) - {"*", "**/__pycache__"})
    assert not re.search(r"(?i)password|token|secret", arguments)


def test_rotation_needs_nobody_to_be_told(tmp_path: Path):
    rules = (DEPLOY / "logrotate" / "preread").read_text()
    log = RotatedFile(tmp_path / "preread.log")
    (tmp_path / "preread.log").rename(tmp_path / "preread.log.1")
    log.write("after")
    log.close()

    assert "copytruncate" not in rules
    assert "postrotate" not in rules
    assert (tmp_path / "preread.log").read_text() == "after"


def test_every_alert_asks_for_metrics_that_exist(tmp_path: Path):
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "preread.rules.yml").read_text())["groups"]

    asked = {name for rule in group["rules"] for name in re.findall(r"preread_\w+", rule["expr"])}

    exported = exports(tmp_path)
    assert asked
    assert {name for name in asked if name not in exported} == set()


def test_the_page_for_operators_lists_every_metric_and_every_alert(tmp_path: Path):
    page = (ROOT / "docs" / "operations.md").read_text()
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "preread.rules.yml").read_text())["groups"]

    listed = set(re.findall(r"^\| `(preread_\w+)`", page, flags=re.MULTILINE))

    assert listed == exports(tmp_path)
    assert all(rule["alert"] in page for rule in group["rules"])
