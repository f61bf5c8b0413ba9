"""Walks the elements of an encoded dataset: which study it belongs to, and whether it is all there.

Not a reader of DICOM (that is `agent.dicom.headers`): it looks at tags and lengths, holds the few values that
headers are made of, jumps over the rest, and so sees in one pass whether the last element ends where the bytes end.
"""

import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from agent.listener.statuses import CANNOT_UNDERSTAND, DOES_NOT_MATCH, OUT_OF_RESOURCES, Refused

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"

ELEMENTS_MAX = 1_000_000
"""A dataset of more elements is refused; it would keep the interpreter busy for seconds."""
DEPTH_MAX = 32
"""Sequences of undefined length nested deeper than this are refused."""
INFLATED_BYTES_MAX = 67_108_864
"""A deflated dataset that inflates to more is refused: 1 MB can hold 1 GB. Reports, which is what is
sent deflated, inflate to less than one."""

# Of all associations together one at a time: twenty-five that inflate at once would hold 1.6 GB.
_one_inflated = threading.Lock()
_PIECE_BYTES = 1_048_576

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_IDENTITY = frozenset({_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID})
_UID_BYTES_MAX = 66  # with a blank or NUL on each side, as some send them

_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
# PS3.5 7.1.2: VRs whose length has four bytes, after two reserved ones.
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance a dataset says it is; "" for what it does not say."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a dataset found.

    Attributes:
        elements: tag to VR ("" where none was sent) and encoded value, of the wanted ones at the top level.
    """

    identity: Identity
    elements: Mapping[int, tuple[str, bytes]]


def survey(
    content: bytes | mmap,
    start: int,
    transfer_syntax_uid: str,
    wanted: frozenset[int] = frozenset(),
    value_bytes_max: int = 65_536,
) -> Survey:
    """Reads the four UIDs and the wanted elements of a dataset, after making sure that none of it is missing.

    Args:
        content: a whole file.
        start: where the dataset begins in it.
        wanted: tags; a value of one that is longer than `value_bytes_max` is no header.

    Raises:
        Refused: CANNOT_UNDERSTAND if the dataset ends in the middle of an element or is no DICOM;
            DOES_NOT_MATCH if one of the four is longer than a UID;
            OUT_OF_RESOURCES if it inflates to more than INFLATED_BYTES_MAX.
    """
    if transfer_syntax_uid != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return _surveyed(content, start, transfer_syntax_uid, wanted, value_bytes_max)
    with _one_inflated, _inflated(content, start) as inflated:
        return _surveyed(inflated, 0, transfer_syntax_uid, wanted, value_bytes_max)


def _surveyed(
    content: bytes | mmap, start: int, transfer_syntax_uid: str, wanted: frozenset[int], value_bytes_max: int
) -> Survey:
    found: dict[int, str] = {}
    elements: dict[int, tuple[str, bytes]] = {}
    for tag, vr, offset, length in _Walk(content, transfer_syntax_uid).elements(start):
        if tag in _IDENTITY:
            if length > _UID_BYTES_MAX:
                raise Refused(
                    DOES_NOT_MATCH, f"{_name(tag)} holds {length} bytes; a UID has 64 at most (PS3.5 9.1)"
                )
            found[tag] = _uid_text(content[offset : offset + length])
        if tag in wanted:
            if length > value_bytes_max:
                raise Refused(
                    CANNOT_UNDERSTAND, f"{_name(tag)} holds {length} bytes; a header value has fewer"
                )
            elements[tag] = vr.decode("ascii"), content[offset : offset + length]
    identity = Identity(
        sop_class_uid=found.get(_SOP_CLASS_UID, ""),
        sop_instance_uid=found.get(_SOP_INSTANCE_UID, ""),
        study_instance_uid=found.get(_STUDY_INSTANCE_UID, ""),
        series_instance_uid=found.get(_SERIES_INSTANCE_UID, ""),
    )
    return Survey(identity, elements)


def mismatch(identity: Identity, sop_class_uid: str, sop_instance_uid: str) -> Refused | None:
    """Says why a dataset is not what the C-STORE request announced, or None if it is."""
    for name, said, asked in (
        ("SOP Class UID", identity.sop_class_uid, sop_class_uid),
        ("SOP Instance UID", identity.sop_instance_uid, sop_instance_uid),
    ):
        if said != asked:
            said_so = f"is {said[:64]}" if said else "is missing"
            return Refused(DOES_NOT_MATCH, f"{name} of the dataset {said_so}, the request says {asked}")
    return None


class _Walk:
    """One pass over the elements of one dataset."""

    def __init__(self, content: bytes | mmap, transfer_syntax_uid: str) -> None:
        self._content = content
        self._size = len(content)
        self._is_implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
        order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
        self._tag = struct.Struct(order + "HH")
        self._short = struct.Struct(order + "H")
        self._long = struct.Struct(order + "L")
        self._count = 0

    def elements(self, offset: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Yields (tag, VR, offset of the value, length of the value) for each element of the top level."""
        while offset < self._size and not self._is_padding(offset):
            tag, vr, start, length = self._header(offset, self._is_implicit)
            end = self._end(tag, vr, start, length, depth=0)
            if end > self._size:
                raise self._cut_off(tag, f"{end - self._size} bytes are missing")
            yield tag, vr, start, end - start
            offset = end

    def _header(self, offset: int, is_implicit: bool) -> tuple[int, bytes, int, int]:
        """(tag, VR, offset of the value, length) of the element at `offset`; VR is b"" where none is sent."""
        self._count += 1
        if self._count > ELEMENTS_MAX:
            raise Refused(CANNOT_UNDERSTAND, f"the dataset has more than {ELEMENTS_MAX} elements")
        if offset + 8 > self._size:
            raise self._cut_off(0, "no room for a tag and a length")
        group, number = self._tag.unpack_from(self._content, offset)
        tag = group << 16 | number
        vr = self._content[offset + 4 : offset + 6]
        # Items carry no VR in any encoding. Some senders put implicit elements into explicit datasets;
        # two bytes that are no capital letters are no VR but half a length.
        if is_implicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            return tag, b"", offset + 8, self._long.unpack_from(self._content, offset + 4)[0]
        if vr not in _LONG_VRS:
            return tag, vr, offset + 8, self._short.unpack_from(self._content, offset + 6)[0]
        if offset + 12 > self._size:
            raise self._cut_off(tag, "no room for its length")
        return tag, vr, offset + 12, self._long.unpack_from(self._content, offset + 8)[0]

    def _end(self, tag: int, vr: bytes, start: int, length: int, depth: int) -> int:
        if length != _UNDEFINED:
            return start + length
        # PS3.5 6.2.2 note 2: what is UN and of undefined length is inside encoded as implicit VR.
        return self._end_of_items(tag, start, self._is_implicit or vr == b"UN", depth + 1)

    def _end_of_items(self, tag: int, offset: int, is_implicit: bool, depth: int) -> int:
        """Where a value of undefined length ends: a sequence, or encapsulated pixels (PS3.5 7.5, A.4)."""
        if depth > DEPTH_MAX:
            raise Refused(CANNOT_UNDERSTAND, f"sequences are nested more than {DEPTH_MAX} deep")
        while True:
            item, _, start, length = self._header(offset, is_implicit)
            if item == _SEQUENCE_END:
                return start
            if item != _ITEM:
                raise Refused(CANNOT_UNDERSTAND, f"{_name(tag)} holds {_name(item)} where an item must begin")
            offset = start + length if length != _UNDEFINED else self._end_of_item(start, is_implicit, depth)

    def _end_of_item(self, offset: int, is_implicit: bool, depth: int) -> int:
        while True:
            tag, vr, start, length = self._header(offset, is_implicit)
            if tag == _ITEM_END:
                return start
            if length == _UNDEFINED:
                offset = self._end_of_items(tag, start, is_implicit or vr == b"UN", depth + 1)
            else:
                offset = start + length

    def _is_padding(self, offset: int) -> bool:
        # Fewer zeros than an element needs, at the very end: seen after pixels of odd length.
        return self._size - offset < 8 and not any(self._content[offset:])

    def _cut_off(self, tag: int, how: str) -> Refused:
        where = f" in {_name(tag)}" if tag else ""
        return Refused(CANNOT_UNDERSTAND, f"the dataset ends in the middle of an element{where}: {how}")


