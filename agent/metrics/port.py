"""The port where a monitor asks: three pages over HTTP/1.0, each connection answers one question."""

import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

import structlog

from agent.admission import comes_from
from agent.ports import PortError, opening
from config.settings import MetricsSettings

log = structlog.get_logger()

CONNECTIONS_MAX = 8
"""At the same time; one more is closed at once. A monitor and an orchestrator need two."""

_IDLE_SECONDS = 5.0
"""How long a connection may be silent. With CONNECTIONS_MAX this bounds what a stuck client costs."""

Page = Callable[[], tuple[HTTPStatus, str, bytes]]
"""Gives status, media type and body."""


class MetricsPort:
    """Answers GET of the pages it is given, and 404 for the rest."""

    def __init__(self, settings: MetricsSettings, pages: Mapping[str, Page]) -> None:
        self._server = _Server(settings, pages)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Opens the port. Raises PortError if it cannot."""
        self._server.open()
        self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, settings: MetricsSettings, pages: Mapping[str, Page]) -> None:
        self.address_family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        super().__init__((settings.host, settings.port), _Answer, bind_and_activate=False)
        self.pages = pages
        self._settings = settings
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def open(self) -> None:
        try:
            with opening("metrics.port", self._settings.host, self._settings.port):
                self.server_bind()
                self.server_activate()
        except PortError:
            self.server_close()
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if not comes_from(str(client_address[0]), self._settings.addresses):
            log.warning("metrics refused", address=client_address[0], reason="not in metrics.addresses")
            return False
        return self._places.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says that a page could not be given; the monitor sees a connection that ended."""
        log.exception("metrics failed", address=client_address[0])


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    timeout = _IDLE_SECONDS
    server_version, sys_version = "preread", ""

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        status, media_type, body = page()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Writes nothing: a monitor asks every few seconds."""
