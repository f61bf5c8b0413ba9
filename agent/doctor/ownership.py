"""Who may read what: keys, passwords, the configuration, and the state folder, which holds patient data."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.doctor.lines import Line, Verdict

_AREA = "permissions"

ENTRIES_MAX = 100_000
"""Files and folders of the state folder that are looked at; a year's images may be more."""


def judge_secret(key: str, file: Path, mode: int) -> Line:
    """Judges the mode of a file that holds a key or a password."""
    told = f"{key}: {file} has mode {stat.S_IMODE(mode):04o}"
    if mode & stat.S_IRWXO:
        return Line(Verdict.PROBLEM, _AREA, f"{told}: everybody on this machine can use it; chmod o= {file}")
    if mode & (stat.S_IWGRP | stat.S_IXGRP):
        return Line(Verdict.WARNING, _AREA, f"{told}: its group can change it; chmod g-wx {file}")
    return Line(Verdict.OK, _AREA, told)


def judge_config(file: Path, mode: int) -> Line:
    """Judges the mode of a configuration file, which holds no secret but says where drafts go."""
    told = f"{file} has mode {stat.S_IMODE(mode):04o}"
    if mode & stat.S_IWOTH:
        return Line(
            Verdict.PROBLEM, _AREA, f"{told}: everybody on this machine can change it; chmod o-w {file}"
        )
    return Line(Verdict.OK, _AREA, told)


def look_at_secrets(files: Iterable[tuple[str, Path]]) -> Iterator[Line]:
    """Judges each secret's file, named by its setting."""
    for key, file in files:
        try:
            yield judge_secret(key, file, file.stat().st_mode)
        except OSError as error:
            yield Line(
                Verdict.PROBLEM, _AREA, f"{key}: {file} cannot be looked at ({error.strerror}); correct it"
            )


def look_at_config(folder: Path) -> Iterator[Line]:
    """Judges the configuration's files."""
    for file in sorted(folder.glob("*.toml")):
        yield judge_config(file, file.stat().st_mode)


def look_at_state(folder: Path) -> Line:
    """Looks for what everybody on this machine can read in the state folder."""
    try:
        open_ones, looked_at = _open_to_everybody(folder)
    except OSError as error:
        text = f"{error.filename or folder} cannot be looked at ({error.strerror}); run the doctor as preread's user"
        return Line(Verdict.WARNING, _AREA, text)
    counted = f"{folder}: {looked_at} files and folders looked at"
    if open_ones:
        text = (
            f"{counted}, {len(open_ones)} are open to everybody, such as {open_ones[0]}; chmod -R o= {folder}"
        )
        return Line(Verdict.PROBLEM, _AREA, text)
    return Line(Verdict.OK, _AREA, f"{counted}, none is open to everybody")


def _open_to_everybody(folder: Path) -> tuple[list[Path], int]:
    open_ones, looked_at = [], 0

    def stop(error: OSError) -> None:
        raise error

    for place, _, names in os.walk(folder, onerror=stop):
        for entry in (Path(place), *(Path(place, name) for name in names)):
            looked_at += 1
            try:
                mode = entry.lstat().st_mode
            except FileNotFoundError:
                continue  # a running preread has just removed it
            if mode & stat.S_IRWXO and not stat.S_ISLNK(mode):
                open_ones.append(entry)
        if looked_at >= ENTRIES_MAX:
            break
    return open_ones, looked_at
