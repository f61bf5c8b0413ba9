"""How weights say who they are: the SHA-256 of their files, worked out once for each state of a file.

15 GB take most of a minute to hash. So a digest is kept with the stamp of its file: size, times of the last change of
content and of inode, inode and device. The kernel sets the time of the inode's last change (ctime) at every write,
rename or change of times, and no program can put it back: a file with the same stamp is the same file. What that does
not cover is refused a place: a stamp younger than the clock's tick allows to tell apart, and a file that changes while
it is hashed.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

Stamp = tuple[int, ...]
"""Size in bytes, mtime and ctime in ns, inode, device."""

_KEPT_FILE = "weights-digests.json"
_SETTLED_NS = 2_000_000_000
"""A file changed within the last two seconds may change again under the same time (FAT counts in twos)."""


def digest_of(files: Iterable[Path], kept_in: Path | None = None) -> str:
    """Gives "sha256:<hex>" of weight files.

    Of one file its own SHA-256; of several that of the list which `sha256sum FILES` prints in their order, run in
    each one's folder.

    Args:
        kept_in: a folder of the caller's, where digests of files that have not changed since are kept; None keeps none.

    Raises:
        ValueError: if a file changes while it is read.
    """
    kept = {} if kept_in is None else _read_kept(kept_in / _KEPT_FILE)
    found = {path: _digest_of_one(path, kept) for path in files}
    if kept_in is not None:
        settled = {
            str(path.resolve()): (stamp, digest)
            for path, (stamp, digest) in found.items()
            if time.time_ns() - max(stamp[1:3]) > _SETTLED_NS
        }
        if any(kept.get(name) != entry for name, entry in settled.items()):
            _write_kept(kept_in / _KEPT_FILE, kept | settled)
    if len(found) == 1:
        return f"sha256:{next(iter(found.values()))[1]}"
    listing = "".join(f"{digest}  {path.name}\n" for path, (_, digest) in found.items())
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def stamps_of(files: Iterable[Path]) -> tuple[Stamp, ...]:
    """Gives what tells one state of each file from another."""
    states = [path.stat() for path in files]
    return tuple((s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev) for s in states)


def _digest_of_one(path: Path, kept: Mapping[str, tuple[Stamp, str]]) -> tuple[Stamp, str]:
    (stamp,) = stamps_of([path])
    kept_stamp, kept_digest = kept.get(str(path.resolve()), (None, ""))
    if kept_stamp == stamp:
        return stamp, kept_digest
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if stamps_of([path]) != (stamp,):
        raise ValueError(f"{path} changed while it was read; start again when it is whole")
    return stamp, digest


def _read_kept(path: Path) -> dict[str, tuple[Stamp, str]]:
    """Reads the kept digests; a file that is not there or damaged holds none."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: (tuple(stamp), str(digest)) for name, (stamp, digest) in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_kept(path: Path, kept: Mapping[str, tuple[Stamp, str]]) -> None:
    """Writes the digests of files that are still there, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    still_there = {name: entry for name, entry in kept.items() if os.path.exists(name)}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
        json.dump(still_there, stream, indent=1)
    os.replace(stream.name, path)
