"""Write-once files in one folder: a name appears only when all its bytes are on the disk for good."""

import errno
import fcntl
import filecmp
import itertools
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

# No component may begin with a dot: that keeps "..", "." and our own `.incoming` out in one rule.
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_INCOMING = ".incoming"
_LOCK = ".lock"
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PartFile:
    """A file being written, not yet under its name; `keep` or `drop` it. Made by `Files.begin`.

    Write with `write`, or straight to `fileno()`; leaving a `with` block without `keep` drops it.
    Not for two threads at once.
    """

    def __init__(self, files: "Files", path: str, descriptor: int, part: Path) -> None:
        self._files = files
        self._path = path
        self._descriptor = descriptor
        self._part = part
        self._is_synced = False

    def fileno(self) -> int:
        """The open file descriptor, for `os.writev` and the like."""
        if self._descriptor < 0:
            raise ValueError(f"the part file of {self._path} is closed")
        return self._descriptor

    @property
    def path(self) -> str:
        """The relative path that it will be kept under, unless `keep` is given another."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """Bytes written until now, whoever wrote them."""
        return os.fstat(self.fileno()).st_size

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Appends all of `content`. Raises OSError if the disk is full; then drop the file."""
        rest = memoryview(content).cast("B")
        while rest:
            rest = rest[os.write(self.fileno(), rest) :]

    def sync(self) -> None:
        """Makes what was written last; `keep` then need not. Write nothing afterwards."""
        os.fsync(self.fileno())
        self._is_synced = True

    def keep(self, path: str | None = None) -> None:
        """Puts the file under its name for good: when this returns, a power cut does not lose it.

        Order: fsync of the file (unless `sync` did it), name, fsync of the folder. The file is closed afterwards.

        Args:
            path: another relative path than it was begun with, for a name that is known only once
                the content has been seen; None for the one given to `Files.begin`.

        Raises:
            FileExistsError: if other content has that name already. The part file then stays open:
                keep it under another path, or drop it. The same content again is no error.
            OSError: if the disk refuses; drop the file.
        """
        path = self._path if path is None else path
        target = self._files.absolute(path)
        if not self._is_synced:
            self.sync()
        self._files.make_folders([target.parent])
        self._give_name(target)
        _fsync_folder(target.parent)
        self._path = path
        self._close()

    def drop(self) -> None:
        """Removes what was written. Harmless after `keep` and when done twice."""
        if self._descriptor < 0:
            return
        self._close()

    def _give_name(self, target: Path) -> None:
        # link, not rename: rename would put this file over another one of that name, whose sender
        # may have had its 0x0000. link fails instead, in one step with the check.
        while True:
            try:
                os.link(self._part, target)
            except FileExistsError:
                with suppress(FileNotFoundError):  # removed between two of these calls: link it after all
                    if not filecmp.cmp(self._part, target, shallow=False):
                        raise FileExistsError(
                            errno.EEXIST, "other content is stored under this name; it is kept", str(target)
                        ) from None
                    # As new as if it had been written now: `Files.remove` leaves it to the row that is to come.
                    os.utime(target)
                    return
            else:
                return

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        # What is kept is synced by now: a disk that complains when its file is closed (NFS does) changes nothing.
        with suppress(OSError):
            os.close(descriptor)
        # What is to be kept has its name by now. A disk that lets nothing be removed (it has become read-only)
        # must not make a failure of that; the part file is litter, and `sweep` comes with the next start.
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()


