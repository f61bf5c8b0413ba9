"""The power is cut: only what was made last is there afterwards, and a new start goes on from it.

What was made last is recorded: the content of a file at its fsync, its name at the fsync of its folder after
that, a folder at the fsync of the folder above. A write or a name that nobody synced is taken to be lost.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine.base import Connection

from tests.crash.hospital import EARLIER, LATE, MERGE, REPORT, TODAYS
from tests.crash.observer import store_problems
from tests.faults.conftest import Clinic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Disk:
    """What a power cut would leave of a folder.

    Attributes:
        contents: what was synced of each file, by inode.
        names: names that are there for good, with their inodes; None for a folder.
        unsynced: names that were given or taken since their folder was synced.
    """

    root: Path
    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[Path, int | None] = field(default_factory=dict)
    unsynced: dict[Path, int | str | None] = field(default_factory=dict)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Sees every effect on the folder from now on."""
        for name in ("fsync", "link", "mkdir", "unlink"):
            patch.setattr(os, name, self._seen(getattr(os, name), getattr(self, f"_{name}")))

    def _seen(self, act: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        def replaced(*arguments: Any, **keywords: Any) -> Any:
            done = act(*arguments, **keywords)
            note(*arguments)
            return done

        return replaced

    def _fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            for name in [name for name in self.unsynced if name.parent == path]:
                what = self.unsynced.pop(name)
                if what == "gone":
                    self.names.pop(name, None)
                else:
                    self.names[name] = what  # type: ignore[assignment]
        elif self.root in path.parents:
            self.contents[os.fstat(descriptor).st_ino] = path.read_bytes()

    def _link(self, source: Any, target: Any) -> None:
        self.unsynced[Path(target)] = os.stat(source).st_ino

    def _mkdir(self, path: Any, *_: Any) -> None:
        self.unsynced[Path(path)] = None

    def _unlink(self, path: Any) -> None:
        self.unsynced[Path(path)] = "gone"

    def leave(self, target: Path) -> None:
        """Writes what a power cut would leave of the folder to another place."""
        target.mkdir(parents=True)
        for name, inode in sorted(self.names.items()):
            if inode is None or self.root not in name.parents or not self._has_folders(name):
                continue
            place = target / name.relative_to(self.root)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.contents.get(inode, b""))

    def _has_folders(self, name: Path) -> bool:
        between = [folder for folder in name.parents if self.root in folder.parents]
        return all(folder in self.names for folder in between)


@dataclass
class Cuts:
    """Power cuts at every commit: what would be left of disk and database, and what was acknowledged by then."""

    clinic: Clinic
    disk: Disk
    folder: Path
    left: list[tuple[Path, dict[str, str]]] = field(default_factory=list)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        commit = Connection._commit_impl

        def replaced(connection: Connection) -> None:
            commit(connection)
            if connection.get_execution_options().get("preread_writes", False):
                self._cut()

        patch.setattr(Connection, "_commit_impl", replaced)

    def _cut(self) -> None:
        place = self.folder / f"{len(self.left):03}"
        self.left.append((place, dict(self.clinic.acknowledged)))
        self.disk.leave(place / "files")
        data = self.clinic.settings.agent.storage.folder
        # What SQLite has committed is synced by SQLite (synchronous=FULL, tests/storage/test_sqlite.py).
        with (
            closing(sqlite3.connect(data / "preread.sqlite")) as now,
            closing(sqlite3.connect(place / "preread.sqlite")) as then,
        ):
            now.backup(then)


@pytest.fixture
def cuts(clinic: Clinic, tmp_path: Path) -> Iterator[Cuts]:
    clinic.stop()
    shutil.rmtree(clinic.settings.agent.storage.folder)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(clinic.settings.agent.storage.folder / "files")
        disk.watch(patch)
        cuts = Cuts(clinic, disk, tmp_path / "cuts")
        clinic.product = clinic.started()
        cuts.watch(patch)
        yield cuts


def live(clinic: Clinic) -> None:
    clinic.send(EARLIER)
    clinic.until_it_is_quiet()
    clinic.tell(REPORT)
    clinic.tell(MERGE)
    clinic.send(*TODAYS)
    clinic.until_it_is_quiet()
    clinic.send(LATE)
    clinic.until_it_is_quiet()


def test_whenever_the_power_is_cut_a_new_start_finds_everything_acknowledged_and_goes_on(cuts: Cuts):
    clinic = cuts.clinic
    live(clinic)
    clinic.stop()
    left, cuts.left = cuts.left, []

    assert len(left) > 40
    for place, acknowledged in left[::10]:
        clinic.settings = moved(clinic, place)
        clinic.product = clinic.started()
        clinic.until_it_is_quiet()
        problems = list(store_problems(clinic.product.serving._store, acknowledged))
        clinic.stop()
        assert problems == [], place
    clinic.product = clinic.started()


def test_a_disk_without_an_fsync_of_folders_would_be_found_out(cuts: Cuts, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("storage.files._fsync_folder", lambda folder: None)
    clinic = cuts.clinic

    clinic.send(EARLIER)
    place, _ = cuts.left[-1]
    clinic.settings = moved(clinic, place)
    clinic.stop()
    clinic.product = clinic.started()

    problems = list(store_problems(clinic.product.serving._store, clinic.acknowledged))
    assert any("has a row and no file" in problem for problem in problems)


def moved(clinic: Clinic, place: Path) -> Any:
    """The settings with the store in another place."""
    storage = clinic.settings.agent.storage.model_copy(update={"folder": place})
    agent = clinic.settings.agent.model_copy(update={"storage": storage})
    return clinic.settings.model_copy(update={"agent": agent})
