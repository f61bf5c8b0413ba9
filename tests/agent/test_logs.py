"""Where the log goes."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from agent.logs import RotatedFile, configure_log
from config.settings import LogSettings


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[RotatedFile]:
    opened = RotatedFile(tmp_path / "preread.log")
    yield opened
    opened.close()


def test_each_event_is_one_line_with_its_time_in_utc(capsys: pytest.CaptureFixture[str]):
    configure_log(LogSettings(format="json"))
    structlog.get_logger().info("step done", job=17)
    structlog.reset_defaults()

    line = json.loads(capsys.readouterr().err)

    assert (line["event"], line["job"], line["level"]) == ("step done", 17, "info")
    assert line["timestamp"].endswith("Z")


def test_after_a_rotation_the_next_line_is_in_the_new_file_and_none_is_lost(
    log_file: RotatedFile, tmp_path: Path
):
    log_file.write("before\n")
    log_file.flush()
    old = (tmp_path / "preread.log").rename(tmp_path / "preread.log.1")

    log_file.write("after\n")
    log_file.flush()

    assert old.read_text() == "before\n"
    assert (tmp_path / "preread.log").read_text() == "after\n"


def test_the_log_file_is_not_for_everybody(log_file: RotatedFile, tmp_path: Path):
    assert stat.S_IMODE((tmp_path / "preread.log").stat().st_mode) & stat.S_IRWXO == 0
