"""Whether this user can write what the settings name, found out without writing anything; and what to do if not."""

import os
import shutil
import stat
from pathlib import Path

_WRITE = os.W_OK | os.X_OK


def trouble_of_folder(folder: Path) -> str | None:
    """Says why a folder cannot be made or written, in the system's words; None if it can."""
    try:
        place = _nearest(folder)
        if not stat.S_ISDIR(place.stat().st_mode):
            return "Not a directory"
    except OSError as error:
        return error.strerror
    return None if os.access(place, _WRITE) else "Permission denied"


def free_bytes(folder: Path) -> int:
    """Gives the room on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(_nearest(folder)).free


def trouble_of_file(file: Path) -> str | None:
    """Says why a file cannot be appended to, in the system's words; None if it can. Its folder has to be there."""
    try:
        if not _is_there(file):
            is_free = stat.S_ISDIR(file.absolute().parent.stat().st_mode)
            return trouble_of_folder(file.absolute().parent) if is_free else "Not a directory"
        if file.is_dir():
            return "Is a directory"
    except OSError as error:
        return error.strerror
    return None if os.access(file, os.W_OK) else "Permission denied"


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    place = folder.absolute()
    while not _is_there(place):
        place = place.parent
    return place


def _is_there(path: Path) -> bool:
    # Path.exists() takes a folder above that may not be looked into, or is a file, for one that is not there.
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def of_storage(folder: Path, why: str | None) -> str:
    """Tells of a storage folder that cannot be used."""
    return _of_folder("storage.folder", folder, why)


def of_audit(folder: Path, why: str | None) -> str:
    """Tells of a folder for the audit files that cannot be used."""
    return _of_folder("audit.folder", folder, why)


def _of_folder(key: str, folder: Path, why: str | None) -> str:
    cause = f'{key} = "{folder}": cannot be made or written ({why})'
    return f"{cause}; give it to the user of preread, or name another"


def of_full_disk(folder: Path, free_bytes: int, free_bytes_min: int) -> str | None:
    """Tells of a disk that is so full that nothing is received; None if it is not.

    Args:
        free_bytes_min: as in [listener]; without a byte the disk is full, whatever is set.
    """
    if free_bytes >= max(free_bytes_min, 1):
        return None
    free = f"{free_bytes / 1e9:.1f} GB free, listener.free_bytes_min is {free_bytes_min / 1e9:.1f} GB"
    return f"the disk of {folder} is full ({free}): senders are refused (A700); make room"


def of_log(file: Path | None, why: str | None) -> str:
    """Tells of a log file that cannot be used."""
    cause = f'log.file = "{file}": cannot be written ({why})'
    return f"{cause}; make its folder, and give it to the user of preread"
