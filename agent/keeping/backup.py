"""Backups of the store while it is in use, and what becomes of one: verified, or a store again.

Database first, files after, and nothing is deleted in between (`Files.keeping_all`): a file is under its name before
its row is committed, so every row of the copy finds its file. What arrives meanwhile may be in the copy as a file
without a row, which is litter. The other way round, a row could be copied whose file came after the files.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from storage.database import Database, revision_of
from storage.files import Files
from storage.snapshots import (
    POSTGRESQL_FILE,
    SQLITE_FILE,
    SnapshotError,
    paths_in_copy,
    problem_of_copy,
    snapshot,
)

SUMS, ABOUT, FILES = "SHA256SUMS", "backup.json", "files"
_CHUNK_BYTES = 1 << 20


class BackupError(Exception):
    """A backup cannot be made or used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds, as its `backup.json` says.

    Attributes:
        made_at: the moment of the database, ISO 8601 with zone.
        revision: of the database's schema.
        missing: files that rows name and that were not there when it was made.
    """

    folder: str
    made_at: str
    revision: str
    database: str
    files: int
    size_bytes: int
    missing: int


def make(database: Database, files: Files, paths: Iterable[str], to: Path, now: datetime) -> Backup:
    """Makes a backup in a new folder within `to`, named by the time; it has that name only when it is whole.

    Files are hard-linked where `to` is on the same disk (they are written once, and their backup takes no space, but
    dies with the disk), and copied elsewhere. Each is read for its digest.

    Args:
        paths: every path that a row names, asked for when the database has been copied.

    Raises:
        BackupError: if it cannot be made; what was begun is removed.
    """
    whole, part = _free_name(to, now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"))
    try:
        part.mkdir(parents=True, mode=0o700)
        with files.keeping_all():
            copied = snapshot(database, part)
            sums, missing = _take_files(files, paths, part / FILES)
        sums[copied.name] = _digest(copied)
        sizes = sum((part / path).stat().st_size for path in sums)
        revision = str(revision_of(database))
        made = Backup(str(whole), now.isoformat(), revision, copied.name, len(sums) - 1, sizes, len(missing))
        _write(part / SUMS, "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items())))
        _write(part / ABOUT, json.dumps(asdict(made), indent=2) + "\n")
        _make_last(part)
        part.rename(whole)
    except (OSError, SnapshotError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise BackupError(f"no backup was made in {to}: {error}") from error
    _sync_folder(to)
    return made


def _free_name(to: Path, name: str) -> tuple[Path, Path]:
    """The name of a backup and the one that it has until it is whole; a second one of the same second is numbered."""
    for number in count(1):
        numbered = name if number == 1 else f"{name}-{number}"
        whole, part = to / numbered, to / f"{numbered}.part"
        if not (whole.exists() or part.exists()):
            break
    return whole, part


def problems(folder: Path) -> Iterator[str]:
    """Reads a whole backup and says what is wrong with it: digests, the database, rows without a file.

    Raises:
        BackupError: if it is no backup.
    """
    database, sums = _opened(folder)
    for path, digest in sums.items():
        try:
            if _digest(folder / path) != digest:
                yield f"{path} is not what it was"
        except OSError as error:
            yield f"{path} cannot be read: {error.strerror}"
    if database == SQLITE_FILE:
        problem = problem_of_copy(folder / SQLITE_FILE)
        if problem is not None:
            yield f"{SQLITE_FILE}: {problem}"
            return
        without = [path for path in paths_in_copy(folder / SQLITE_FILE) if f"{FILES}/{path}" not in sums]
        yield from (f"{path} has a row and no file" for path in without)


def restore(folder: Path, to: Path) -> str:
    """Makes a store of a backup: a folder that `[storage] folder` may name. Each digest is checked on the way.

    Returns:
        what is left to do, a sentence.

    Raises:
        BackupError: if `to` is there and not empty, or the backup is damaged; nothing is left then.
    """
    database, sums = _opened(folder)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BackupError(f"{to} is not empty, and nothing is ever overwritten; name a new folder")
    part = to.with_name(f"{to.name}.restoring")
    if part.exists():
        raise BackupError(f"{part} is left from a restore that did not end; remove it and try again")
    try:
        part.mkdir(parents=True, mode=0o700)
        kept, root = Files(part / FILES), Files(part)
        for path, digest in sums.items():
            inside = path.removeprefix(f"{FILES}/")
            _copy_checked(folder / path, kept if inside != path else root, inside, digest)
        (part / ".incoming").rmdir()
        part.rename(to)
    except (OSError, ValueError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise BackupError(f"{folder} was not restored: {error}") from error
    _sync_folder(to.parent)
    if database == POSTGRESQL_FILE:
        dump = to / POSTGRESQL_FILE
        return f"fill an empty database with: pg_restore --no-owner --exit-on-error --dbname=DATABASE {dump}"
    return f'write folder = "{to}" under [storage] of agent.toml and start preread'


def _take_files(files: Files, paths: Iterable[str], to: Path) -> tuple[dict[str, str], list[str]]:
    """Links or copies files; gives their digests by path within the backup, and those that are missing."""
    sums: dict[str, str] = {}
    missing: list[str] = []
    to.mkdir(mode=0o700)
    for path in list(paths):  # a list: no transaction stays open while files are read
        target = to / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            _link_or_copy(files.absolute(path), target)
        except FileNotFoundError:
            missing.append(path)
            continue
        sums[f"{FILES}/{path}"] = _digest(target)
    return sums, missing


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except FileExistsError:  # two rows may name one file
        return
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)
        target.chmod(0o600)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def _copy_checked(source: Path, files: Files, path: str, digest: str) -> None:
    taken = hashlib.sha256()
    with source.open("rb") as content, files.begin(path) as part:
        while chunk := content.read(_CHUNK_BYTES):
            taken.update(chunk)
            part.write(chunk)
        if taken.hexdigest() != digest:
            raise ValueError(f"{source} is not what it was; verify the backup, or take another")
        part.keep()


def _opened(folder: Path) -> tuple[str, dict[str, str]]:
    """The name of its database and the digest of each file by path."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        # As `sha256sum` writes it, so that it can be checked without us.
        sums = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
        database = str(about["database"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{folder} is no backup: {ABOUT} or {SUMS} cannot be read ({error})") from error
    return database, sums


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _make_last(folder: Path) -> None:
    for inner, _, _ in os.walk(folder):
        _sync_folder(Path(inner))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
