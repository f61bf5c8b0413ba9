"""Reads every stored file and compares it with the digest in its row: what a disk forgets, nobody else notices."""

import hashlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.files import Files
from storage.inventory import Inventory, StoredAs, StoredFile

BITE_BYTES = 1_048_576

# Preamble, "DICM", and the element (0002,0000) with the length of the rest of the File Meta Information,
# which is always Explicit VR Little Endian (PS3.10 7.1).
_META_HEAD = struct.Struct("<128x4s8sL")
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what its row says.

    Attributes:
        is_missing: there is no such file; otherwise its content is another.
    """

    file: StoredFile
    is_missing: bool


def scrub(
    inventory: Inventory,
    files: Files,
    bytes_per_second: float,
    *,
    told: Callable[[int, int], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Damage]:
    """Compares all files with their rows, in bites of a megabyte, and names those that are damaged.

    Args:
        bytes_per_second: no faster than this, so that the disk stays free for what arrives; 0 for no limit.
        told: told after each file of how many files and bytes were read until then.
        sleep: waits so many seconds.
    """
    count = size_bytes = 0
    for file in inventory.files():
        path = files.absolute(file.path)
        try:
            sha256, read_bytes = _digest(path, file.stored_as)
        except FileNotFoundError:
            if inventory.has(file):  # else it was deleted after its row was listed
                yield Damage(file, is_missing=True)
            continue
        if bytes_per_second:
            sleep(read_bytes / bytes_per_second)
        count, size_bytes = count + 1, size_bytes + read_bytes
        told(count, size_bytes)
        if sha256 != file.sha256:
            yield Damage(file, is_missing=False)


def _digest(path: Path, stored_as: StoredAs) -> tuple[str, int]:
    """SHA-256 of what the row's digest is of, and the bytes read; "" if no dataset can be found in the file."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        if stored_as is StoredAs.INSTANCE:
            head = file.read(_META_HEAD.size)
            if len(head) < _META_HEAD.size:
                return "", len(head)
            magic, element, length = _META_HEAD.unpack(head)
            if (magic, element) != (b"DICM", _GROUP_LENGTH):
                return "", len(head)
            file.seek(length, os.SEEK_CUR)
        while bite := file.read(BITE_BYTES):
            digest.update(bite)
        # What was read once for this must not push out of memory what others read often.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return digest.hexdigest(), file.tell()


def what_to_do(damage: Damage, place: Path) -> str:
    """A sentence on a damaged file for the administrator: what it is, and how it comes back.

    Args:
        place: where the file is, or was.
    """
    file = damage.file
    what = "is missing" if damage.is_missing else "is not what was stored"
    match file.stored_as:
        case StoredAs.INSTANCE:
            of, cure = f"image of study {file.study_instance_uid}", "have the study sent again"
        case StoredAs.RESULT:
            of = f"draft of study {file.study_instance_uid}"
            cure = f"make a new one: preread again {file.study_instance_uid}"
        case StoredAs.MESSAGE:
            of, cure = "HL7 message in quarantine", "have it sent again"
    return f"{place} {what} ({of}). Put it back from a backup, or {cure}."
