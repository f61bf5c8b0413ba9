"""What the service manager is told."""

import socket
from pathlib import Path

import pytest

from agent.metrics.health import Condition
from agent.notifying import notify, watched_less
from agent.pulse import Pulse
from storage.database import connect
from storage.processes import Processes
from tests.storage.builders import NOW


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A socket as systemd names it; `recv` gives what was told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_a_state_comes_to_the_socket_that_the_manager_names(manager: socket.socket):
    notify("READY=1")

    assert manager.recv(100) == b"READY=1"


def test_the_watchdog_waits_longer_while_a_model_is_opened_and_no_longer_after_that(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WATCHDOG_USEC", "300000000")

    with watched_less(1800):
        assert manager.recv(100) == b"WATCHDOG_USEC=1800000000"

    assert manager.recv(100) == b"WATCHDOG_USEC=300000000"


def test_an_abstract_socket_is_found_too(monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0preread-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@preread-test-notify")
        notify("STOPPING=1")

        assert listening.recv(100) == b"STOPPING=1"


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    notify("READY=1")


@pytest.mark.parametrize(("is_well", "told"), [(True, [b"WATCHDOG=1"]), (False, [])])
def test_the_watchdog_is_told_only_while_all_is_well(
    tmp_path: Path, manager: socket.socket, is_well: bool, told: list[bytes]
):
    database = connect(f"sqlite:///{tmp_path}/preread.sqlite")
    condition = Condition(is_well, "threads", "running")
    pulse = Pulse(Processes(database), lambda: NOW, "read", "sha256:ab", lambda: [condition])

    pulse.beat()

    database.close()
    try:
        heard = [manager.recv(100)]
    except BlockingIOError:
        heard = []
    assert heard == told
