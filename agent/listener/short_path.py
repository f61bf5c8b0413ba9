"""pynetdicom's upper layer with a short path for data: P-DATA-TF in Sta6 goes from socket to part-file.

Everything else (negotiation, release, abort, every other PDU and state) goes through pynetdicom's own
decoders and state machine, one PDU at a time: docs/decisions/0004-a-short-path-through-pynetdicom.md.
"""

import select
import ssl
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import A_P_ABORT, P_DATA

from agent.listener.gate import Gate
from agent.listener.intake import Intake, Peer
from agent.listener.messages import Incoming, Wire
from agent.listener.statuses import ProtocolBreach
from agent.listener.waking import WakePipe, WakingQueue

log = structlog.get_logger()

_PDU_HEADER = struct.Struct(">BxL")  # type, length of what follows (PS3.8 9.3.1)
_A_ASSOCIATE_RQ = 0x01
_P_DATA_TF = 0x04
_ABORT_OR_RELEASE = 0x05
_PDU_TYPE_MAX = 0x07

BUFFER_BYTES = 262_144
"""Least size of an association's buffer. A megabyte was no quicker, and with four associations 10 MB more."""
ASSOCIATE_BYTES_MAX = 131_072
"""Longest A-ASSOCIATE-RQ that we read: 128 contexts of 25 transfer syntaxes take some 110,000 bytes."""
SHORT_BYTES_MAX = 1024
"""Longest PDU of the other types; release and abort have 4 bytes."""
LINGER_SECONDS = 2.0
"""How long the peer may take to close the connection after a release, rejection or abort, before we do."""

MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    struct.error,
    NotImplementedError,
)
"""What pynetdicom raises on PDUs that are none, seen by feeding it mutilated ones."""

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# Events of PS3.8 Table 9-10: P-DATA to be sent; then those that we raise ourselves.
_ANSWER = "Evt9"
_CLOSED = "Evt17"
_INVALID_PDU = "Evt19"


