"""Opens DICOM files of any quality, with a limit on everything; what is wrong ends in one sentence.

pydicom does the reading. Around it stand the limits that it lacks: on bytes and elements taken, on what an
element may declare, on what a deflated dataset may blow up to, on nesting.
"""

import logging
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import charset, filereader
from pydicom.charset import decode_bytes
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

# pydicom's log lines quote the values they complain about, names of patients among them; ours must not.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

# Two sets of PS3.3 C.12.1.1.2 that pydicom 3.0.2 does not read. Latin alphabet No. 9 (ISO-IR 203) it does not know. Of
# simplified Chinese (ISO 2022 IR 58) it believes that Python's codec writes and removes the escape sequence itself, as
# that of IR 87 does, so that names would keep an ESC and "$)A".
charset.python_encoding.update({"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"})
charset.CODES_TO_ENCODINGS[b"\x1b-b"] = "iso8859_15"
charset.ENCODINGS_TO_CODES["iso8859_15"] = b"\x1b-b"
charset.handled_encodings = ("iso2022_jp", "iso2022_jp_2")

CONTENT_ERRORS = (
    AttributeError,
    BytesLengthException,
    EOFError,
    IndexError,
    InvalidDicomError,
    KeyError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom was seen to raise for odd content (a fuzz corpus and files of 30 makers)."""

HEADER_BYTES_MAX = 64 * 2**20
"""Bytes read of one file for its headers; what is skipped by seeking does not count."""

ELEMENT_READS_MAX = 60_000
"""Reads from one file. An element takes 2 to 4, an empty item 1 and some 2 KB of memory."""

VALUE_BYTES_MAX = 2**16
"""Bytes of one header value: the most that a 16-bit length can say (PS3.5 Section 7.1.2)."""

_UNDEFINED_LENGTH = 0xFFFFFFFF
_FIRST_GROUP_BEYOND_HEADERS = 0x5000  # curves, overlays, waveforms, pixels: nothing of a header comes after
_TEXT_DELIMITERS = {ord(character) for character in "\\^="}  # each resets a code extension (PS3.5 6.1.2.5.3)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]+")
_CONTROL_CHARACTERS_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")


class Unreadable(Exception):
    """A file that cannot be taken for a DICOM object.

    Attributes:
        reason: a sentence for the person on duty, without any value that could name a patient.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_warnings_lock = threading.RLock()


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps pydicom's warnings about odd content to itself: reading it tolerantly is what we are here for.

    One thread at a time, since Python keeps its warning filters for the whole process; in that one it may be nested.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header_elements(source: Path | BinaryIO, keywords: frozenset[str]) -> Dataset:
    """Reads the elements called `keywords` of one file and no other; the pixels stay on the disk.

    Raises:
        Unreadable: if the file is no DICOM, or asks for more than the limits of this module allow.
    """
    tags = [tag_of(keyword) for keyword in sorted(keywords)]
    wanted = frozenset(int(tag) for tag in tags)

    def is_beyond(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag >> 16 >= _FIRST_GROUP_BEYOND_HEADERS:
            return True
        if int(tag) in wanted and VALUE_BYTES_MAX < length != _UNDEFINED_LENGTH:
            raise Unreadable(
                f"element {tag} declares {length} bytes; a header value has {VALUE_BYTES_MAX} at most"
            )
        return False

    with _opened(source) as file:
        return _read(_Bounded(file, HEADER_BYTES_MAX), is_beyond, tags, deflated_may_be_cut=True)


def dataset_of(elements: Mapping[int, tuple[str, bytes]], transfer_syntax_uid: str) -> Dataset:
    """Makes a dataset of encoded elements, undecoded as a reader would leave them.

    Args:
        elements: tag to VR ("" where none was sent) and encoded value.
    """
    is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
    dataset = Dataset(
        {
            BaseTag(tag): RawDataElement(
                BaseTag(tag),
                vr or None,
                len(value),
                value,
                0,
                not vr or transfer_syntax_uid == ImplicitVRLittleEndian,
                is_little_endian,
            )
            for tag, (vr, value) in elements.items()
        }
    )
    dataset.file_meta = _meta_of(transfer_syntax_uid)
    return dataset


@lru_cache(maxsize=64)
def _meta_of(transfer_syntax_uid: str) -> FileMetaDataset:
    """Meta information that says the transfer syntax alone; one for all datasets, so nobody may change it."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    return meta


def read_header_dataset(source: Path | BinaryIO) -> Dataset:
    """Reads every element before the pixels of one file, as a dataset that an output can be derived from.

    Raises:
        Unreadable: if the file is no DICOM, or asks for more than the limits of this module allow.
    """
    with _opened(source) as file:
        return _read(
            _Bounded(file, HEADER_BYTES_MAX),
            lambda tag, vr, length: tag >> 16 >= _FIRST_GROUP_BEYOND_HEADERS,
            None,
            deflated_may_be_cut=True,
        )


def read_whole(source: Path | BinaryIO, *, bytes_max: int) -> Dataset:
    """Reads a whole file, pixels and all.

    Raises:
        Unreadable: if the file is no DICOM, or holds more than `bytes_max` bytes (deflated: HEADER_BYTES_MAX
            once inflated).
    """
    with _opened(source) as file:
        bounded = _Bounded(file, bytes_max)
        if bounded.size_bytes > bytes_max:
            raise Unreadable(f"the file holds {bounded.size_bytes} bytes; the limit is {bytes_max}")
        return _read(bounded, None, None, deflated_may_be_cut=False)


@cache
def tag_of(keyword: str) -> BaseTag:
    """Gives the tag of an element's keyword. For the listener, which looks up thirty for each image.

    Raises:
        ValueError: if PS3.6 has no such keyword.
    """
    return Tag(keyword)


def raw_text(dataset: Dataset, keyword: str, encodings: tuple[str, ...], *, keep_lines: bool = False) -> str:
    """Gives an element's value as text, several values joined by a backslash; "" if absent or empty.

    Control characters become spaces: a NUL is nothing that a database or a page could hold. `keep_lines`
    leaves tabs and line ends alone.
    """
    element = dataset.get_item(tag_of(keyword), keep_deferred=True)
    if element is None:
        return ""
    text = _as_text(element, encodings)
    unwanted = _CONTROL_CHARACTERS_BUT_LINES if keep_lines else _CONTROL_CHARACTERS
    return unwanted.sub(" ", text).strip()


def small_sequence(dataset: Dataset, keyword: str, bytes_max: int = VALUE_BYTES_MAX) -> list[Any]:
    """Gives the items of a sequence; none if it is absent, malformed, or longer than `bytes_max`."""
    return items_at(dataset, tag_of(keyword), bytes_max)


def items_at(dataset: Dataset, tag: BaseTag, bytes_max: int = VALUE_BYTES_MAX) -> list[Any]:
    """Gives the items of the sequence that has this tag; none in the cases of `small_sequence`."""
    try:
        element = dataset.get_item(tag, keep_deferred=True)
        if element is None:
            return []
        if isinstance(element, RawDataElement) and len(element.value or b"") > bytes_max:
            return []
        items = dataset[tag].value
        return [item for item in items or [] if isinstance(item, Dataset)]
    except (OSError, *CONTENT_ERRORS):
        return []


def _as_text(element: RawDataElement | DataElement, encodings: tuple[str, ...]) -> str:
    value = element.value
    if value is None:
        return ""
    if isinstance(value, bytes):
        text = decode_bytes(value[:VALUE_BYTES_MAX], list(encodings), _TEXT_DELIMITERS)
    elif hasattr(value, "append"):  # several values
        text = "\\".join(str(part) for part in value)
    else:
        text = str(value)
    return text.encode("utf-8", errors="replace").decode("utf-8")


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        yield source
        return
    with source.open("rb") as file:
        yield file


class _Bounded:
    """A file that cannot be made to give more than it has, nor more than it should."""

    def __init__(self, file: BinaryIO, bytes_max: int) -> None:
        self._file = file
        self._left_bytes = bytes_max
        self._left_reads = ELEMENT_READS_MAX
        self._start = file.tell()
        self.size_bytes = file.seek(0, os.SEEK_END) - self._start
        file.seek(self._start)

    def read(self, size: int = -1) -> bytes:
        # pydicom asks for what an element declares, be it 4 GB; Python would reserve that before it looks.
        rest = max(0, self.size_bytes - self.tell())
        take = rest if size < 0 else min(size, rest)
        self._left_bytes -= take
        self._left_reads -= 1
        if self._left_bytes < 0:
            raise Unreadable("the elements before the pixels hold more bytes than a header may have")
        if self._left_reads < 0:
            raise Unreadable(
                f"more than {ELEMENT_READS_MAX} elements and items, which no radiograph or report has"
            )
        return self._file.read(take)

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset + (self._start if whence == os.SEEK_SET else 0), whence) - self._start


_StopWhen = Callable[[BaseTag, str | None, int], bool]


def _read(
    file: _Bounded, stop_when: _StopWhen | None, tags: list[BaseTag] | None, *, deflated_may_be_cut: bool
) -> Dataset:
    try:
        with quietly():
            filereader.read_preamble(file, force=True)
            meta = filereader.read_dataset(
                file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2
            )
            if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
                file.seek(0)
                return filereader.read_partial(file, stop_when, force=True, specific_tags=tags)
            inflated = BytesIO(_inflate(file, cut=deflated_may_be_cut))
            dataset = filereader.read_dataset(inflated, False, True, stop_when=stop_when, specific_tags=tags)
            dataset.file_meta = FileMetaDataset(meta)
            return dataset
    except RecursionError:
        raise Unreadable("sequences are nested deeper than any report") from None
    except OSError as error:
        if error.errno is not None:  # the disk, not the content: pydicom's own have no number
            raise
        raise Unreadable(f"not a DICOM file: {error}") from error
    except CONTENT_ERRORS as error:
        raise Unreadable(f"not a DICOM file: {type(error).__name__} while reading its elements") from error


def _inflate(file: _Bounded, *, cut: bool) -> bytes:
    """Inflates the rest of `file` (PS3.5 A.5), HEADER_BYTES_MAX at most; longer ones are cut or refused."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(file.read(), HEADER_BYTES_MAX)
    if inflater.unconsumed_tail and not cut:
        raise Unreadable(f"the deflated dataset holds more than {HEADER_BYTES_MAX} bytes")
    return inflated
