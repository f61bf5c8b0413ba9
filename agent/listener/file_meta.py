"""What stands before the sender's dataset in the file: preamble and File Meta Information (PS3.10 7.1).

Written by hand because pydicom's writer takes 0.6 ms of the interpreter for each file, a quarter of what a
whole CR image takes otherwise; a test reads it back with pydicom.
"""

import re
import struct

from agent.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PREAMBLE = bytes(128) + b"DICM"
_LONG_VR = b"OB"  # the only one here whose length has four bytes, after two reserved ones (PS3.5 7.1.2)


def file_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae_title: str
) -> bytes:
    """Encodes preamble, prefix and File Meta Information for a dataset that follows as sent.

    Args:
        calling_ae_title: becomes Source Application Entity Title.
    """
    body = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", _uid(sop_class_uid)),
            _element(0x0003, b"UI", _uid(sop_instance_uid)),
            _element(0x0010, b"UI", _uid(transfer_syntax_uid)),
            _element(0x0012, b"UI", _uid(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _text(IMPLEMENTATION_VERSION_NAME)),
            _element(0x0016, b"AE", _text(calling_ae_title)),
        )
    )
    return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(body))) + body


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    tag_and_vr = struct.pack("<HH", 0x0002, number) + vr
    length = struct.pack("<HL", 0, len(value)) if vr == _LONG_VR else struct.pack("<H", len(value))
    return tag_and_vr + length + value


def _uid(text: str) -> bytes:
    value = text.encode("ascii")
    return value + b"\0" * (len(value) % 2)


def _text(text: str) -> bytes:
    # A backslash would make two values of one, and a control character has no place in either VR (PS3.5 6.2).
    value = re.sub(r"[^ -\[\]-~]", "?", text).encode("ascii")
    return value + b" " * (len(value) % 2)
