"""Keeping and accounting with nothing replaced: the service runs, is audited, backed up, and goes on elsewhere."""

from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.demo.pacs import MiniPacs
from storage.records import Stage
from tests.audit.schema import breaches
from tests.builders import a_radiograph
from tests.end_to_end.conftest import Running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def send(pacs: MiniPacs, preread: Running, patient: str) -> str:
    image = a_radiograph(patient_id=patient, rows=300, columns=280)
    pacs.send([image], "127.0.0.1", preread.port, "PREREAD")
    return str(image.StudyInstanceUID)


def audited(preread: Running) -> list[str]:
    lines = [
        line
        for path in sorted((preread.folder / "data" / "audit").glob("*.xml"))
        for line in path.read_text().splitlines()
    ]
    assert [breaches(line) for line in lines] == [[]] * len(lines)
    return lines


def codes(lines: list[str]) -> list[str]:
    return [fromstring(line)[0][0].get("csd-code", "") for line in lines]


def test_a_service_that_ran_is_audited_from_start_to_stop_and_only_there_with_patient_ids(
    tmp_path: Path, pacs: MiniPacs
):
    preread = Running(tmp_path, pacs.port).start()
    study = send(pacs, preread, "AUDIT77")
    preread.wait_for_jobs(study)
    run("hold", study, "--config", tmp_path / "config")
    preread.stop()

    lines = audited(preread)

    # start, configuration; received, read, begin, transferred; held; stop
    seen = codes(lines)
    assert seen[:2] == ["110100", "110113"]
    assert {"110104", "110103", "110102", "110111"} <= set(seen)
    assert seen[-1] == "110100"
    assert sum("AUDIT77" in line for line in lines) >= 5
    assert "AUDIT77" not in preread.log.read_text()


def test_a_backup_of_a_running_service_goes_on_in_another_folder(tmp_path: Path, pacs: MiniPacs):
    (tmp_path / "first").mkdir()
    preread = Running(tmp_path / "first", pacs.port).start()
    done = send(pacs, preread, "B1")
    preread.wait_for_jobs(done)
    held = send(pacs, preread, "B2")
    wait_for("the study", lambda: preread.store().index.study(held))
    config = tmp_path / "first" / "config"
    run("hold", held, "--config", config)
    folder = run("backup", "make", tmp_path / "backups", "--config", config).split(": ")[0]
    preread.kill()
    assert "is whole" in run("backup", "verify", folder)
    (tmp_path / "second").mkdir()
    run("backup", "restore", folder, "--to", tmp_path / "second" / "data")

    second = Running(tmp_path / "second", pacs.port).start()
    run("release", held, "--config", tmp_path / "second" / "config")

    assert [job.stage for job in second.wait_for_jobs(held)] == [Stage.DONE]
    assert [job.stage for job in second.jobs(done)] == [Stage.DONE]
    assert pacs.datasets(held)
    second.stop()
