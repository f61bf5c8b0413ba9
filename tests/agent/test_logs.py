"""Where the log goes, and that a place which takes no line stops nothing else."""

import fcntl
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

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
    old = (tmp_path / "preread.log").rename(tmp_path / "preread.log.1")

    log_file.write("after\n")

    assert old.read_text() == "before\n"
    assert (tmp_path / "preread.log").read_text() == "after\n"


def test_the_log_file_is_not_for_everybody(log_file: RotatedFile, tmp_path: Path):
    assert stat.S_IMODE((tmp_path / "preread.log").stat().st_mode) & stat.S_IRWXO == 0


@pytest.fixture
def log() -> Iterator[structlog.stdlib.BoundLogger]:
    yield structlog.get_logger()
    structlog.reset_defaults()


def lines_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def test_a_full_disk_costs_lines_and_nothing_else_and_their_number_is_told(tmp_path: Path, log):
    path = tmp_path / "preread.log"
    configure_log(LogSettings(format="json", file=path))
    log.info("before")
    kept = path.rename(tmp_path / "preread.log.1")
    path.symlink_to("/dev/full")

    log.info("lost")
    log.error("lost too")
    path.unlink()
    log.info("after")

    assert [line["event"] for line in lines_in(kept)] == ["before"]
    assert [(line["event"], line.get("lines_lost")) for line in lines_in(path)] == [
        ("the log could not be written for a while", 2),
        ("after", None),
    ]


def test_a_folder_that_is_gone_for_a_while_costs_lines_and_nothing_else(tmp_path: Path, log):
    folder = tmp_path / "log"
    folder.mkdir()
    configure_log(LogSettings(format="json", file=folder / "preread.log"))

    away = folder.rename(tmp_path / "elsewhere")
    log.info("lost")
    away.rename(folder)
    log.info("after")

    assert [line.get("lines_lost", line["event"]) for line in lines_in(folder / "preread.log")] == [
        1,
        "after",
    ]


def test_a_file_name_that_is_no_utf_8_is_logged_too(tmp_path: Path, log):
    configure_log(LogSettings(format="console", file=tmp_path / "preread.log"))

    log.info("found", path=os.fsdecode(b"x-\xff"))

    assert "found" in (tmp_path / "preread.log").read_text()


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Both ends of a pipe with room for four pages."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 16_384)
    os.set_blocking(reading, False)
    with open(writing, "w") as stream:
        yield reading, stream
    with suppress(OSError):
        os.close(reading)


def test_standard_error_that_nobody_reads_any_more_costs_lines_and_nothing_else(
    pipe: tuple[int, TextIO], log, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stderr", pipe[1])
    configure_log(LogSettings())
    os.close(pipe[0])

    log.info("lost")
    log.error("lost too")


def test_a_full_pipe_holds_nobody_up_and_the_number_of_lost_lines_is_told(
    pipe: tuple[int, TextIO], log, monkeypatch: pytest.MonkeyPatch
):
    reading, stream = pipe
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("agent.logs.WAIT_SECONDS", 0.01)
    configure_log(LogSettings(format="json"))
    for number in range(1000):
        log.info("a line of some length " * 4, number=number)
    taken = os.read(reading, 65_536)

    log.info("after")

    told = [json.loads(line) for line in os.read(reading, 65_536).splitlines() if line.startswith(b"{")]
    assert told[0]["lines_lost"] == 1000 - taken.count(b"\n")
    assert told[1]["event"] == "after"
