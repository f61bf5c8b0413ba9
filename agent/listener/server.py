"""pynetdicom's server, association and socket, with our subclasses put in at its seams."""

import select
import socket
import ssl
import time
from contextlib import suppress
from socketserver import BaseServer
from typing import Any

import structlog
from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.association import MODE_ACCEPTOR, Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import (
    AddressInformation,
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from agent.admission import address_problem, called_problem, calling_problem
from agent.listener.contexts import answer
from agent.listener.gate import Gate
from agent.listener.intake import Commitments, Intake, Peer
from agent.listener.short_path import MALFORMED, ShortPathProvider
from agent.listener.turned_away import TurnedAway
from agent.listener.waking import Checkpoint, WakingQueue
from agent.peers import commitment_answer
from agent.tls import PortContext, handshake_problem, shown_certificate, shut_down

log = structlog.get_logger()

# A-ASSOCIATE-RJ (PS3.8 Table 9-21): (result, source, reason).
_CALLED_NOT_RECOGNIZED = (1, 1, 7)
_CALLING_NOT_RECOGNIZED = (1, 1, 3)
_LOCAL_LIMIT_EXCEEDED = (2, 3, 2)

_KINDS = {
    _CALLED_NOT_RECOGNIZED: "called AE title not recognized",
    _CALLING_NOT_RECOGNIZED: "calling AE title not recognized",
}
"""Rejections whose reason names what the sender has chosen."""


class PatientSocket(AssociationSocket):
    """A socket that does not block its thread in reading, and in writing only for so long."""

    send_seconds = 30.0
    """How long the peer may take no byte of an answer."""

    def send(self, bytestream: bytes) -> None:
        """Sends all of it, or closes the connection."""
        rest = memoryview(bytestream)
        deadline = time.monotonic() + self.send_seconds
        while rest and self.socket is not None:
            try:
                rest = rest[self.socket.send(rest) :]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not self._writable(deadline - time.monotonic()):
                    self.close()
            except OSError:
                self.close()

    def _shutdown_socket(self) -> None:
        # pynetdicom's own does not close what cannot be shut down any more: each reset loses a descriptor.
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    def _writable(self, seconds: float) -> bool:
        assert self.socket is not None
        waiting = select.poll()
        waiting.register(self.socket.fileno(), select.POLLOUT)
        return seconds > 0 and bool(waiting.poll(seconds * 1000))


class Admission(ACSE):
    """Association negotiation with our rules before pynetdicom's."""

    def __init__(self, assoc: "ListenerAssociation", gate: Gate, intake: Intake) -> None:
        super().__init__(assoc)
        self._gate = gate
        self._intake = intake

    def negotiate_association(self) -> None:
        """Rejects whom we do not know or have no room for; negotiates with everybody else."""
        request = self.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):
            return  # the connection ended before it came
        remote = self.requestor.address_info
        peer = Peer(
            remote.address, str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
        )
        self.dul.introduce(peer)
        rejection, reason = self._rejection(peer)
        kind = _KINDS.get(rejection, "") if reason else ""
        if not reason:
            reason = self._negotiate(peer)
            if not reason:
                self._log_accepted(peer)
                return
            self.send_abort(0x02)
        else:
            self.send_reject(*rejection)
        self._intake.refuse(peer, reason, kind=kind)
        self.assoc.kill()

    def _rejection(self, peer: Peer) -> tuple[tuple[int, int, int], str]:
        rules = self._intake.rules
        reason = called_problem(peer.called_ae_title, rules)
        if reason:
            return _CALLED_NOT_RECOGNIZED, reason
        shown = shown_certificate(self.dul.socket.socket)
        reason = calling_problem(peer.calling_ae_title, peer.address, rules, shown)
        if reason:
            return _CALLING_NOT_RECOGNIZED, reason
        if not self._gate.enter(self.dul):
            associations_max = self._intake.limits.associations_max
            return (
                _LOCAL_LIMIT_EXCEEDED,
                f"associations_max = {associations_max} of agent.toml are open already",
            )
        return _LOCAL_LIMIT_EXCEEDED, ""

    def _negotiate(self, peer: Peer) -> str:
        commitments = self._intake.commitments
        takes = commitments is not None and commitments.may_come_from(peer)
        try:
            proposed = self.requestor.primitive.presentation_context_definition_list
            self.acceptor.supported_contexts = answer(proposed, takes_commitments=takes)
            super().negotiate_association()
        except MALFORMED as error:
            return f"the association request cannot be negotiated: {type(error).__name__}"
        return ""

    def _log_accepted(self, peer: Peer) -> None:
        refused = [str(context.abstract_syntax) for context in self.assoc.rejected_contexts]
        log.info(
            "association accepted",
            calling_ae_title=peer.calling_ae_title,
            address=peer.address,
            contexts=len(self.assoc.accepted_contexts),
            refused_sop_classes=refused,
        )


