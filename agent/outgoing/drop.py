"""A folder of the site's: files that appear whole, under a name that nothing had before."""

import os
from pathlib import Path

from agent.peers import StoreKind, Verdict
from config.receiver_settings import DropFolderSettings


def drop(folder: DropFolderSettings, name: str, content: bytes) -> Verdict:
    """Puts a file into the folder: hidden name, fsync, rename, fsync of the folder.

    The same bytes under the name are a file that was put there before; other bytes are somebody else's and stay.
    """
    target = folder.path / f"{name}.json"
    part = folder.path / f".{name}.part"
    try:
        if target.exists():
            return _judged(target, content, folder)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Not a link, as for our own store: the folder may be a share that has none. We are its only writer.
        part.rename(target)
        _fsync(folder.path)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return Verdict(
            StoreKind.NOT_SENT,
            f'Drop folder "{folder.name}" ({folder.path}) cannot be written ({why}). Is it there, with room, '
            "and may the user of preread write in it?",
        )
    return Verdict(StoreKind.TAKEN, None)


def _judged(target: Path, content: bytes, folder: DropFolderSettings) -> Verdict:
    if target.read_bytes() == content:
        return Verdict(StoreKind.TAKEN, None)
    return Verdict(
        StoreKind.REFUSED_FOR_GOOD,
        f'Drop folder "{folder.name}" holds another file called {target.name}. Does a second preread write there?',
    )


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