class ShortPathProvider(DULServiceProvider):
    """One connection's thread. Blocks in poll on the socket and a wake pipe; nothing in it runs on a timer.

    The buffer is used again and again; whole PDUs are handled in place as memory views, so a dataset is
    never in memory. The length of a PDU is judged as soon as its header is there, before the rest is read.
    """

    def __init__(self, assoc: Any, gate: Gate, intake: Intake, address: str) -> None:
        super().__init__(assoc)
        self._gate = gate
        self._intake = intake
        self.address = address
        self._peer = Peer(address)
        self._incoming: Incoming | None = None
        self._is_unanswered = False  # a message went to pynetdicom, and its answer is not out yet
        self._has_rest = False  # what came behind such a message has not been looked at
        self._pipe = WakePipe()
        self._poll = select.poll()
        self._poll.register(self._pipe.fileno(), select.POLLIN)
        # Without the socket: until the answer is out it is not read, and would wake us without end.
        self._poll_unanswered = select.poll()
        self._poll_unanswered.register(self._pipe.fileno(), select.POLLIN)
        self.to_provider_queue = WakingQueue(self._pipe.wake)
        self._buffer = memoryview(
            bytearray(max(BUFFER_BYTES, 2 * (intake.limits.pdu_bytes_max + _PDU_HEADER.size)))
        )
        self._start = 0  # of the bytes received and not yet handled
        self._end = 0
        now = time.monotonic()
        self._state_since = now
        self._heard_at = now  # when the last byte came
        self._whole_at = now  # when the last whole PDU came, or the first byte of the present one
        self._passed_on_at = now  # when the last message went to pynetdicom

    def hurry(self) -> None:
        """Wakes the thread, which looks at the gate; from any thread."""
        self._pipe.wake()

    def cut(self) -> None:
        """Ends the connection now; from any thread."""
        self.kill_dul()

    def kill_dul(self) -> None:
        """Stops the thread (called by pynetdicom)."""
        super().kill_dul()
        self._pipe.wake()

    def run_reactor(self) -> None:
        """The thread's life; replaces pynetdicom's polling loop."""
        sock = self.socket.socket
        self._poll.register(sock.fileno(), select.POLLIN)
        self.assoc._dul_ready.set()
        try:
            while not self._kill_thread:
                if not self._turn():
                    self._wait()
        finally:
            self._hang_up()

    # --- one turn ---------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Does the next thing there is to do; False if there is nothing."""
        state = self.state_machine.current_state
        if not self.event_queue.empty():
            self._do(self.event_queue.get_nowait())
            return True
        if self._gate.is_closing and self._may_close(state):
            return True
        if state == "Sta13":  # the state machine takes nothing from us any more, only from the peer
            while not self.to_provider_queue.empty():
                self.to_provider_queue.get_nowait()
        elif self._process_recv_primitive():
            return True
        if self._is_unanswered:
            return False
        if self._has_rest:
            self._has_rest = False
            self._take_in()
            return True
        return self._receive()

    def _do(self, event: str) -> None:
        """One step of pynetdicom's state machine."""
        before = self.state_machine.current_state
        is_answer = event == _ANSWER and _is_last(self.to_provider_queue.queue)
        if (event, before) not in TRANSITION_TABLE:
            # A crossing of two threads: they answer an association that has ended meanwhile.
            log.debug("event without meaning in this state", fsm_event=event, state=before)
            with suppress(IndexError):
                self.to_provider_queue.queue.popleft()
            return
        self.state_machine.do_action(event)
        after = self.state_machine.current_state
        if self._is_unanswered and (is_answer or after != "Sta6"):
            self._is_unanswered, self._has_rest = False, True
            self._whole_at = time.monotonic()
        if after != before:
            self._state_since = time.monotonic()
        if after not in ("Sta2", "Sta3", "Sta6"):
            self._gate.leave(self)  # before the answer to a release is out: the sender may come again at once
        if after in ("Sta1", "Sta13"):
            self._forget_message("the association ended in the middle of an object")
            self._start = self._end = 0

    def _may_close(self, state: str) -> bool:
        """Ends the association because we stop, if it is between messages."""
        if state == "Sta6" and not self._is_mid_message():
            self._do(
                _INVALID_PDU
            )  # A-ABORT from the service provider; PS3.8 gives an acceptor nothing gentler
            return True
        if state in ("Sta1", "Sta2", "Sta3"):
            self.socket.close()
            return True
        return False

    # --- from the socket --------------------------------------------------------------------------

    def _receive(self) -> bool:
        """Reads what is there and handles all whole PDUs in it; False if nothing was there."""
        sock = self.socket.socket
        if sock is None:
            return False
        try:
            count = sock.recv_into(self._buffer[self._end :])
        except _WOULD_BLOCK:
            return False
        except OSError:  # reset by the peer, or broken TLS: closed either way
            count = 0
        if count == 0:
            self._closed_by_peer()
            return True
        if self.state_machine.current_state == "Sta13":
            return True  # what comes after our last word is discarded
        self._heard_at = time.monotonic()
        if self._start == self._end:
            self._whole_at = self._heard_at
        self._end += count
        self._take_in()
        return True

    def _take_in(self) -> None:
        try:
            self._handle_pdus()
        except ProtocolBreach as breach:
            self._break_off(str(breach))

    def _closed_by_peer(self) -> None:
        if self._is_mid_message():
            self._forget_message("the connection ended in the middle of an object")
        self._do(_CLOSED)

    def _handle_pdus(self) -> None:
        while not self._is_unanswered and self._end - self._start >= _PDU_HEADER.size:
            kind, length = _PDU_HEADER.unpack_from(self._buffer, self._start)
            self._judge_length(kind, length)
            end = self._start + _PDU_HEADER.size + length
            if end > self._end:
                break
            pdu = self._buffer[self._start : end]
            self._start = end
            self._whole_at = self._heard_at
            if kind == _P_DATA_TF and self.state_machine.current_state == "Sta6":
                self._messages().take(pdu[_PDU_HEADER.size :])
            else:
                self._through_pynetdicom(pdu)
        if self._incoming is not None:
            self._incoming.flush()
        self._make_room()

    def _judge_length(self, kind: int, length: int) -> None:
        """Raises ProtocolBreach for a PDU longer than its kind may be (PS3.8 D.1), before it is read."""
        if not 1 <= kind <= _PDU_TYPE_MAX:
            raise ProtocolBreach(f"PDU type {kind:02X}H does not exist; is this another protocol?")
        if kind == _P_DATA_TF:
            length_max = self._intake.limits.pdu_bytes_max if self._is_established() else 0
        else:
            length_max = SHORT_BYTES_MAX if kind >= _ABORT_OR_RELEASE else ASSOCIATE_BYTES_MAX
        if length > length_max:
            raise ProtocolBreach(
                f"a PDU of type {kind:02X}H announces {length} bytes, {length_max} are allowed here"
            )

    def _through_pynetdicom(self, pdu: memoryview) -> None:
        """Decodes a PDU and puts it through the state machine, as pynetdicom does with all of them."""
        try:
            decoded, event = self._decode_pdu(bytearray(pdu))
            decoded.to_primitive()  # what is wrong raises here, not within the state machine
        except MALFORMED as error:
            raise ProtocolBreach(
                f"a PDU of type {pdu[0]:02X}H cannot be decoded: {type(error).__name__}"
            ) from error
        if (event, self.state_machine.current_state) in TRANSITION_TABLE:
            self._recv_pdu.put(decoded)
            self._do(event)

    def _make_room(self) -> None:
        """Moves the beginning of a PDU to the front when the rest of it might not fit behind."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._start < len(self._buffer) // 2:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest

    # --- messages ---------------------------------------------------------------------------------

    def _messages(self) -> Incoming:
        if self._incoming is None:
            assoc = self.assoc
            contexts = {
                context_id: (str(context.abstract_syntax), str(context.transfer_syntax[0]))
                for context_id, context in assoc._accepted_cx.items()
            }
            wire = Wire(contexts, assoc.requestor.maximum_length or 0, self.socket.send, self._pass_on)
            self._incoming = Incoming(wire, self._peer, self._intake)
        return self._incoming

    def _pass_on(self, context_id: int, command: bytes, dataset: bytes) -> None:
        """Gives a message to pynetdicom, and lets nothing more come until it is answered.

        pynetdicom queues what it is given, and begins a thread for each N-EVENT-REPORT, without an end to either.
        """
        if self._is_unanswered:
            raise ProtocolBreach(
                "a request came in one PDU with another that is not answered yet; one at a time was agreed upon"
            )
        self._is_unanswered = True
        self._passed_on_at = time.monotonic()
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, b"\x03" + command))
        if dataset:
            primitive.presentation_data_value_list.append((context_id, b"\x02" + dataset))
        try:
            self.assoc.dimse.receive_primitive(primitive)
        except MALFORMED as error:
            raise ProtocolBreach(f"a command set cannot be decoded: {type(error).__name__}") from error

    def introduce(self, peer: Peer) -> None:
        """Says who is at the other side, once the association request has told."""
        self._peer = peer

    def _is_established(self) -> bool:
        return self.state_machine.current_state == "Sta6"

    def _is_mid_message(self) -> bool:
        return self._end > self._start or (self._incoming is not None and self._incoming.is_in_message)

    def _forget_message(self, reason: str) -> bool:
        return self._incoming is not None and self._incoming.drop(reason)

    def _break_off(self, reason: str) -> None:
        """Aborts the association for what the peer did, and writes it down."""
        if not self._forget_message(reason):
            self._intake.refuse(self._peer, reason, kind="the protocol was broken")
        self._start = self._end = 0
        self._do(_INVALID_PDU)

    # --- waiting and ending -----------------------------------------------------------------------

    def _wait(self) -> None:
        """Sleeps until the socket or another thread has something, or until it is too late for the peer."""
        if self.socket.socket is None:
            return
        seconds, reason = self._patience()
        poll = self._poll_unanswered if self._is_unanswered else self._poll
        ready = poll.poll(max(0, seconds) * 1000 + 1)
        if any(descriptor == self._pipe.fileno() for descriptor, _ in ready):
            self._pipe.clear()
        if not ready and self._patience()[0] <= 0:
            self._too_late(reason)

    def _patience(self) -> tuple[float, str]:
        """(seconds that are left to the peer, what it will have failed to do)."""
        limits, state = self._intake.limits, self.state_machine.current_state
        if state == "Sta13":
            since, seconds, reason = self._state_since, LINGER_SECONDS, ""
        elif state != "Sta6":
            since, seconds = self._state_since, limits.negotiation_seconds
            reason = f"no whole association request came within negotiation_seconds = {seconds:g}"
        elif self._is_unanswered:
            since, seconds = self._passed_on_at, limits.idle_seconds
            reason = f"a request of it was not answered for idle_seconds = {seconds:g}"
        elif self._is_mid_message():
            since, seconds = self._whole_at, limits.stall_seconds
            reason = f"the sender stopped in the middle of a message for stall_seconds = {seconds:g}"
        else:
            since, seconds = max(self._heard_at, self._state_since), limits.idle_seconds
            reason = f"nothing came for idle_seconds = {seconds:g}"
        return since + seconds - time.monotonic(), reason

    def _too_late(self, reason: str) -> None:
        if self._is_established():
            if self._is_mid_message():
                self._break_off(reason)
            else:
                log.info("association aborted", reason=reason, calling_ae_title=self._peer.calling_ae_title)
                self._do(_INVALID_PDU)
            return
        if reason and self._end > self._start:  # one that never said a word is a port check, not a sender
            self._intake.refuse(self._peer, reason)
        self.socket.close()

    def _hang_up(self) -> None:
        """Leaves nothing behind, however the thread ended."""
        try:
            self._forget_message("the association was ended in the middle of an object")
        finally:
            with suppress(OSError):
                if self.socket.socket is not None:
                    self.socket.close()
            self.state_machine.current_state = "Sta1"
            # An association that still waits for its request would wait on; tell it that none will come.
            self.to_user_queue.put(A_P_ABORT())
            self._pipe.close()
            self._gate.close_connection(self.address, self)


def _is_last(outgoing: Sequence[Any]) -> bool:
    """Says whether the P-DATA that goes out next ends a command set: an answer has no dataset here."""
    *_, (_, value) = outgoing[0].presentation_data_value_list
    return value[:1] == b"\x03"  # message control header, PS3.8 E.2
