"""Receivers that do what a script says: an MLLP port and a web server on loopback."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agent.hl7.framing import Deframer, framed
from agent.hl7.message import parse_message

Script = Callable[[bytes], bytes | None]
"""From a message to the bytes that go back; None closes the connection instead."""


def acknowledged(code: str, *, text: str = "", condition: str = "", of: str | None = None) -> Script:
    """Answers with this code (MSA-1) and, if given, another control ID than the message's (MSA-2)."""

    def answer(message: bytes) -> bytes:
        control_id = parse_message(message).control_id if of is None else of
        error = f"ERR|||{condition}|E||||{text}\r" if condition else ""
        lines = f"MSH|^~\\&|RIS||PREREAD||20260301||ACK^R01^ACK|A1|P|2.5.1\rMSA|{code}|{control_id}|{text}\r{error}"
        return framed(lines.encode())

    return answer


def dead(message: bytes) -> None:
    """Takes the message and dies before it can say so."""


def silent(message: bytes) -> bytes:
    """Takes the message and never says anything."""
    return b""


@dataclass
class MllpPeer:
    """A port that answers the n-th message by the n-th script, and all further ones by the last."""

    scripts: list[Script]
    received: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        deframer = Deframer(1_000_000)
        with connection, suppress(OSError):
            while received := connection.recv(65_536):
                for message in deframer.feed(received):
                    script = self.scripts[min(len(self.received), len(self.scripts) - 1)]
                    self.received.append(message)
                    answer = script(message)
                    if answer is None:
                        return
                    connection.sendall(answer)

    def close(self) -> None:
        self._server.close()


@contextmanager
def mllp_peer(*scripts: Script) -> Iterator[MllpPeer]:
    peer = MllpPeer(list(scripts))
    try:
        yield peer
    finally:
        peer.close()


@dataclass
class WebPeer:
    """A web server that answers the n-th post with the n-th status, and all further ones with the last.

    Status 0 closes the connection without an answer, as does a server that dies.
    """

    statuses: list[int]
    body: bytes = b"{}"
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        peer = self

        class _Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                status = peer.statuses[min(len(peer.received), len(peer.statuses) - 1)]
                peer.received.append(({k.lower(): v for k, v in self.headers.items()}, content))
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(peer.body)))
                self.end_headers()
                self.wfile.write(peer.body)

            def do_GET(self) -> None:
                peer.asked.append(self.path)
                self.send_response(peer.statuses[0])
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Post)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def web_peer(*statuses: int, body: bytes = b"{}") -> Iterator[WebPeer]:
    peer = WebPeer(list(statuses), body)
    try:
        yield peer
    finally:
        peer.close()
