"""The reader follows the configuration: other settings at its next step, another model after the case in hand."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest
import structlog

from agent.clock import system_clock
from agent.loaded import keep, put_in_force
from agent.logs import set_log_level
from agent.reader import _Reader
from agent.store import open_store
from config.loading import load
from config.settings import (
    AdapterSettings,
    AgentSettings,
    EngineSettings,
    LogSettings,
    ReadingSettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)
from storage.records import RunningProcess
from tests.agent.test_loaded import put
from tests.agent.test_steps_rules import a_rule
from tests.end_to_end.conftest import wait_for

pytestmark = pytest.mark.slow

SCRIPTED = EngineSettings(name="tests.scripted_engine:open_scripted")


def settings_in(folder: Path, engine: EngineSettings = SCRIPTED, level: str = "info") -> Settings:
    agent = AgentSettings(
        storage=StorageSettings(folder=folder),
        worker=WorkerSettings(stop_seconds=5.0),
        log=LogSettings(level=level),
    )
    return Settings(agent=agent, reading=ReadingSettings(engine=engine))


@dataclass
class Running:
    """A reader in a thread of this process, and what it wrote to its log."""

    folder: Path
    log: list[dict]
    signals: SimpleQueue

    def said(self, event: str) -> list[dict]:
        return [line for line in self.log if line["event"] == event]

    def wait_for(self, event: str, times: int = 1) -> dict:
        wait_for(event, lambda: len(self.said(event)) >= times, 20)
        return self.said(event)[-1]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    signals: SimpleQueue = SimpleQueue()
    link = put(settings_in(tmp_path))
    settings = load(link, {})
    store = open_store(settings)
    with structlog.testing.capture_logs() as log:
        reader = _Reader(settings, store, signals, parent=os.getppid())
        thread = threading.Thread(target=reader.run)
        thread.start()
        running = Running(tmp_path, log, signals)
        running.wait_for("model ready")
        yield running
        signals.put(signal.SIGTERM)
        thread.join(20)
    set_log_level(settings.agent.log)
    store.database.close()
    assert not thread.is_alive()


def test_a_second_engine_is_opened_once_a_first_one_is_there_and_ends_with_its_table(tmp_path: Path):
    signals: SimpleQueue = SimpleQueue()
    without = settings_in(tmp_path)
    with_second = without.reading.model_copy(update={"second_engine": SCRIPTED})
    settings = load(put(Settings(agent=without.agent, reading=with_second)), {})
    store = open_store(settings)
    with structlog.testing.capture_logs() as log:
        reader = _Reader(settings, store, signals, parent=os.getppid(), is_second=True)
        thread = threading.Thread(target=reader.run)
        thread.start()
        running = Running(tmp_path, log, signals)
        thread.join(2)
        assert running.said("model ready") == []

        now = system_clock()
        store.processes.beat(RunningProcess("read", "here", 1, now, now, settings.digest))
        running.wait_for("model ready")
        put(without)
        thread.join(20)

    store.database.close()
    assert not thread.is_alive()
    assert running.said("no second engine is wanted any more; its reader stops")
    assert running.said("the model cannot be opened") == []


def test_a_second_reader_without_a_second_engine_does_not_start(tmp_path: Path):
    command = [sys.executable, "-m", "agent", "read", "--second"]
    environment = os.environ | {"PREREAD_AGENT__STORAGE__FOLDER": str(tmp_path)}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "there is no [second_engine] in reading.toml" in done.stdout + done.stderr


def test_other_settings_are_taken_without_opening_the_model_again(running: Running):
    put(settings_in(running.folder, level="debug"))

    taken = running.wait_for("configuration loaded")

    assert taken["changes"] == ('agent.toml log level: "info" → "debug"',)
    assert len(running.said("model ready")) == 1


def test_what_a_signal_had_loaded_is_not_loaded_again_because_the_link_has_moved(tmp_path: Path):
    settings = load(put(settings_in(tmp_path)), {})
    store = open_store(settings)
    reader = _Reader(settings, store, SimpleQueue(), parent=os.getppid())
    new = settings_in(tmp_path, level="debug")
    put(new)

    loaded, then = reader._reloaded(), reader._event(None)

    store.database.close()
    assert loaded is not None
    assert (loaded.digest, then) == (new.digest, "none")


def test_another_model_is_opened_in_place_of_the_one_before(running: Running):
    new = settings_in(running.folder, EngineSettings(name=SCRIPTED.name, threads=2))
    put(new)

    running.wait_for("model ready", times=2)

    assert running.said("model ready")[1]["configuration"] == new.digest


def test_a_model_on_a_card_has_two_workers_that_end_together_and_one_on_a_cpu_has_one(running: Running):
    def readers() -> set[str]:
        return {one.name for one in threading.enumerate() if one.name.startswith("reader-")}

    alone = readers()
    put(settings_in(running.folder, EngineSettings(name="tests.scripted_engine:open_on_card")))
    running.wait_for("model ready", times=2)
    wait_for("a second worker", lambda: len(readers()) == 2, 20)

    put(settings_in(running.folder))
    running.wait_for("model ready", times=3)
    wait_for("one worker", lambda: len(readers()) == 1, 20)

    assert len(alone) == 1


def test_an_adapter_more_has_the_model_opened_anew_and_a_rule_has_not(running: Running):
    rule = a_rule("films", {"Modality": "CR"}, adapter="bedside")
    before = settings_in(running.folder)
    adapters = (AdapterSettings(name="bedside", folder=running.folder),)
    with_adapter = before.reading.model_copy(update={"adapters": adapters})
    put(before.model_copy(update={"reading": with_adapter}))
    running.wait_for("model ready", times=2)

    put(Settings(agent=before.agent, reading=with_adapter.model_copy(update={"rules": (rule,)})))

    running.wait_for("configuration loaded", times=2)
    assert running.said("configuration loaded")[1]["changes"] == ('reading.toml rule "films": added',)
    assert len(running.said("model ready")) == 2


def test_a_model_that_cannot_be_opened_leaves_the_one_before(running: Running):
    unreadable = settings_in(running.folder, EngineSettings(name="tests.scripted_engine:nowhere"))
    put(unreadable)

    running.wait_for("the reader goes on with the model that it had")
    running.wait_for("model ready", times=2)

    assert "nowhere" in running.said("the model cannot be opened")[0]["reason"]
    assert running.said("model ready")[1]["configuration"] != unreadable.digest


def test_a_configuration_that_cannot_be_loaded_leaves_the_one_before(running: Running):
    settings = settings_in(running.folder, level="debug")
    keep(settings)
    kept = running.folder / "configurations" / settings.digest.removeprefix("sha256:")
    # Damaged before the link names it: what was loaded once is not looked at again.
    (kept / "agent.toml").write_text("[listener]\nport = 0\n")
    put_in_force(settings)

    told = running.wait_for("configuration refused; the one before stays in force")

    assert told["problem"].startswith("agent.toml:2: listener.port = 0: expected")
