"""An HL7 port on loopback with real files and a real database behind it."""

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.hl7.message import Message, parse_message
from agent.messages import MessageIntake, MessageType
from agent.mllp import MllpReceiver
from agent.reports.results import result_messages
from agent.tls import PortContext
from config.agent_settings import Hl7Settings, ListenerTlsSettings
from storage.database import connect
from storage.files import Files
from storage.index import Index
from storage.jobs import Jobs
from storage.reports import Reports
from tests.hl7.builders import NOW


@dataclass(frozen=True)
class Inbox:
    """What a test sees of the way of a message."""

    files: Files
    index: Index
    jobs: Jobs
    reports: Reports
    intake: MessageIntake

    def texts(self) -> list[str]:
        return [report.text for report in reversed(self.reports.latest(100))]

    def the_refusal(self) -> str:
        """The one refused connection, which may be noted a moment after its sender noticed."""
        deadline = time.monotonic() + 10
        while not self.index.refusals(2) and time.monotonic() < deadline:
            time.sleep(0.01)
        (refusal,) = self.index.refusals(2)
        return refusal.reason


@dataclass
class Engine:
    """The other side: an interface engine with one connection."""

    connection: socket.socket

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def answer(self) -> Message:
        """The next acknowledgement."""
        received = b""
        while not received.endswith(b"\x1c\r"):
            more = self.connection.recv(1)
            assert more, f"closed after {received!r}"
            received += more
        assert received.startswith(b"\x0b")
        return parse_message(received[1:-2])

    def ask(self, content: bytes) -> tuple[str, str]:
        """Sends a message; gives the code and the control ID of its answer (MSA-1, MSA-2)."""
        self.send(b"\x0b" + content + b"\x1c\r")
        acknowledged = self.answer().first("MSA")
        return acknowledged.text(1), acknowledged.text(2)

    def is_closed(self) -> bool:
        """True as soon as the other side has closed; waits for it."""
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "preread.sqlite"
    connect(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def inbox(tmp_path: Path, empty_database: Path) -> Iterator[Inbox]:
    shutil.copy(empty_database, tmp_path / "preread.sqlite")
    database = connect(f"sqlite:///{tmp_path / 'preread.sqlite'}")
    files, index, reports = Files(tmp_path / "files"), Index(database), Reports(database)
    intake = an_intake(reports, files)
    yield Inbox(files, index, Jobs(database), reports, intake)
    database.close()


def an_intake(
    reports: Reports, files: Files, *, types: dict[str, MessageType] | None = None, free_bytes_min: int = 0
) -> MessageIntake:
    taken = {"ORU": result_messages(reports)} if types is None else types
    return MessageIntake(taken, reports, files, lambda: NOW, free_bytes_min=free_bytes_min)


OpenPort = Callable[..., MllpReceiver]
Connect = Callable[..., Engine]


@pytest.fixture
def port(inbox: Inbox) -> Iterator[OpenPort]:
    """Opens the port with the given limits; it is closed after the test."""
    with ExitStack() as stack:

        def _open(tls: ListenerTlsSettings | None = None, number: int = 0, **limits: Any) -> MllpReceiver:
            settings = Hl7Settings(**limits).model_copy(update={"port": number})
            context = None if tls is None else PortContext(tls)
            receiver = MllpReceiver(settings, context, inbox.intake, inbox.index, lambda: NOW)
            receiver.start()
            stack.callback(receiver.stop, 10)
            return receiver

        yield _open


@pytest.fixture
def engine() -> Iterator[Connect]:
    """Connects to a port, encrypted if a context is given; closed after the test."""
    with ExitStack() as stack:

        def _connect(receiver: MllpReceiver, context: ssl.SSLContext | None = None) -> Engine:
            connection = socket.create_connection(("127.0.0.1", receiver.port), 10)
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname="127.0.0.1")
            stack.callback(connection.close)
            return Engine(connection)

        yield _connect