@contextmanager
def _inflated(content: bytes | mmap, start: int) -> Iterator[mmap]:
    """The dataset inflated, in pages of its own: as bytes, zlib took twice the size, and the heap kept it."""
    # Private: shared pages are files in /dev/shm, whose size a container may limit, and then a write is SIGBUS.
    with mmap(-1, INFLATED_BYTES_MAX, flags=MAP_PRIVATE | MAP_ANONYMOUS) as inflated:
        for piece in _pieces(content, start):
            if inflated.tell() + len(piece) > INFLATED_BYTES_MAX:
                raise Refused(
                    OUT_OF_RESOURCES, f"the deflated dataset inflates to more than {INFLATED_BYTES_MAX} bytes"
                )
            inflated.write(piece)
        inflated.resize(max(inflated.tell(), 1))
        yield inflated


def _pieces(content: bytes | mmap, start: int) -> Iterator[bytes]:
    """What a deflated dataset inflates to, by and by."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        for at in range(start, len(content), _PIECE_BYTES):
            packed = content[at : at + _PIECE_BYTES]
            while packed or not inflater.eof:
                piece = inflater.decompress(packed, _PIECE_BYTES)
                packed = inflater.unconsumed_tail
                yield piece
                if len(piece) < _PIECE_BYTES:
                    break
            if inflater.eof:
                return
    except zlib.error as error:
        raise Refused(CANNOT_UNDERSTAND, f"the deflated dataset cannot be inflated: {error}") from error
    raise Refused(CANNOT_UNDERSTAND, "the deflated dataset ends too early")


def _uid_text(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
