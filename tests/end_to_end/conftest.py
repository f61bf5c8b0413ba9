"""A running preread: the real command in its own process, a mini PACS around it, everything on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.demo.pacs import MiniPacs
from agent.peers import Peers
from agent.store import Store, open_store
from config.loading import load
from config.settings import DestinationSettings, Settings
from storage.records import Job, Stage

FINISHED = (Stage.DONE, Stage.FAILED, Stage.SKIPPED)
SECONDS_MAX = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, is_there: Callable[[], object], seconds_max: float = SECONDS_MAX) -> object:
    """Waits until `is_there` gives something true, and gives it back; fails with `what` after the deadline."""
    deadline = time.monotonic() + seconds_max
    while not (found := is_there()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds_max:.0f} s for {what}")
        time.sleep(0.05)
    return found


@dataclass
class Running:
    """preread with one destination. `port` is the listener's; `kill` is a power cut of both processes.

    Attributes:
        more_of_agent, more_of_reading: tables that the file has beside those of every test.
        output: descriptor that both processes write their standard output and error to; None leaves the tests' own.
    """

    folder: Path
    destination_port: int
    destination_ae_title: str = "TESTPACS"
    outputs: tuple[str, ...] = ("report_sr", "findings_sr", "presentation_state", "secondary_capture")
    settle_seconds: float = 1.0
    views: tuple[str, ...] = ()
    study_age_days_max: int = 36500
    close_when_reported: bool = True
    senders: str = ""
    wait_for_priors_seconds: float = 60.0
    deliver_patience_seconds: float = 604_800.0
    more_of_agent: str = ""
    more_of_reading: str = ""
    output: int | None = None
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    log: Path = Path()
    settings: Settings = field(default_factory=Settings)

    def start(self) -> "Running":
        self.log = self.folder / "preread.log"
        if not (self.folder / "config").exists():
            self._write_config()
        self.settings = load(self.folder / "config")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", "serve", "--config", str(self.folder / "config")],
            start_new_session=True,
            stdout=self.output,
            stderr=self.output,
        )
        us = DestinationSettings(name="us", ae_title="PREREAD", host="127.0.0.1", port=self.port)
        wait_for("an answer to C-ECHO", lambda: self._alive() and Peers("TESTPACS").echo(us).ok)
        return self

    def _alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"preread ended with exit code {self.process.returncode}"
        return True

    def _write_config(self) -> None:
        config = self.folder / "config"
        config.mkdir()
        (config / "agent.toml").write_text(
            f'[listener]\nport = {self.port}\n[storage]\nfolder = "../data"\n'
            "[worker]\ntick_seconds = 0.1\npoll_seconds = 0.05\nlease_seconds = 4\n"
            "retry_seconds_min = 0.2\nretry_seconds_max = 1.0\n"
            f"deliver_patience_seconds = {self.deliver_patience_seconds}\n"
            f"[metrics]\nport = {self.metrics_port}\n"
            f'[log]\nfile = "{self.log}"\nformat = "json"\n{self.more_of_agent}'
        )
        kinds = ", ".join(f'"{kind}"' for kind in self.outputs)
        (config / "peers.toml").write_text(
            f'{self.senders}[[destination]]\nname = "pacs"\nae_title = "{self.destination_ae_title}"\n'
            f'host = "127.0.0.1"\n'
            f"port = {self.destination_port}\noutputs = [{kinds}]\nconnect_seconds = 2\n"
        )
        views = ", ".join(f'"{view}"' for view in self.views)
        (config / "reading.toml").write_text(
            f"[study]\nsettle_seconds = {self.settle_seconds}\ncomplete_when_views = [{views}]\n"
            f"study_age_days_max = {self.study_age_days_max}\n"
            f"close_when_reported = {str(self.close_when_reported).lower()}\n[engine]\nthreads = 1\n"
            f"[priors]\nwait_seconds = {self.wait_for_priors_seconds}\n{self.more_of_reading}"
        )

    def store(self) -> Store:
        return open_store(self.settings)

    def jobs(self, study_instance_uid: str) -> tuple[Job, ...]:
        store = self.store()
        try:
            return store.jobs.jobs_of_study(study_instance_uid)
        finally:
            store.database.close()

    def wait_for_jobs(self, study_instance_uid: str, number: int = 1) -> tuple[Job, ...]:
        """Waits until the study has this many jobs and all of them have ended."""

        def ended() -> tuple[Job, ...] | None:
            jobs = self.jobs(study_instance_uid)
            return jobs if len(jobs) >= number and all(job.stage in FINISHED for job in jobs) else None

        found = wait_for(f"{number} ended jobs of {study_instance_uid}", ended)
        assert isinstance(found, tuple)
        return found

    def page(self, path: str) -> str:
        """What the metrics port answers, whatever the status."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniPacs]:
    pacs = MiniPacs("TESTPACS", tmp_path_factory.mktemp("pacs"))
    yield pacs
    pacs.close()


@pytest.fixture(scope="module")
def preread(tmp_path_factory: pytest.TempPathFactory, pacs: MiniPacs) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("preread"), pacs.port).start()
    yield running
    running.stop()