class Files:
    """A folder of write-once files, all 0600 in folders of 0700: they hold patient data.

    Paths are relative, of [A-Za-z0-9._/-], no part beginning with a dot; anything else raises
    ValueError. The folder needs a file system with hard links (ext4, xfs, btrfs, zfs, NFS).
    Safe for several threads.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        # mkdir and the fsync that makes it last are one step: a second thread must not see the folder,
        # skip the fsync and promise a file that a power cut would take away with its folder.
        self._safe_folders: set[Path] = set()
        self._folder_lock = threading.Lock()
        # Part files lie in one folder beside all others: `sweep` then looks at one folder, not at
        # the hundred thousand of a year, and an aborted transfer leaves no empty study folder.
        self._root.parent.mkdir(parents=True, exist_ok=True)
        self._root.mkdir(_FOLDER_MODE, exist_ok=True)
        _fsync_folder(self._root.parent)
        self._incoming = self._root / _INCOMING
        # The token: processes that share the folder from two containers may well have the same process number.
        self._token = secrets.token_hex(8)
        self._part_numbers = itertools.count()
        self.make_folders([self._incoming])

    def begin(self, path: str) -> PartFile:
        """Opens a part file that will be kept as `path`. Nothing has that name until `keep`."""
        self.absolute(path)
        while True:
            part = self._new_part()
            descriptor = os.open(part, _NEW_FILE, _FILE_MODE)
            try:
                # As long as it is open `sweep` leaves it alone; one that came between these two calls took it away.
                if _is_locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) and os.fstat(descriptor).st_nlink:
                    return PartFile(self, path, descriptor, part)
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _new_part(self) -> Path:
        return self._incoming / f"{self._token}-{next(self._part_numbers)}.part"

    def put(self, path: str, content: bytes) -> None:
        """Stores `content` as `path` for good; the same content again is a no-op.

        Raises:
            FileExistsError: if other content has that name already; it stays as it is.
        """
        with self.begin(path) as part:
            part.write(content)
            part.keep()

    def read(self, path: str) -> bytes:
        """All bytes of a stored file. Raises FileNotFoundError if there is none."""
        return self.absolute(path).read_bytes()

    def absolute(self, path: str) -> Path:
        """Where `path` is on this machine, whether or not it exists.

        Raises:
            ValueError: if the path is absolute, empty, or holds anything but [A-Za-z0-9._/-], or a
                part that begins with a dot.
        """
        if _PATH.fullmatch(path) is None:
            raise ValueError(
                f"not a path inside the files folder: {path!r}; only [A-Za-z0-9._/-], relative, "
                "and no part may begin with a dot"
            )
        return self._root / path

    def free_bytes(self) -> int:
        """Bytes that may still be written to the disk of this folder."""
        return shutil.disk_usage(self._root).free

    def sweep(self) -> int:
        """Removes what a crash left half-written, and says how many files that were.

        What somebody is writing stays, in this process or another one: a kernel lock is on it, which ends with its
        process.
        """
        swept = 0
        for part in self._incoming.glob("*.part"):
            with (
                suppress(FileNotFoundError),
                _locked(part, os.O_RDWR, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_litter,
            ):
                if is_litter:
                    part.unlink()
                    swept += 1
        return swept

    def set_aside(self, path: str) -> str:
        """Moves a damaged file to `damaged/`, so that its name is free for the same content; gives the new path.

        Raises:
            FileExistsError: if one of this name was set aside before.
        """
        aside = f"damaged/{path}"
        source, target = self.absolute(path), self.absolute(aside)
        self.make_folders([target.parent])
        os.link(source, target)
        source.unlink()
        _fsync_folder(target.parent)
        _fsync_folder(source.parent)
        return aside

    def remove(self, path: str, untouched_since: datetime) -> bool:
        """Removes a file, unless it was kept (again) since; True if nothing has its name any more.

        For files that have no row. A sender may be storing the same object just now, with the file under its name and
        its row to come: `untouched_since` must lie further back than that can take.
        """
        target, since = self.absolute(path), untouched_since.timestamp()
        try:
            # Locked as a part file is: for a moment it lies among them, and a `sweep` must not take it.
            with _locked(target, os.O_RDONLY, fcntl.LOCK_SH | fcntl.LOCK_NB) as is_free:
                return is_free and self._remove(target, since)
        except FileNotFoundError:
            return True

    def _remove(self, target: Path, since: float) -> bool:
        aside = self._new_part()
        if target.stat().st_mtime >= since:
            return False
        target.rename(aside)
        # Looked at once more where nobody can find it: it may have been kept again between stat and rename.
        is_touched = aside.stat().st_mtime >= since
        if is_touched:
            with suppress(FileExistsError):
                os.link(aside, target)
        aside.unlink()
        return not is_touched

    def is_linked_elsewhere(self, path: str) -> bool:
        """Does the file have another name too, in a backup say, so that removing it frees nothing?"""
        try:
            return self.absolute(path).stat().st_nlink > 1
        except FileNotFoundError:
            return False

    def folders(self) -> tuple[str, ...]:
        """The folders that files lie in, relative, by name: one or two deep."""
        tops = [one.name for one in os.scandir(self._root) if one.is_dir() and not one.name.startswith(".")]
        within = [f"{top}/{one.name}" for top in tops for one in os.scandir(self._root / top) if one.is_dir()]
        return tuple(sorted((*tops, *within)))

    def untouched(self, folder: str, since: datetime) -> tuple[str, ...]:
        """The files of one folder that nobody has kept since, in no order."""
        with os.scandir(self.absolute(folder)) as entries:
            return tuple(
                f"{folder}/{entry.name}"
                for entry in entries
                if entry.is_file() and entry.stat().st_mtime < since.timestamp()
            )

    @contextmanager
    def deleting(self) -> Iterator[bool]:
        """Holds the right to delete for the block; gives False, and no right, while somebody else has it or a backup
        is being made. Across processes; a process that dies gives it back."""
        with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB) as has_it:
            yield has_it

    @contextmanager
    def keeping_all(self) -> Iterator[None]:
        """Lets nobody delete during the block; waits for who is at it."""
        with self._lock(fcntl.LOCK_SH):
            yield

    def _lock(self, kind: int) -> AbstractContextManager[bool]:
        return _locked(self._root / _LOCK, os.O_RDWR | os.O_CREAT, kind)

    def make_folders(self, folders: Iterable[Path]) -> None:
        """Makes folders of the root's and their parents so that a power cut does not lose them.

        A folder is looked after once in the life of this object, also one that is there: whoever made it may not
        have come to the fsync. Use few folders: each is remembered.
        """
        missing = [folder for folder in folders if folder not in self._safe_folders]
        if not missing:
            return
        with self._folder_lock:
            made: dict[Path, Path] = {}
            for folder in missing:
                below_root = folder.relative_to(self._root).parts
                for depth in range(1, len(below_root) + 1):
                    new = self._root.joinpath(*below_root[:depth])
                    if new not in self._safe_folders and new not in made:
                        new.mkdir(_FOLDER_MODE, exist_ok=True)
                        made[new] = new.parent
            # Parents first, and each once: of 256 folders side by side one fsync makes all last.
            for parent in dict.fromkeys(made.values()):
                _fsync_folder(parent)
            self._safe_folders.update(made)


@contextmanager
def _locked(file: Path, flags: int, kind: int) -> Iterator[bool]:
    """Locks a file for the block; gives False if somebody else has it and `kind` is not to wait."""
    descriptor = os.open(file, flags | os.O_CLOEXEC, _FILE_MODE)
    try:
        yield _is_locked(descriptor, kind)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    return True


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
