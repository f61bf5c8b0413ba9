"""What all tests share."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from pynetdicom.transport import AssociationSocket

from storage import database
from storage.database import Database

# A busy machine is no error: hypothesis would otherwise fail an example that takes over 200 ms. And what passed once
# passes again: the same examples each time, so that a change is judged by itself. `make properties` draws new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None, max_examples=1500)
settings.load_profile("same")

_shutdown_socket = AssociationSocket._shutdown_socket


def _shut_down_and_close(self: AssociationSocket) -> None:
    """Closes the socket of a peer that the tests play with pynetdicom itself, even if its other side was faster.

    pynetdicom 3.0.4 does not: shutdown() of a connection that has gone raises, close() after it is not reached, and
    the collector's complaint fails whichever test runs at that moment. Our own sockets are classes of their own and
    must close themselves; to them this does nothing.
    """
    plain = self.socket if type(self) is AssociationSocket else None
    _shutdown_socket(self)
    if plain is not None:
        with suppress(OSError):
            plain.close()


AssociationSocket._shutdown_socket = _shut_down_and_close


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files; review them as a diff"
    )


@pytest.fixture(autouse=True)
def no_database_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what a test has opened and left so: from 3.13 on Python complains, in whichever test runs by then."""
    opened: list[Database] = []
    open_one = database._opened

    def keeping(*arguments: Any, **more: Any) -> Database:
        opened.append(open_one(*arguments, **more))
        return opened[-1]

    monkeypatch.setattr(database, "_opened", keeping)
    yield
    for one in opened:
        one.close()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """True if the golden files are to be rewritten rather than compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def machine_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts this machine into a time zone, such as "UTC" or "CET-1", until the test is over."""

    def _put(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield _put
    monkeypatch.undo()
    time.tzset()
