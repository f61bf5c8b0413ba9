"""A sender that puts every byte on the wire itself, so that a test can send what no library would."""

import socket
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self

from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
VERIFICATION = "1.2.840.10008.1.1"

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 2, 3, 4, 5, 6, 7
A_RELEASE_RQ = struct.pack(">BxLL", RELEASE_RQ, 4, 0)
A_ABORT = struct.pack(">BxLL", ABORT, 4, 0)
ANSWER_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class Answer:
    """A C-STORE-RSP."""

    status: int
    comment: str


def pdu(kind: int, content: bytes) -> bytes:
    """A PDU around `content`."""
    return struct.pack(">BxL", kind, len(content)) + content


def pdv(content: bytes, *, context_id: int = 1, is_command: bool, is_last: bool) -> bytes:
    """A presentation data value around a fragment."""
    return struct.pack(">LBB", len(content) + 2, context_id, is_command | is_last << 1) + content


def store_request(
    sop_class_uid: str, sop_instance_uid: str, *, has_dataset: bool = True, field: int = 1
) -> bytes:
    """The command set of a C-STORE-RQ."""
    elements = [
        (0x0002, sop_class_uid.encode()),
        (0x0100, struct.pack("<H", field)),
        (0x0110, struct.pack("<H", 7)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 0x0001 if has_dataset else 0x0101)),
        (0x1000, sop_instance_uid.encode()),
    ]
    return command_set(elements)


def echo_request() -> bytes:
    """The command set of a C-ECHO-RQ."""
    numbers = [(0x0100, 0x0030), (0x0110, 7), (0x0800, 0x0101)]
    return command_set([(0x0002, VERIFICATION.encode()), *((n, struct.pack("<H", v)) for n, v in numbers)])


def report_request() -> bytes:
    """The command set of an N-EVENT-REPORT-RQ on storage commitment (PS3.4 J.3.3)."""
    numbers = [(0x0100, 0x0100), (0x0110, 7), (0x0800, 0x0001)]
    return command_set(
        [
            (0x0002, STORAGE_COMMITMENT.encode()),
            *((number, struct.pack("<H", value)) for number, value in numbers),
            (0x1000, b"1.2.840.10008.1.20.1.1"),
            (0x1002, struct.pack("<H", 1)),
        ]
    )


def command_set(elements: list[tuple[int, bytes]]) -> bytes:
    """Elements of group 0000 in Implicit VR Little Endian, their length in front."""
    padded = [(number, value + b"\0" * (len(value) % 2)) for number, value in elements]
    body = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in padded)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def dataset_pdus(data: bytes, pdu_bytes: int, context_id: int = 1) -> list[bytes]:
    """A dataset cut into P-DATA-TF PDUs of one value each, none longer than `pdu_bytes`."""
    step = pdu_bytes - 6
    return [
        pdu(
            P_DATA,
            pdv(
                data[at : at + step], context_id=context_id, is_command=False, is_last=at + step >= len(data)
            ),
        )
        for at in range(0, max(len(data), 1), step)
    ]


class RawSender:
    """One connection. Reading waits at most ANSWER_SECONDS_MAX, so that no test can hang."""

    def __init__(self, port: int, *, sock: socket.socket | None = None) -> None:
        self.socket = sock or socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX)
        self.socket.settimeout(ANSWER_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted: dict[int, str] = {}
        self.pdu_bytes_max = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def associate(
        self,
        contexts: dict[int, tuple[str, list[str]]] | None = None,
        *,
        calling: str = "MODALITY",
        called: str = "PREREAD",
    ) -> Self:
        """Sends an association request and remembers which contexts were accepted."""
        self.socket.sendall(associate_request(contexts or {1: (CR, [EXPLICIT])}, calling, called))
        kind, content = self.read_pdu()
        assert kind == ASSOCIATE_AC, (kind, content)
        answer = A_ASSOCIATE_AC()
        answer.decode(pdu(kind, content))
        primitive = answer.to_primitive()
        self.pdu_bytes_max = primitive.maximum_length_received
        self.accepted = {
            context.context_id: str(context.transfer_syntax[0])
            for context in primitive.presentation_context_definition_results_list
            if context.result == 0
        }
        return self

    def store(
        self,
        data: bytes,
        sop_instance_uid: str,
        *,
        sop_class_uid: str = CR,
        context_id: int = 1,
        pdu_bytes: int = 16_384,
    ) -> Answer:
        """Sends one object and waits for the answer."""
        self.command(store_request(sop_class_uid, sop_instance_uid), context_id)
        self.socket.sendall(b"".join(dataset_pdus(data, pdu_bytes, context_id)))
        return self.answer()

    def command(self, encoded: bytes, context_id: int = 1) -> None:
        """Sends a whole command set in one PDU."""
        self.socket.sendall(pdu(P_DATA, pdv(encoded, context_id=context_id, is_command=True, is_last=True)))

    def answer(self) -> Answer:
        """Waits for a response."""
        kind, content = self.read_pdu()
        assert kind == P_DATA, f"PDU {kind} where a response was expected"
        response: Any = decode(BytesIO(content[6:]), True, True)
        return Answer(response.Status, response.get("ErrorComment", ""))

    def read_pdu(self) -> tuple[int, bytes]:
        """(type, content) of the next PDU; (0, b"") if the connection is closed."""
        header = self._read(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", header)
        return kind, self._read(length)

    def release(self) -> None:
        """Releases the association and waits until the other side agrees."""
        self.socket.sendall(A_RELEASE_RQ)
        assert self.read_pdu()[0] == RELEASE_RP
        self.socket.close()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                return b""
            data += more
        return data


def associate_request(contexts: dict[int, tuple[str, list[str]]], calling: str, called: str) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    proposed = []
    for context_id, (abstract_syntax, transfer_syntaxes) in contexts.items():
        context = build_context(abstract_syntax, transfer_syntaxes)
        context.context_id = context_id
        proposed.append(context)
    request.presentation_context_definition_list = proposed
    length = MaximumLengthNotification()
    length.maximum_length_received = 16_382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("1.2.3.4")
    request.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(request).encode())
