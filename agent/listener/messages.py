"""P-DATA to messages: puts fragments together as PS3.8 Annex E says, and trusts none of them."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.listener.commands import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND_BYTES_MAX,
    N_EVENT_REPORT_RQ,
    Command,
    encode_store_response,
    parse_command,
)
from agent.listener.contexts import VERIFICATION
from agent.listener.intake import Intake, Peer
from agent.listener.reception import Reception
from agent.listener.statuses import ProtocolBreach
from agent.peers import STORAGE_COMMITMENT

_PDV_HEADER = struct.Struct(
    ">LBB"
)  # item length, presentation context ID, message control header (PS3.8 9.3.5.1, E.2)
_PDU_HEADER = struct.Struct(">BxL")
_P_DATA_TF = 0x04
_IS_COMMAND = 0x01
_IS_LAST = 0x02
REPORT_BYTES_MAX = 1_048_576
"""Longest report on storage commitment: 5,000 objects, and a job of ours has some dozen."""
_PDV_BYTES_MIN = 64
"""Smallest piece we cut an answer into, whatever nonsense a peer announced as its largest PDU."""


@dataclass(frozen=True, slots=True)
class Wire:
    """The association's side of the messages.

    Attributes:
        contexts: accepted presentation contexts by ID: (abstract syntax UID, transfer syntax UID).
        pdu_bytes_max: the longest P-DATA-TF that the peer takes; 0 = any.
        send: puts bytes on the wire.
        pass_on: gives a whole message to pynetdicom: (context ID, command set, dataset or b"" for none).
    """

    contexts: Mapping[int, tuple[str, str]]
    pdu_bytes_max: int
    send: Callable[[bytes], None]
    pass_on: Callable[[int, bytes, bytes], Any]


class Incoming:
    """The messages of one association, one at a time (we offer no asynchronous operations)."""

    def __init__(self, wire: Wire, peer: Peer, intake: Intake) -> None:
        self._wire = wire
        self._peer = peer
        self._intake = intake
        self._command = bytearray()
        self._context_id: int | None = None
        self._request: Command | None = None
        self._reception: Reception | None = None
        self._report: tuple[bytes, bytearray] | None = None  # command set, dataset so far

    @property
    def is_in_message(self) -> bool:
        """True between the first fragment of a message and its last."""
        return self._context_id is not None

    def take(self, values: memoryview) -> None:
        """Handles the presentation data values of one P-DATA-TF PDU, answering what they complete.

        Fragments of a dataset are kept as views until `flush`.

        Raises:
            ProtocolBreach: then `drop` and abort.
        """
        offset = 0
        while offset < len(values):
            if offset + _PDV_HEADER.size > len(values):
                raise ProtocolBreach("a PDU ends in the middle of a PDV header")
            length, context_id, control = _PDV_HEADER.unpack_from(values, offset)
            end = offset + 4 + length
            if length < 2 or end > len(values):
                raise ProtocolBreach(f"a PDV of {length} bytes does not fit into its PDU")
            self._fragment(context_id, control, values[offset + _PDV_HEADER.size : end])
            offset = end

    def flush(self) -> None:
        """Writes what was taken; the memory behind it is free again afterwards."""
        if self._reception is not None:
            self._reception.flush()

    def drop(self, reason: str) -> bool:
        """Forgets an unfinished message; an object in it is noted as refused. False if there was none."""
        reception, self._reception, self._context_id = self._reception, None, None
        self._report = None
        self._command.clear()
        if reception is None:
            return False
        reception.drop(reason)
        return True

    def _fragment(self, context_id: int, control: int, fragment: memoryview) -> None:
        if self._context_id is None:
            if context_id not in self._wire.contexts:
                raise ProtocolBreach(f"presentation context {context_id} was not accepted")
            self._context_id = context_id
        elif context_id != self._context_id:
            raise ProtocolBreach(
                f"a fragment for context {context_id} inside a message of context {self._context_id}"
            )
        if control & _IS_COMMAND:
            self._command_fragment(fragment, is_last=bool(control & _IS_LAST))
        else:
            self._dataset_fragment(fragment, is_last=bool(control & _IS_LAST))

    def _command_fragment(self, fragment: memoryview, *, is_last: bool) -> None:
        if self._reception is not None or self._report is not None:
            raise ProtocolBreach("a command came in the middle of a dataset")
        if len(self._command) + len(fragment) > COMMAND_BYTES_MAX:
            raise ProtocolBreach(f"a command set of more than {COMMAND_BYTES_MAX} bytes")
        self._command += fragment
        if is_last:
            encoded = bytes(self._command)
            self._command.clear()
            self._begin(parse_command(encoded), encoded)

    def _begin(self, command: Command, encoded: bytes) -> None:
        assert self._context_id is not None
        abstract_syntax_uid, transfer_syntax_uid = self._wire.contexts[self._context_id]
        if command.field == C_STORE_RQ and command.has_dataset:
            self._request = command
            self._reception = Reception(
                command, abstract_syntax_uid, transfer_syntax_uid, self._peer, self._intake
            )
            return
        is_report = command.field == N_EVENT_REPORT_RQ and abstract_syntax_uid == STORAGE_COMMITMENT
        if is_report and command.has_dataset and command.sop_class_uid == STORAGE_COMMITMENT:
            self._report = (encoded, bytearray())
            return
        context_id, self._context_id = self._context_id, None
        if command.field == C_ECHO_RQ and not command.has_dataset and command.sop_class_uid == VERIFICATION:
            self._wire.pass_on(context_id, encoded, b"")
        elif command.field != C_CANCEL_RQ:  # which has no answer, and there is nothing here to cancel
            raise ProtocolBreach(f"message {command.field:04X}H is not one that is taken here")

    def _dataset_fragment(self, fragment: memoryview, *, is_last: bool) -> None:
        if self._report is not None:
            self._report_fragment(*self._report, fragment, is_last=is_last)
            return
        if self._reception is None:
            raise ProtocolBreach("a dataset came without its command")
        self._reception.add(fragment)
        if is_last:
            self._complete(self._reception)

    def _report_fragment(
        self, command: bytes, dataset: bytearray, fragment: memoryview, *, is_last: bool
    ) -> None:
        if len(dataset) + len(fragment) > REPORT_BYTES_MAX:
            raise ProtocolBreach(f"a report on storage commitment of more than {REPORT_BYTES_MAX} bytes")
        dataset += fragment
        if is_last:
            assert self._context_id is not None
            context_id, self._context_id, self._report = self._context_id, None, None
            self._wire.pass_on(context_id, command, bytes(dataset))

    def _complete(self, reception: Reception) -> None:
        assert self._request is not None
        assert self._context_id is not None
        outcome = reception.finish()
        response = encode_store_response(self._request, outcome.status, outcome.comment)
        for pdu in p_data(self._context_id, response, self._wire.pdu_bytes_max):
            self._wire.send(pdu)
        self._reception = self._request = self._context_id = None
        if outcome.stored is not None and self._intake.on_stored is not None:
            self._intake.on_stored(outcome.stored)


def p_data(context_id: int, command: bytes, pdu_bytes_max: int) -> list[bytes]:
    """Encodes a command set as P-DATA-TF PDUs (PS3.8 9.3.5), none longer than the peer takes (0 = any)."""
    piece_bytes = max(pdu_bytes_max - _PDV_HEADER.size, _PDV_BYTES_MIN) if pdu_bytes_max else len(command)
    pdus = []
    for start in range(0, len(command), piece_bytes):
        piece = command[start : start + piece_bytes]
        control = _IS_COMMAND | (_IS_LAST if start + piece_bytes >= len(command) else 0)
        values = _PDV_HEADER.pack(len(piece) + 2, context_id, control) + piece
        pdus.append(_PDU_HEADER.pack(_P_DATA_TF, len(values)) + values)
    return pdus
