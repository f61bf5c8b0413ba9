"""The running product with a second engine beside the first: the demo weights twice, then another, then none."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.demo.pacs import MiniPacs
from storage.records import Stage
from tests.builders import a_radiograph
from tests.end_to_end.conftest import Running, wait_for
from tests.end_to_end.test_reload import reload
from tests.scripted_engine import IDENTITY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SAME = "[second_engine]\nthreads = 1\n"
OTHER = '[second_engine]\nname = "tests.scripted_engine:open_scripted"\n'


@pytest.fixture
def preread(tmp_path: Path, pacs: MiniPacs) -> Iterator[Running]:
    running = Running(tmp_path, pacs.port, settle_seconds=0.3, more_of_reading=SAME).start()
    yield running
    running.stop()


def write_second(running: Running, table: str) -> None:
    reading = running.folder / "config" / "reading.toml"
    reading.write_text(reading.read_text().partition("[second_engine]")[0] + table)


def compare(running: Running) -> dict[str, Any]:
    command = [sys.executable, "-m", "agent", "compare", "--json"]
    done = subprocess.run(
        [*command, "--config", str(running.folder / "config")], capture_output=True, timeout=60, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def roles(running: Running) -> set[str]:
    store = running.store()
    seen = store.processes.seen_since(datetime.now(UTC) - timedelta(seconds=15))
    store.database.close()
    return {process.role for process in seen}


def read_by_both(running: Running, pacs: MiniPacs, patient_id: str, studies: int) -> str:
    image = a_radiograph(patient_id=patient_id, rows=300, columns=280)
    pacs.send([image], "127.0.0.1", running.port, "PREREAD")
    (job,) = running.wait_for_jobs(str(image.StudyInstanceUID))
    assert job.stage is Stage.DONE
    store = running.store()
    wait_for("the second reading", lambda: store.jobs.second_readings.counts(None)["read"] == studies)
    store.database.close()
    return job.study_instance_uid


def test_a_second_engine_is_compared_replaced_and_taken_away_while_drafts_go_out(
    preread: Running, pacs: MiniPacs
):
    same = read_by_both(preread, pacs, "S1", 1)
    sent = len(pacs.received(same))
    (one,) = compare(preread)["comparisons"]
    assert one["first"] == one["second"]
    assert (one["studies"], one["same_words"], one["differing"]) == (1, 1, [])

    write_second(preread, OTHER)
    assert reload(preread)[0] == 0
    wait_for("the other model", lambda: preread.log.read_text().count(IDENTITY.weights_digest))
    other = read_by_both(preread, pacs, "S2", 2)
    with_other = next(
        one for one in compare(preread)["comparisons"] if one["second"]["name"] == IDENTITY.name
    )
    assert [study["study"] for study in with_other["differing"]] == [other]
    assert len(pacs.received(same)) == len(pacs.received(other)) == sent

    write_second(preread, "")
    assert reload(preread)[0] == 0
    wait_for("the end of the second reader", lambda: roles(preread) == {"serve", "read"}, 30)
    assert "the reader ended; it is started again" not in preread.log.read_text()
