"""Peers on loopback for the tests of `agent.peers`: one that answers as told, and sockets that misbehave."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import BasicTextSRStorage, ComprehensiveSRStorage, Verification
from pynetdicom.transport import ThreadedAssociationServer

from agent.demo.pacs import connection_opened
from config.settings import DestinationSettings, DestinationTlsSettings

SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


class Archive:
    """What a storage SCP has received, and how it answers."""

    def __init__(self, status: int = 0x0000) -> None:
        self.status = status
        self.received: list[bytes] = []
        self.arrived_at: list[float] = []
        self.syntaxes: list[str] = []
        self.classes: list[str] = []
        self.instances: list[str] = []
        self.calling: list[str] = []
        self.associations = 0
        self.proposed: list[tuple[str, str]] = []
        self.port = 0

    def store(self, event: evt.Event) -> int:
        self.arrived_at.append(time.monotonic())
        self.received.append(event.encoded_dataset(include_meta=False))
        self.syntaxes.append(str(event.context.transfer_syntax))
        self.classes.append(str(event.request.AffectedSOPClassUID))
        self.instances.append(str(event.request.AffectedSOPInstanceUID))
        return self.status

    def requested(self, event: evt.Event) -> None:
        self.associations += 1
        self.calling.append(event.assoc.requestor.primitive.calling_ae_title)
        self.proposed += [
            (str(cx.abstract_syntax), str(syntax))
            for cx in event.assoc.requestor.requested_contexts
            for syntax in cx.transfer_syntax
        ]


@contextlib.contextmanager
def an_archive(
    *,
    status: int = 0x0000,
    classes: Sequence[str] = (Verification, BasicTextSRStorage, ComprehensiveSRStorage),
    syntaxes: Sequence[str] = SYNTAXES,
    ae_title: str = "ARCHIVE",
    check_ae_titles: bool = False,
    associations_max: int = 10,
    on_store: Callable[[evt.Event], int] | None = None,
    tls: ssl.SSLContext | None = None,
    more_handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
) -> Iterator[Archive]:
    archive = Archive(status)
    ae = AE(ae_title=ae_title)
    ae.require_called_aet = check_ae_titles
    ae.maximum_associations = associations_max
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    handlers = [(evt.EVT_C_STORE, on_store or archive.store), (evt.EVT_REQUESTED, archive.requested)]
    handlers += [(evt.EVT_CONN_OPEN, connection_opened), *more_handlers]
    server = ae.make_server(
        ("127.0.0.1", 0), evt_handlers=handlers, ssl_context=tls, server_class=ThreadedAssociationServer
    )
    archive.port = server.server_address[1]
    # Not AE.start_server: its loop looks every half second whether it shall end.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        # Not the server's own shutdown(), which wants to find it in the AE's list of servers.
        BaseServer.shutdown(server)
        server.server_close()
        thread.join(10)


@contextlib.contextmanager
def a_bare_socket(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Listens on loopback and lets `talk` deal with each connection, until the event; gives the port."""
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                talk(connection, over)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def a_destination(
    port: int,
    *,
    ae_title: str = "ARCHIVE",
    calling_ae_title: str = "",
    host: str = "127.0.0.1",
    connect_seconds: float = 5.0,
    answer_seconds: float = 10.0,
    tls: DestinationTlsSettings | None = None,
) -> DestinationSettings:
    return DestinationSettings(
        name="archive",
        ae_title=ae_title,
        host=host,
        port=port,
        calling_ae_title=calling_ae_title,
        connect_seconds=connect_seconds,
        answer_seconds=answer_seconds,
        tls=tls,
    )
