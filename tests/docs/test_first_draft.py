"""docs/first-draft.md is followed to the letter, with an Orthanc as it describes; only ports and waits are others."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.archives import a_free_port
from tests.end_to_end.conftest import wait_for
from tests.end_to_end.real_archives import ORTHANC, QUICK, Orthanc

PAGE = (Path(__file__).resolve().parents[2] / "docs/first-draft.md").read_text()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.skipif(not Path(ORTHANC).exists(), reason="orthanc is not installed"),
]


@pytest.fixture
def ports() -> dict[str, int]:
    """A free port for each that the page names, so that this may run beside anything: its numbers of 4 or 5 digits."""
    return {named: a_free_port() for named in set(re.findall(r"\b\d{4,5}\b", PAGE))}


def blocks(language: str, ports: dict[str, int]) -> list[str]:
    """The code blocks of a language, in the page's order, with other ports."""
    page = re.sub(r"\b\d{4,5}\b", lambda named: str(ports[named[0]]), PAGE)
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def orthanc(tmp_path: Path, ports: dict[str, int]) -> Iterator[Orthanc]:
    """Orthanc with other ports than its own, and what the page has it told."""
    folder = tmp_path / "orthanc"
    folder.mkdir()
    (script,), (told,) = blocks("lua", ports), blocks("json", ports)
    (folder / "preread.lua").write_text(script)
    storage = {"StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")}
    its_ports = {"DicomPort": ports["4242"], "HttpPort": ports["8042"]}
    settings = {"DicomAet": "ORTHANC", "RemoteAccessAllowed": False, **json.loads(told), "StableAge": 1}
    (folder / "orthanc.json").write_text(json.dumps(settings | storage | its_ports))
    running = Orthanc(http_port=ports["8042"], dicom_port=ports["4242"])
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log, env=QUICK)
    try:
        wait_for("Orthanc's REST interface", running.is_up)
        yield running
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A shell in an empty folder, where `preread` is installed."""
    quicker = {"PREREAD_READING__STUDY__SETTLE_SECONDS": "2"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(
            ["bash", "-e"],
            cwd=tmp_path,
            env=os.environ | quicker | {"PATH": path},
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        yield process
        os.killpg(process.pid, signal.SIGTERM)


def test_a_newcomer_who_follows_the_page_gets_a_draft_back(
    tmp_path: Path, ports: dict[str, int], orthanc: Orthanc, shell: subprocess.Popen[str]
):
    *before, look = blocks("bash", ports)
    assert shell.stdin is not None
    shell.stdin.write("".join(before))
    shell.stdin.flush()

    def drafts() -> list[str]:
        found = orthanc.ask(
            "/tools/find", {"Level": "Series", "Query": {"SeriesDescription": "AI*"}, "Expand": True}
        )
        return sorted(series["MainDicomTags"]["SeriesDescription"] for series in found)

    def are_there() -> bool:
        assert shell.poll() is None, (tmp_path / "said").read_text()
        return len(drafts()) == 6

    wait_for("two drafts in Orthanc", are_there)
    shell.stdin.write(look)
    shell.stdin.flush()
    said = tmp_path / "said"
    wait_for("the status", lambda: "jobs: 2 done" in said.read_text())
    assert re.findall("^ok ", said.read_text(), flags=re.MULTILINE) == ["ok "] * 6
    assert said.read_text().count("every expected view is there: frontal, lateral") == 1  # of DEMO0002
    assert {one.partition(" (")[0] for one in drafts()} >= {
        "AI DRAFT report",
        "AI CXR findings",
        "AI findings overlay",
    }
