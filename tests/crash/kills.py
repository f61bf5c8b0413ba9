"""kill -9 of the listener, the reader and the database at random moments under load: `python -m tests.crash kills`."""

import hashlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pydicom import Dataset

from agent.hl7.framing import framed
from agent.logs import configure_log
from agent.reader import read
from agent.service import serve
from agent.store import Store, open_store
from config.settings import EngineSettings, LogSettings, Settings, WorkerSettings
from storage.jobs import ENDS
from storage.records import Stage
from tests.builders import a_radiograph
from tests.crash.hospital import Pacs, settings_of
from tests.crash.observer import store_problems
from tests.databases import a_postgresql_server, address_of, configured
from tests.end_to_end.conftest import free_port
from tests.hl7.builders import an_oru
from tests.listener.conftest import encoded
from tests.listener.wire import EXPLICIT, RawSender

QUIET_SECONDS_MAX = 300.0
BACKLOG_MAX = 10
PROGRESS_SECONDS_MAX = 20.0
PROBLEMS_SHOWN_MAX = 20
SENDERS = 2

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.crash.kills", "tests.crash.product"])


def _serve(settings: Settings) -> None:
    configure_log(settings.agent.log)
    serve(settings)


def _read(settings: Settings) -> None:
    configure_log(settings.agent.log)
    read(settings)


@dataclass
class Night:
    """preread in two processes of its own, a load of studies, and somebody who kills what runs.

    Attributes:
        server: of PostgreSQL, which is killed too; None on SQLite.
        acknowledged: SHA-256 of the dataset by SOP Instance UID.
        reports: HL7 messages that were answered AA.
        kills: how often each was killed.
    """

    folder: Path
    server: Any
    choose: random.Random
    acknowledged: dict[str, str] = field(default_factory=dict)
    reports: int = 0
    studies: int = 0
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.destinations = {"pacs": Pacs("PACS"), "archive": Pacs("ARCHIVE")}
        url = ""
        if self.server is not None:
            url = configured(address_of(self.server))
        self.settings = _hurried(self.folder, url, {n: p.port for n, p in self.destinations.items()})
        self.processes: dict[str, Any] = {}
        self.is_over = threading.Event()
        self.lock = threading.Lock()

    # The product

    def start(self, name: str) -> None:
        """Starts one of the two processes."""
        target = {"listener": _serve, "reader": _read}[name]
        self.processes[name] = _forks.Process(target=target, args=(self.settings,), daemon=True)
        self.processes[name].start()

    def keep_alive(self) -> None:
        """Starts again what has ended by itself, as a service manager does: without its database none can start."""
        for name, process in list(self.processes.items()):
            if not process.is_alive():
                self.start(name)

    def kill(self) -> None:
        """Kills one of them without a warning, and starts it again at once."""
        names = [*self.processes] if self.server is None else [*self.processes, "database"]
        name = self.choose.choice(names)
        self.kills[name] += 1
        if name == "database":
            _kill_and_start(self.server)
            return
        self.processes[name].kill()
        self.processes[name].join()
        self.start(name)

    def wait_for_a_moment(self) -> None:
        """Waits until some more has been acknowledged, or nothing: then what was started is killed at its start."""
        wanted = len(self.acknowledged) + self.choose.randrange(4)
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while len(self.acknowledged) < wanted and time.monotonic() < deadline:
            self.keep_alive()
            time.sleep(0.02)
        time.sleep(self.choose.uniform(0.0, 0.5))

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
            process.join(30)
        for pacs in self.destinations.values():
            pacs.close()

    # The load

    def send_studies(self, sender: int) -> None:
        """Sends patient after patient, each object until it is acknowledged: a prior, its report, an exam."""
        number = 0
        while not self.is_over.is_set():
            if self.backlog() > BACKLOG_MAX:
                time.sleep(0.05)
                continue
            number += 1
            patient = f"S{sender}P{number}"
            prior = a_radiograph(patient_id=patient, days_ago=200, modality="CR", rows=32, columns=24)
            exam = [
                a_radiograph(patient_id=patient, view=view, number=n, modality="CR", rows=32, columns=24)
                for n, view in enumerate(("PA", "LL"), start=1)
            ]
            self._until(lambda prior=prior: self._store(prior))
            self._until(lambda patient=patient, prior=prior: self._tell(patient, prior))
            for image in exam:
                self._until(lambda image=image: self._store(image))
            with self.lock:
                self.studies += 2

    def backlog(self) -> int:
        """Studies that were sent and of which nothing has come back yet."""
        return self.studies - len({one.study_instance_uid for one in self.destinations["archive"].received})

    def _until(self, attempt: Callable[[], bool]) -> None:
        while True:
            with suppress(OSError, AssertionError):
                if attempt():
                    return
            time.sleep(0.02)

    def _store(self, image: Dataset) -> bool:
        uid, content = str(image.SOPInstanceUID), encoded(image)
        with RawSender(self.settings.agent.listener.port) as sender:
            sender.associate({1: (str(image.SOPClassUID), [EXPLICIT])})
            status = sender.store(content, uid, sop_class_uid=str(image.SOPClassUID)).status
        if status == 0x0000:
            with self.lock:
                self.acknowledged[uid] = hashlib.sha256(content).hexdigest()
        return status == 0x0000

    def _tell(self, patient: str, prior: Dataset) -> bool:
        assert self.settings.agent.hl7 is not None
        message = an_oru(patients=patient, observed_at=f"{prior.StudyDate}083000", filler=f"F{patient}")
        with socket.create_connection(("127.0.0.1", self.settings.agent.hl7.port), 10) as connection:
            connection.sendall(framed(message.encode()))
            is_taken = b"MSA|AA|" in connection.recv(65_536)
        with self.lock:
            self.reports += is_taken
        return is_taken

    # What it came to

    def is_quiet(self, store: Store) -> bool:
        """Whether every study is at its end."""
        counts = store.jobs.counts()
        going = sum(count for stage, count in counts.items() if stage not in ENDS)
        return going == 0 and store.index.counts()["unread_studies"] == 0

    def broken_promises(self, store: Store) -> Iterator[str]:
        """What is not as it was promised, a sentence each."""
        yield from store_problems(store, self.acknowledged)
        if store.reports.counts()["report_versions"] != self.reports:
            yield f"{self.reports} reports acknowledged, {store.reports.counts()['report_versions']} kept"
        for study in store.index.recent_studies(100_000):
            jobs = store.jobs.jobs_of_study(study.study_instance_uid)
            newest = max(one.number for one in store.index.instances(study.study_instance_uid))
            if not jobs or jobs[-1].watermark < newest:
                yield f"study {study.study_instance_uid} has images that nobody read"
            done = sum(job.stage is Stage.DONE for job in jobs)
            for name, pacs in self.destinations.items():
                for kind in ("report_sr", "presentation_state")[: 2 if name == "pacs" else 1]:
                    found = {
                        (one.sop_instance_uid, one.sha256)
                        for one in pacs.received
                        if (one.study_instance_uid, one.kind) == (study.study_instance_uid, kind)
                    }
                    uids = {uid for uid, _ in found}
                    if len(uids) != len(found) or not done <= len(uids) <= len(jobs):
                        yield (
                            f"{name} has {len(found)} different {kind} under {len(uids)} UIDs of study "
                            f"{study.study_instance_uid}, which was read {done} times in {len(jobs)} jobs"
                        )


