"""A whole life of a study: nothing written is open to others, and nobody is called but the configured peer."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.demo.pacs import MiniPacs
from storage.records import Stage
from tests.builders import a_radiograph
from tests.end_to_end.conftest import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Runs before any of our code, in serve, in the reader and in the decoder: no library gets past it.
GUARD = """
import json, os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["CALLS"], "a") as file:
            file.write(json.dumps([event, str(arguments[1] if event == "socket.connect" else arguments[0])]) + "\\n")
sys.addaudithook(note)
"""


@pytest.fixture
def preread(tmp_path: Path, pacs: MiniPacs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'guard'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    running = Running(tmp_path, pacs.port, settle_seconds=0.3).start()
    yield running
    running.stop()


def test_nobody_is_called_but_the_peer_and_nothing_is_open_to_others(preread: Running, pacs: MiniPacs):
    image = a_radiograph(patient_id="C1", rows=300, columns=280)
    pacs.send([image], "127.0.0.1", preread.port, "PREREAD")
    (job,) = preread.wait_for_jobs(str(image.StudyInstanceUID))
    preread.stop()

    assert job.stage is Stage.DONE
    calls = {tuple(json.loads(line)) for line in (preread.folder / "calls").read_text().splitlines()}
    assert ("socket.connect", str(("127.0.0.1", pacs.port))) in calls
    # "None" is what a port of our own is looked up with before it is opened.
    assert {place for _, place in calls} <= {str(("127.0.0.1", pacs.port)), "127.0.0.1", "None"}
    written = [*(preread.folder / "data").rglob("*"), preread.log]
    assert [str(path) for path in written if path.stat().st_mode & 0o007] == []
    assert len(written) > 10
