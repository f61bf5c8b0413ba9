"""DIMSE command sets as bytes (Implicit VR Little Endian, PS3.7 6.3.1), as a C-STORE SCP needs them."""

import struct
from dataclasses import dataclass

from agent.listener.statuses import ProtocolBreach

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
N_EVENT_REPORT_RQ = 0x0100

COMMAND_BYTES_MAX = 16_384
"""A C-STORE request with every field at its longest has under 400 bytes."""

_NO_DATASET = 0x0101
_ERROR_COMMENT_LENGTH_MAX = 64  # VR LO, PS3.5 6.2
_ELEMENT = struct.Struct("<HHL")

# Element numbers of group 0000, PS3.7 Annex E.
_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_MOVE_ORIGINATOR_AE_TITLE = 0x1030


@dataclass(frozen=True, slots=True)
class Command:
    """A request as sent. Text is without padding and "" if absent; nothing is checked but the encoding.

    Attributes:
        field: Command Field, e.g. C_STORE_RQ.
        has_dataset: a dataset follows (Command Data Set Type is not 0101H).
        move_originator_ae_title: who asked for the C-MOVE that this C-STORE is part of.
    """

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool
    move_originator_ae_title: str


def parse_command(encoded: bytes) -> Command:
    """Decodes a command set.

    Raises:
        ProtocolBreach: if it is cut off, holds other groups than 0000, or lacks Command Field or Message ID.
    """
    values = _elements(encoded)
    return Command(
        field=_number(values, _COMMAND_FIELD),
        message_id=_number(values, _MESSAGE_ID) if _MESSAGE_ID in values else 0,
        sop_class_uid=_text(values, _AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_text(values, _AFFECTED_SOP_INSTANCE_UID),
        has_dataset=_number(values, _DATA_SET_TYPE) != _NO_DATASET,
        move_originator_ae_title=_text(values, _MOVE_ORIGINATOR_AE_TITLE),
    )


def encode_store_response(command: Command, status: int, comment: str = "") -> bytes:
    """Encodes the C-STORE-RSP to `command` (PS3.7 9.3.1.2).

    Args:
        comment: Error Comment, cut to 64 characters; left out if empty.
    """
    elements = [
        (_AFFECTED_SOP_CLASS_UID, _padded(command.sop_class_uid, b"\0")),
        (_COMMAND_FIELD, struct.pack("<H", C_STORE_RSP)),
        (_MESSAGE_ID_RESPONDED_TO, struct.pack("<H", command.message_id)),
        (_DATA_SET_TYPE, struct.pack("<H", _NO_DATASET)),
        (_STATUS, struct.pack("<H", status)),
    ]
    if comment:
        one_value = comment.replace("\\", "/")  # a backslash would divide it in two (PS3.5 6.2)
        elements.append((_ERROR_COMMENT, _padded(one_value[:_ERROR_COMMENT_LENGTH_MAX], b" ")))
    elements.append((_AFFECTED_SOP_INSTANCE_UID, _padded(command.sop_instance_uid, b"\0")))
    body = b"".join(_ELEMENT.pack(0, number, len(value)) + value for number, value in elements)
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + struct.pack("<L", len(body)) + body


def _elements(encoded: bytes) -> dict[int, bytes]:
    values = {}
    offset = 0
    while offset < len(encoded):
        start = offset + _ELEMENT.size
        if start > len(encoded):
            raise ProtocolBreach("the command set ends in the middle of an element")
        group, number, length = _ELEMENT.unpack_from(encoded, offset)
        if group != 0 or length > len(encoded) - start:
            raise ProtocolBreach(
                f"element ({group:04X},{number:04X}) of {length} bytes has no place in a command set"
            )
        values[number] = encoded[start : start + length]
        offset = start + length
    return values


def _number(values: dict[int, bytes], number: int) -> int:
    value = values.get(number, b"")
    if len(value) != 2:
        raise ProtocolBreach(f"command element (0000,{number:04X}) has {len(value)} bytes, not 2")
    return int.from_bytes(value, "little")


def _text(values: dict[int, bytes], number: int) -> str:
    # Latin-1 reads every byte; what must be a UID is judged as one later.
    return values.get(number, b"").decode("latin-1").strip("\0 ")


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)
