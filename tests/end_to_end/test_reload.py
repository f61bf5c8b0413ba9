"""`preread reload` and SIGHUP reach both running processes, and drafts go where the new configuration says."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import loaded, overview
from agent.demo.pacs import MiniPacs
from storage.records import Stage
from tests.builders import a_radiograph
from tests.end_to_end.conftest import Running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def preread(tmp_path: Path, pacs: MiniPacs) -> Iterator[Running]:
    running = Running(tmp_path, destination_port=1, settle_seconds=0.3).start()
    yield running
    running.stop()


def reload(running: Running) -> tuple[int, str]:
    command = [sys.executable, "-m", "agent", "reload", "--config", str(running.folder / "config")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def digests(running: Running) -> dict[str, str]:
    """The configuration of each process, as it says itself."""
    store = running.store()
    seen = store.processes.seen_since(datetime.now(UTC) - timedelta(minutes=5))
    store.database.close()
    return {process.role: process.config_digest for process in seen}


def test_a_draft_goes_to_the_destination_of_the_reload_and_says_with_which_settings_it_was_read(
    preread: Running, pacs: MiniPacs
):
    peers = preread.folder / "config" / "peers.toml"
    peers.write_text(peers.read_text().replace("port = 1\n", f"port = {pacs.port}\n"))

    code, said = reload(preread)

    assert code == 0, said
    assert said.startswith(f'changed  peers.toml destination "pacs" port: 1 → {pacs.port}')
    digest = said.rpartition("in force: ")[2].strip()
    # The reader follows within a second; what it takes before then is read, and says so, with the settings before.
    assert wait_for(
        "both processes to have it", lambda: digests(preread) == {"serve": digest, "read": digest}
    )
    image = a_radiograph(patient_id="R1", rows=300, columns=280)
    pacs.send([image], "127.0.0.1", preread.port, "PREREAD")
    (job,) = preread.wait_for_jobs(str(image.StudyInstanceUID))
    assert job.stage is Stage.DONE
    assert f"read with configuration {digest}" in overview.why_text(preread.settings, job.study_instance_uid)


def test_a_broken_configuration_is_refused_and_the_service_goes_on(preread: Running):
    (preread.folder / "config" / "reading.toml").write_text("[study]\nsettle_seconds = 'soon'\n")

    code, said = reload(preread)  # refused before it is asked for

    assert (code, said.startswith('reading.toml:2: study.settle_seconds = "soon": expected')) == (2, True)
    assert preread.process is not None
    preread.process.send_signal(signal.SIGHUP)  # as `systemctl reload` does
    data = preread.folder / "data"

    def refused() -> bool:
        service = loaded.who_serves(data)
        return service is not None and any("settle_seconds" in problem for problem in service.problems)

    assert wait_for("the refusal to be told", refused, 30)
    assert "configuration refused; the one before stays in force" in preread.log.read_text()