class ListenerAssociation(Association):
    """An acceptor whose threads wait for reasons and whose data takes the short path."""

    def __init__(self, ae: Any, gate: Gate, intake: Intake, address: str) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self._reactor_checkpoint = Checkpoint()
        self._reactor_checkpoint.set()
        self.acse = Admission(self, gate, intake)
        self.dul = ShortPathProvider(self, gate, intake, address)
        self.dul.to_user_queue = WakingQueue(self._reactor_checkpoint.set)
        self.dimse.msg_queue = WakingQueue(self._reactor_checkpoint.set)
        self.daemon = True
        self.dul.daemon = True
        if intake.commitments is not None:
            self.bind(evt.EVT_N_EVENT_REPORT, _report, [intake.commitments])

    def kill(self) -> None:
        """Ends the association's loop (called by pynetdicom, from its own thread or another)."""
        self._kill = True
        super().kill()


def _report(event: evt.Event, commitments: Commitments) -> tuple[int, None]:
    calling_ae_title = str(event.assoc.requestor.ae_title).strip()
    return commitment_answer(
        event.event_information, lambda report: commitments.take(report, calling_ae_title)
    ), None


class ListenerRequestHandler(RequestHandler):
    """Makes the association for one connection."""

    server: "ListenerServer"

    def _create_association(self) -> Association:
        server = self.server
        address = str(self.client_address[0])
        assoc = ListenerAssociation(self.ae, server.gate, server.intake, address)
        assoc._server = server
        assoc.name = f"AcceptorThread@{address}"
        assoc.set_socket(PatientSocket(assoc, client_socket=self.request))
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = server.ae_title
        assoc.acceptor.address_info = self.local
        assoc.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = self.ae.implementation_version_name
        assoc.requestor.address_info = AddressInformation.from_tuple(self.client_address)
        server.gate.know(assoc.dul)
        return assoc


class _Handshake:
    """A connection whose TLS handshake is under way, as the gate sees it."""

    def __init__(self, connection: ssl.SSLSocket, address: str) -> None:
        self._connection = connection
        self.address = address
        self.is_cut = False

    def hurry(self) -> None:
        """Ends it: no message is in it."""
        self.cut()

    def cut(self) -> None:
        """Ends it now; from any thread."""
        self.is_cut = True
        shut_down(self._connection, socket.SHUT_RDWR)


class ListenerServer(ThreadedAssociationServer):
    """Accepts connections; a TLS handshake is done in the connection's own thread and against the clock."""

    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, *args: Any, gate: Gate, intake: Intake, tls: PortContext | None, **keywords: Any
    ) -> None:
        self.gate = gate
        self.intake = intake
        self.tls = tls
        self._turned_away = TurnedAway()
        super().__init__(*args, **keywords)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts, and nothing else: pynetdicom would shake hands here, while everybody else waits."""
        connection, address = self.socket.accept()
        # Without it each answer may wait 40 ms for the peer's delayed acknowledgement of the one before.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Says no where nobody may come from, and above the limits; the connection is closed without a word."""
        address, now_seconds = str(client_address[0]), time.monotonic()
        reason = address_problem(address, self.intake.rules)
        if reason:
            if self._turned_away.is_new(address, now_seconds):
                # In another thread: the disk and the database must not hold up who comes next.
                self.intake.syncing.submit(self.intake.refuse, Peer(address), reason)
        else:
            reason = self.gate.open_connection(address)
        if reason:
            self._turned_away.tell(address, reason, now_seconds)
        elif crowded_out := self.gate.make_room():
            told = "the port was full, and of all connections this one had been in no association for longest"
            self._turned_away.tell(crowded_out, told, now_seconds)
        return not reason

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shakes hands, then starts the association; in the connection's own thread."""
        try:
            connection = self._shake_hands(request, str(client_address[0])) if self.tls else request
            connection.setblocking(False)
            super().finish_request(connection, client_address)
        except OSError as error:
            self.gate.close_connection(str(client_address[0]))
            self._note_failure(str(client_address[0]), error)
            self.shutdown_request(request)

    def service_actions(self) -> None:
        """Does nothing: pynetdicom's collects all garbage here every few seconds, 70 ms in which nobody receives.

        Python does it by itself as garbage comes up.
        """

    def end(self) -> None:
        """Stops accepting and closes the port. Not `shutdown`, which expects AE.start_server."""
        BaseServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says what went wrong before an association began; socketserver would print it."""
        self.gate.close_connection(str(client_address[0]))
        log.exception("connection failed", address=client_address[0])

    def _shake_hands(self, request: socket.socket, address: str) -> ssl.SSLSocket:
        assert self.tls is not None
        request.settimeout(self.intake.limits.negotiation_seconds)
        connection = self.tls.current().wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        handshake = _Handshake(connection, address)
        self.gate.know(handshake)
        try:
            connection.do_handshake()
        except OSError as error:
            connection.close()
            if handshake.is_cut:
                raise ConnectionAbortedError from error  # not a handshake that failed: we ended it
            raise
        finally:
            self.gate.forget(handshake)
        return connection

    def _note_failure(self, address: str, error: OSError) -> None:
        if isinstance(error, TimeoutError):
            seconds = self.intake.limits.negotiation_seconds
            self.intake.refuse(Peer(address), f"no TLS handshake within negotiation_seconds = {seconds:g}")
        elif isinstance(error, ssl.SSLError):
            self.intake.refuse(Peer(address), handshake_problem(error), kind="TLS handshake failed")
        else:
            log.info("connection ended before it began", address=address)