def _hurried(folder: Path, database_url: str, ports: dict[str, int]) -> Settings:
    """Settings of a hospital where nobody waits long: a second on the clock is a minute elsewhere."""
    settings = settings_of(folder, database_url, ports)
    worker = WorkerSettings(
        tick_seconds=0.05,
        poll_seconds=0.02,
        lease_seconds=2.0,
        attempts_max=20,
        retry_seconds_min=0.05,
        retry_seconds_max=0.5,
        stop_seconds=5.0,
    )
    agent = settings.agent
    listener = agent.listener.model_copy(update={"port": free_port()})
    assert agent.hl7 is not None
    hl7 = agent.hl7.model_copy(update={"port": free_port()})
    log = LogSettings(file=folder / "log", format="json")
    reading = settings.reading.model_copy(
        update={
            "study": settings.reading.study.model_copy(update={"settle_seconds": 0.3}),
            "engine": EngineSettings(name="tests.scripted_engine:open_on_card"),
        }
    )
    changed = {"worker": worker, "listener": listener, "hl7": hl7, "log": log}
    return settings.model_copy(update={"agent": agent.model_copy(update=changed), "reading": reading})


def _kill_and_start(server: Any) -> None:
    killed = server.get_pid()
    with suppress(ProcessLookupError):
        os.kill(killed, signal.SIGKILL)
    # While the killed one has not gone it counts as running, and nothing is started; until the last of its children
    # has gone the server will not start anew.
    deadline = time.monotonic() + 60
    while psutil.pid_exists(killed) and time.monotonic() < deadline:
        time.sleep(0.02)
    while True:
        try:
            server.ensure_postgres_running()
            return
        except (subprocess.SubprocessError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextmanager
def _database(kind: str) -> Iterator[Any]:
    if kind == "sqlite":
        yield None
        return
    with a_postgresql_server(fsync=True) as server:
        yield server


def spend(night: Night, kills: int) -> list[str]:
    """Kills so many times while studies come in, lets the work come to its end and looks at what is there."""
    for name in ("listener", "reader"):
        night.start(name)
    senders = [
        threading.Thread(target=night.send_studies, args=(number,), daemon=True) for number in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    while night.kills.total() < kills:
        night.wait_for_a_moment()
        night.kill()
    night.is_over.set()
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    store: Store | None = None
    while time.monotonic() < deadline:
        night.keep_alive()
        if store is None:
            store = open_store(night.settings)
        if not any(sender.is_alive() for sender in senders) and night.is_quiet(store):
            break
        time.sleep(0.2)
    night.stop()
    assert store is not None
    problems = list(night.broken_promises(store))
    print("  jobs: " + ", ".join(f"{stage} {n}" for stage, n in store.jobs.counts().items() if n))
    store.database.close()
    return problems


def spend_a_night(kind: str, kills: int, seed: int, folder: Path) -> bool:
    """Spends a night on one kind of database and prints what came of it; False if a promise was broken."""
    folder.mkdir()
    started = time.monotonic()
    with _database(kind) as server:
        night = Night(folder, server, random.Random(seed))
        problems = spend(night, kills)
    killed = ", ".join(f"{name} {count}" for name, count in sorted(night.kills.items()))
    print(
        f"{kind:<12}{night.kills.total()} kills ({killed}), {night.studies} studies, "
        f"{len(night.acknowledged)} images and {night.reports} reports acknowledged, "
        f"{sum(len(p.received) for p in night.destinations.values())} results received, "
        f"{len(problems)} promises broken, {time.monotonic() - started:.0f} s"
    )
    for problem in problems[:PROBLEMS_SHOWN_MAX]:
        print(f"  {problem}")
    return not problems
