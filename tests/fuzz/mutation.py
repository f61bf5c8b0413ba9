"""Seeded damage to valid inputs: of any bytes, of DICOM elements, and of text with its own marks. Pure."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

INPUT_BYTES_MAX = 1_000_000
"""What a mutation makes is cut to this; bombs that blow up only in the reader are far smaller."""

LYING_LENGTHS = (0, 1, 2, 7, 0xFE, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_VRS = b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV ZZ"
VRS = tuple(_VRS.split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

HOSTILE_VALUES = (
    b"",
    b"\0",
    b"\\" * 300,
    b"^" * 300,
    b"=" * 70,
    b"../../../etc/passwd",
    b"%s%n%s%n",
    b"</s>[INST]<image><|endoftext|>",
    b"'; DROP TABLE studies; --",
    b"<script>alert(1)</script>",
    b"1e999",
    b"nan",
    b"-1",
    b"999999999999999999999999",
    b"\x1b$B\x1b(B\x1b$)C",
    b"\xff\xfe\xfd\xc3\x28\xed\xa0\x80",
    b"\r\nMSH|^~\\&|",
    b"1." * 40,
    b"ISO 2022 IR 87\\ISO 2022 IR 159\\GB18030",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
)


@dataclass(frozen=True, slots=True)
class Element:
    """Where one element of the top level stands in an encoded dataset (little endian)."""

    start: int
    value: int
    end: int
    length_at: int
    length_bytes: int


def elements_of(content: bytes, *, is_implicit: bool, start: int = 0) -> tuple[Element, ...]:
    """Walks a *valid* dataset of defined lengths; stops at the first element whose length is undefined."""
    found = []
    while start + 8 <= len(content):
        vr = content[start + 4 : start + 6]
        if is_implicit or vr in _LONG:
            length_at = start + (4 if is_implicit else 8)
            (length,) = struct.unpack_from("<L", content, length_at)
            element = Element(start, length_at + 4, length_at + 4 + length, length_at, 4)
        else:
            (length,) = struct.unpack_from("<H", content, start + 6)
            element = Element(start, start + 8, start + 8 + length, start + 6, 2)
        if element.end > len(content):
            break
        found.append(element)
        start = element.end
    return tuple(found)


def damaged_bytes(random: Random, content: bytes, tokens: Sequence[bytes] = ()) -> bytes:
    """One to four bites anywhere: bits, bytes, numbers, pieces cut out, doubled, swapped, or put in."""
    work = bytearray(content)
    for _ in range(random.randint(1, 4)):
        _bite(random, work, tokens)
    return bytes(work[:INPUT_BYTES_MAX])


def _bite(random: Random, work: bytearray, tokens: Sequence[bytes]) -> None:
    place = random.randrange(len(work) + 1)
    size = min(len(work) - place, random.choice((1, 2, 4, 8, 32, 200)))
    kind = random.randrange(9)
    if kind == 0 and size:
        work[place] ^= 1 << random.randrange(8)
    elif kind == 1:
        work[place : place + size] = random.randbytes(size)
    elif kind == 2:
        del work[place : place + size]
    elif kind == 3:
        work[place:place] = work[place : place + size] * random.choice((1, 2, 50))
    elif kind == 4:
        number = random.choice(LYING_LENGTHS)
        form = random.choice(("<L", ">L"))
        work[place : place + 4] = struct.pack(form, number)
    elif kind == 5:
        del work[place:]
    elif kind == 6:
        other = random.randrange(len(work) + 1)
        work[place : place + size] = work[other : other + size]
    elif kind == 7 and tokens:
        work[place:place] = random.choice(tokens)
    else:
        work[place:place] = bytes([random.randrange(256)]) * random.choice((1, 3, 100, 5000))


def damaged_dataset(
    random: Random, content: bytes, elements: Sequence[Element], *, is_implicit: bool
) -> bytes:
    """One to three changes that respect what an element is: its tag, its VR, its length, its value, its place."""
    for _ in range(random.randint(1, 3)):
        element = random.choice(elements)
        if element.end > len(content):
            break
        content = _changed(random, content, element, is_implicit)
        if random.random() < 0.2:
            content = damaged_bytes(random, content)
    return content[:INPUT_BYTES_MAX]


def _changed(random: Random, content: bytes, at: Element, is_implicit: bool) -> bytes:
    before, whole, after = content[: at.start], content[at.start : at.end], content[at.end :]
    kind = random.randrange(10)
    if kind == 0:
        return before + after
    if kind == 1:
        return before + whole * random.choice((2, 3, 200)) + after
    if kind == 2:
        length = random.choice((*LYING_LENGTHS, len(after), at.end - at.value + 1))
        encoded = struct.pack("<L", length & 0xFFFFFFFF)[: at.length_bytes]
        return content[: at.length_at] + encoded + content[at.length_at + at.length_bytes :]
    if kind == 3 and not is_implicit:
        return content[: at.start + 4] + random.choice(VRS) + content[at.start + 6 :]
    if kind == 4:
        tag = struct.pack(
            "<HH", random.choice((0, 2, 8, 0x10, 0x28, 0x40, 0xFFFE, 0x7FE0)), random.randrange(0x10000)
        )
        return content[: at.start] + tag + content[at.start + 4 :]
    if kind == 5:
        return (
            before
            + nested(random.choice((2, 31, 40, 1100)), is_implicit=is_implicit, random=random)
            + whole
            + after
        )
    if kind == 6:
        return before + private_flood(random.choice((10, 3000)), is_implicit=is_implicit) + whole + after
    return before + _with_value(random, content, at) + after


def _with_value(random: Random, content: bytes, at: Element) -> bytes:
    """The same element with a hostile value, its length being true."""
    value = random.choice(HOSTILE_VALUES)
    if random.random() < 0.3:
        value = value * random.choice((2, 400))
    if random.random() < 0.3:
        value = struct.pack("<H", random.choice((0, 1, 7, 8, 9, 16, 32, 64, 255, 0x7FFF, 0xFFFF)))
    value += b" " * (len(value) % 2)
    limit = 0xFFFE if at.length_bytes == 2 else 0xFFFFFFFE
    value = value[:limit]
    length = struct.pack("<L", len(value))[: at.length_bytes]
    return content[at.start : at.length_at] + length + value


def nested(depth: int, *, is_implicit: bool, random: Random | None = None) -> bytes:
    """A sequence in a sequence in a sequence, of undefined lengths; ended, or simply broken off."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    head = struct.pack("<HH", 0x0040, 0xA730) + (b"" if is_implicit else b"SQ\0\0") + b"\xff\xff\xff\xff"
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    is_ended = random is None or random.random() < 0.7
    return (head + item) * depth + (end * depth if is_ended else b"")


def private_flood(count: int, *, is_implicit: bool) -> bytes:
    """So many private elements of one byte pair each (PS3.5 7.8)."""
    head = b"\2\0\0\0" if is_implicit else b"LO\2\0"
    return b"".join(
        struct.pack("<HH", 0x0011, 0x1000 + number % 0xE000) + head + b"x " for number in range(count)
    )


def damaged_text(random: Random, content: bytes, marks: bytes, tokens: Sequence[bytes]) -> bytes:
    """Changes that know what divides a text: pieces between marks are dropped, doubled, moved, replaced."""
    mark = bytes([random.choice(marks)])
    pieces = content.split(mark)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(pieces))
        kind = random.randrange(6)
        if kind == 0 and len(pieces) > 1:
            del pieces[at]
        elif kind == 1:
            pieces[at:at] = [pieces[at]] * random.choice((1, 2, 300))
        elif kind == 2:
            pieces[at] = random.choice(tokens)
        elif kind == 3:
            pieces[at] += mark * random.choice((1, 5, 2000))
        elif kind == 4:
            other = random.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        else:
            pieces[at] = damaged_bytes(random, pieces[at], tokens)
    return mark.join(pieces)[:INPUT_BYTES_MAX]
