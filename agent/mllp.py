"""The port where HL7 messages arrive: MLLP release 1 over TCP or TLS, a thread for each connection."""

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

import structlog

from agent.admission import comes_from
from agent.hl7.framing import Deframer, TooLong, framed
from agent.messages import MessageIntake
from agent.ports import PortError, opening
from agent.tls import PortContext, handshake_problem, shut_down
from storage.database import DatabaseError, trouble_of
from storage.index import Index
from storage.records import Refusal

log = structlog.get_logger()

_RECEIVE_BYTES = 65_536
_HANDSHAKE_SECONDS = 10.0
_ANSWER_SECONDS = 30.0


class Limits(Protocol):
    """What may come through the port; `settings.agent.hl7`."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def addresses(self) -> Sequence[str]: ...
    @property
    def connections_max(self) -> int: ...
    @property
    def message_bytes_max(self) -> int: ...
    @property
    def message_seconds(self) -> float: ...
    @property
    def idle_seconds(self) -> float: ...


class MllpReceiver:
    """Answers each message when it is stored for good, and keeps connections open for more.

    Args:
        tls: None listens without encryption.
    """

    def __init__(
        self,
        limits: Limits,
        tls: PortContext | None,
        intake: MessageIntake,
        index: Index,
        clock: Callable[[], datetime],
    ) -> None:
        self._server = _Server(limits, tls, intake, index, clock)
        self._is_stopped = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="mllp", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def is_deaf(self) -> bool:
        """True if the thread that accepts has ended although nobody stopped it: only a new start helps."""
        return not self._is_stopped and self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Opens the port. Raises PortError if it cannot."""
        self._server.open()
        self._thread.start()

    def take(self, intake: MessageIntake) -> None:
        """Gives the next messages, also those of open connections, to another intake."""
        self._server.intake = intake

    def stop(self, seconds: float) -> None:
        """Takes no more connections, lets messages in hand be answered, and ends; after `seconds` at most."""
        self._is_stopped = True
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._server.end_connections(seconds)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 32
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        limits: Limits,
        tls: PortContext | None,
        intake: MessageIntake,
        index: Index,
        clock: Callable[[], datetime],
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in limits.host else socket.AF_INET
        super().__init__((limits.host, limits.port), socketserver.BaseRequestHandler, bind_and_activate=False)
        self._limits, self._tls, self.intake, self._index, self._clock = limits, tls, intake, index, clock
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._silent: dict[socket.socket, str] = {}  # those without a message so far: address, oldest first

    def open(self) -> None:
        try:
            with opening("hl7.port", self._limits.host, self._limits.port):
                self.server_bind()
                self.server_activate()
        except PortError:
            self.server_close()
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Closes at once what may not send or is one too many; with a line among the refusals.

        Too many is first one that has brought no message yet, so that connections which only stand there keep no
        engine out.
        """
        address = str(client_address[0])
        if not comes_from(address, self._limits.addresses):
            self._refuse(address, f"{address} may not send HL7. If it may, add it to hl7.addresses.")
            return False
        full = f"hl7.connections_max = {self._limits.connections_max} are open already"
        cut_address = None
        with self._changed:
            if len(self._connections) >= self._limits.connections_max:
                cut_address = self._cut_a_silent_one()
            is_room = len(self._connections) < self._limits.connections_max
            if is_room:
                self._connections.add(request)
                self._silent[request] = address
        if not is_room:
            self._refuse(address, full)
        elif cut_address is not None:
            self._refuse(cut_address, f"{full}, and of those without a message this was the oldest")
        return is_room

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serves one connection until its end; in the connection's own thread."""
        address = str(client_address[0])
        connection = request
        try:
            if self._tls is not None:
                connection = self._wrapped(request, address)
                _shake_hands(connection)
            self._serve(connection, address)
        except (TooLong, TimeoutError) as error:
            if connection in self._connections:  # else it was cut, and that has been said
                self._refuse(address, f"{error}; the connection was closed")
        except DatabaseError as error:
            reason = trouble_of(error)
            if reason is None:
                raise
            log.error("an HL7 message has no answer, the database is away", address=address, reason=reason)
        except (ConnectionError, ssl.SSLError) as error:
            log.info("HL7 connection ended", address=address, because=type(error).__name__)
        finally:
            # First the place, then the connection: whoever sees it end may connect again at once.
            with self._changed:
                self._leave(request)
                self._leave(connection)
                self._changed.notify_all()
            connection.close()

    def shutdown_request(self, request: Any) -> None:
        """Closes what was never served; after a TLS handshake the plain socket is an empty shell."""
        with self._changed:
            self._leave(request)  # its place, if not even a thread could be had for it
        with suppress(OSError):
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says that a message got no answer; its sender will send it again."""
        log.exception("HL7 connection failed", address=client_address[0])

    def end_connections(self, seconds: float) -> None:
        with self._changed:
            for connection in self._connections:
                # Reading ends, answers still go out.
                shut_down(connection, socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._connections, seconds)

    def _leave(self, connection: socket.socket) -> None:
        self._connections.discard(connection)
        self._silent.pop(connection, None)

    def _cut_a_silent_one(self) -> str | None:
        """Ends the oldest connection that has brought no message, and takes its place away; gives its address."""
        oldest = next(iter(self._silent), None)
        if oldest is None:
            return None
        address = self._silent[oldest]
        self._leave(oldest)
        shut_down(oldest, socket.SHUT_RDWR)
        return address

    def _wrapped(self, request: socket.socket, address: str) -> ssl.SSLSocket:
        """The connection with TLS around it, in the place of the plain one; hands are shaken afterwards."""
        assert self._tls is not None
        context = self._tls.current()
        with self._changed:
            if request not in self._connections:
                raise ConnectionAbortedError  # it was cut before it began
            self._leave(request)
            request.settimeout(_HANDSHAKE_SECONDS)
            connection = context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            self._connections.add(connection)
            self._silent[connection] = address
        return connection

    def _serve(self, connection: socket.socket, address: str) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deframer = Deframer(self._limits.message_bytes_max)
        log.info("HL7 connection", address=address)
        deadline = time.monotonic() + self._limits.idle_seconds
        while received := self._received(connection, deframer, deadline):
            was_inside = deframer.is_inside
            answered = False
            for message in deframer.feed(received):
                with self._changed:
                    self._silent.pop(connection, None)
                _send(connection, framed(self.intake.answer(message, address)))
                answered = True
            if answered or was_inside != deframer.is_inside:
                inside = deframer.is_inside
                seconds = self._limits.message_seconds if inside else self._limits.idle_seconds
                deadline = time.monotonic() + seconds

    def _received(self, connection: socket.socket, deframer: Deframer, deadline: float) -> bytes:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            return connection.recv(_RECEIVE_BYTES)
        except TimeoutError:
            if deframer.is_inside:
                seconds = self._limits.message_seconds
                raise TimeoutError(
                    f"a message did not end within hl7.message_seconds = {seconds:g}"
                ) from None
            return b""

    def _refuse(self, address: str, reason: str) -> None:
        log.warning("HL7 connection refused", address=address, reason=reason)
        try:
            self._index.refuse(Refusal(self._clock(), "", address, "", None, reason))
        except Exception as error:
            # Some of this runs in the thread that accepts; without it the port would be deaf until a restart.
            why = trouble_of(error)
            log.error(
                "the refusal is on no list, the database does not take it", reason=why, exc_info=why is None
            )


def _shake_hands(connection: ssl.SSLSocket) -> None:
    try:
        connection.do_handshake()
    except ssl.SSLError as error:
        raise TimeoutError(handshake_problem(error)) from error


def _send(connection: socket.socket, answer: bytes) -> None:
    connection.settimeout(_ANSWER_SECONDS)
    try:
        connection.sendall(answer)
    except TimeoutError:
        raise TimeoutError(f"the sender took no answer for {_ANSWER_SECONDS:g} s") from None
