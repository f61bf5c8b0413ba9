"""The metrics port of a process that serves, asked over HTTP."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import BaseServer
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from agent.clock import system_clock
from agent.metrics.port import CONNECTIONS_MAX
from agent.service import Serving
from agent.store import open_store
from config.settings import (
    AgentSettings,
    Hl7Settings,
    ListenerSettings,
    MetricsSettings,
    ReaderSettings,
    ReadingSettings,
    Settings,
    StorageSettings,
)
from storage.records import RunningProcess
from tests.listener.conftest import await_that

Ask = Callable[[str], tuple[int, str]]


def settings_in(folder: Path, **metrics: object) -> Settings:
    asked = MetricsSettings.model_validate(metrics).model_copy(update={"port": 0})
    agent = AgentSettings(
        listener=ListenerSettings(free_bytes_min=0).model_copy(update={"port": 0}),
        storage=StorageSettings(folder=folder / "data"),
        metrics=asked,
    )
    return Settings(agent=agent, reading=ReadingSettings(reader=ReaderSettings(child=False)))


@dataclass
class Site:
    settings: Settings
    serving: Serving = field(init=False)

    def __post_init__(self) -> None:
        self.serving = Serving(self.settings)
        self.serving.start()

    @property
    def port(self) -> int:
        assert self.serving.metrics is not None
        return self.serving.metrics.port

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(settings_in(tmp_path_factory.mktemp("site")))
    yield site
    site.serving.stop()


def test_a_process_that_serves_is_alive_and_shows_its_metrics(site: Site):
    health, words = site.ask("/healthz")
    status, page = site.ask("/metrics")

    assert (health, words.splitlines()[0]) == (200, "ok threads: running")
    assert status == 200
    assert 'preread_jobs{stage="gather"} 0.0' in page


@pytest.fixture
def site_with_hl7(tmp_path: Path) -> Iterator[Site]:
    settings = settings_in(tmp_path)
    hl7 = Hl7Settings().model_copy(update={"port": 0})
    site = Site(settings.model_copy(update={"agent": settings.agent.model_copy(update={"hl7": hl7})}))
    yield site
    site.serving.stop()


def test_a_port_whose_accepting_thread_has_ended_is_told_to_whoever_can_start_it_anew(site_with_hl7: Site):
    serving = site_with_hl7.serving
    before = site_with_hl7.ask("/healthz")

    for port in (serving.listener, serving.mllp):
        BaseServer.shutdown(port._server)  # type: ignore[union-attr, arg-type]
    await_that(lambda: site_with_hl7.ask("/healthz")[0] == 503)
    after = site_with_hl7.ask("/healthz")

    assert before[0] == 200
    assert "ended: listener, mllp; start preread anew" in after[1]


def test_it_is_ready_only_while_a_reader_is_seen(site: Site):
    before = site.ask("/readyz")
    store = open_store(site.settings)
    reader = RunningProcess("read", "box", 17, system_clock(), system_clock(), "sha256:ab", "m4cxr")
    store.processes.beat(reader)

    after = site.ask("/readyz")
    store.processes.end(reader)
    store.database.close()

    assert before[0] == 503
    assert "PROBLEM reader: no reader was seen for 60 s; see its log, or start: preread read" in before[1]
    assert after[0] == 200, after[1]
    assert "ok reader: m4cxr, seen 0 s ago" in after[1]


def test_a_process_says_that_it_serves_and_takes_that_back_when_it_stops(tmp_path: Path):
    before = system_clock()
    site = Site(settings_in(tmp_path))
    store = open_store(site.settings)
    (serving,) = store.processes.seen_since(before)

    site.serving.stop()

    assert (serving.role, serving.config_digest) == ("serve", site.settings.digest)
    assert store.processes.seen_since(before) == ()
    store.database.close()


def test_other_pages_are_not_found(site: Site):
    assert site.ask("/")[0] == 404


def test_more_connections_than_allowed_are_closed_at_once(site: Site):
    held = [socket.create_connection(("127.0.0.1", site.port), 10) for _ in range(CONNECTIONS_MAX)]

    with socket.create_connection(("127.0.0.1", site.port), 10) as one_more:
        answer = one_more.recv(100)
    for connection in held:
        connection.close()

    assert answer == b""


def test_who_is_not_listed_gets_no_answer(tmp_path: Path):
    site = Site(settings_in(tmp_path, addresses=("10.1.2.8",)))
    with socket.create_connection(("127.0.0.1", site.port), 10) as stranger:
        answer = stranger.recv(100)
    site.serving.stop()

    assert answer == b""


def heard_until(manager: socket.socket, word: bytes) -> set[bytes]:
    """What the service manager is told before it is told this."""
    heard = set()
    while (told := manager.recv(100)) != word:
        heard.add(told)
    return heard


def test_the_service_manager_hears_ready_once_the_port_is_open_and_stopping_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        site = Site(settings_in(tmp_path))
        started = heard_until(manager, b"READY=1")
        site.serving.stop()

        assert started == {b"WATCHDOG=1"}
        assert heard_until(manager, b"STOPPING=1") <= {b"WATCHDOG=1"}
