"""Backups: made while the store is in use, verified, and a store again."""

import hashlib
import os
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from agent.keeping import backup
from agent.keeping.backup import Backup, BackupError
from agent.store import Store, open_store
from config.settings import AgentSettings, Settings, StorageSettings
from storage.index import PutVerdict
from storage.records import Stage
from tests.keeping.stores import NOW, Kept
from tests.storage.builders import LEASE_SECONDS, a_study, an_instance, an_open_job

STUDY = "2.25.100"
INTAKE = 300


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def made(kept: Kept, to: str = "backups", now=NOW) -> Backup:
    store = kept.store
    return backup.make(store.database, store.files, store.deletions.all_paths(), kept.folder / to, now)


def restored(kept: Kept, of: Backup) -> Store:
    folder = kept.folder / "restored"
    backup.restore(Path(of.folder), folder)
    return open_store(Settings(agent=AgentSettings(storage=StorageSettings(folder=folder))))


def test_a_restored_store_has_every_row_and_every_file(kept: Kept):
    kept.done(STUDY)
    before = kept.store.jobs.jobs_of_study(STUDY)

    store = restored(kept, made(kept))

    assert store.jobs.jobs_of_study(STUDY) == before
    assert [store.files.read(path) for path in sorted(store.deletions.all_paths())] == [
        b"image",
        b"report",
        b"report",
    ]


def test_the_line_goes_on_where_the_backup_was_made(kept: Kept):
    an_open_job(kept.store.index, kept.store.jobs, STUDY)
    claimed = kept.store.jobs.claim([Stage.GATHER], "worker of the lost machine", NOW, LEASE_SECONDS)
    assert claimed is not None
    store = restored(kept, made(kept))

    job = store.jobs.claim([Stage.GATHER], "worker", NOW + timedelta(seconds=LEASE_SECONDS), LEASE_SECONDS)

    assert job is not None
    assert store.jobs.advance(job, Stage.READ, NOW, manifest_json="{}", event="gathered").stage is Stage.READ


def take_in(kept: Kept, number: int) -> PutVerdict:
    """As the listener does: the file under its name first, then the row."""
    uid, content = f"2.25.7.{number}", b"image %d" % number
    path = f"received/{number % 16:02x}/{uid}.dcm"
    kept.store.files.put(path, content)
    image = an_instance(uid, study="2.25.7", path=path, content=content)
    return kept.store.index.put(image, a_study("2.25.7")).verdict


@pytest.mark.slow
def test_a_backup_during_intake_is_whole_and_what_it_misses_is_taken_when_sent_again(kept: Kept):
    is_under_way = threading.Event()

    def intake() -> None:
        for number in range(INTAKE):
            take_in(kept, number)
            if number == INTAKE // 10:
                is_under_way.set()

    sender = threading.Thread(target=intake)
    sender.start()
    is_under_way.wait()
    copy = made(kept)
    sender.join()
    assert list(backup.problems(Path(copy.folder))) == []

    kept.store = restored(kept, copy)

    there = len(kept.store.index.instances("2.25.7"))
    assert there > INTAKE // 10
    verdicts = [take_in(kept, number) for number in range(INTAKE)]
    assert verdicts == [PutVerdict.DUPLICATE] * there + [PutVerdict.STORED] * (INTAKE - there)


def test_nothing_is_deleted_between_the_database_and_the_files(kept: Kept):
    kept.done(STUDY, date="19990101")
    kept.now = NOW + timedelta(days=4000)
    turns = []

    def paths():
        turns.append(kept.turns.turn())
        yield from kept.store.deletions.all_paths()

    copy = backup.make(kept.store.database, kept.store.files, paths(), kept.folder / "backups", NOW)

    assert [turn.studies for turn in turns] == [0]
    assert (copy.files, copy.missing) == (3, 0)


def test_files_are_linked_on_the_same_disk_and_copied_where_they_cannot_be(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
):
    image = kept.done(STUDY)
    linked = Path(made(kept).folder) / "files/received/00/2.25.100.7.dcm"
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "another disk")))

    copied = Path(made(kept, "elsewhere").folder) / "files/received/00/2.25.100.7.dcm"

    assert linked.samefile(image)
    assert not copied.samefile(image)
    assert copied.read_bytes() == image.read_bytes()
    assert copied.stat().st_mode & 0o777 == 0o600


def test_the_digests_can_be_checked_without_preread(kept: Kept):
    kept.done(STUDY)
    copy = made(kept)

    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=copy.folder, check=True)


def damaged(copy: Backup, path: str) -> Path:
    place = Path(copy.folder) / path
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.unlink()  # the file itself may be linked to the store's
    place.write_bytes(content)
    return place


@pytest.mark.parametrize("path", ["preread.sqlite", "files/received/00/2.25.100.7.dcm"])
def test_one_flipped_bit_is_found_and_such_a_backup_is_not_restored(kept: Kept, path: str):
    kept.done(STUDY)
    copy = made(kept)
    damaged(copy, path)

    assert f"{path} is not what it was" in list(backup.problems(Path(copy.folder)))
    with pytest.raises(BackupError, match="is not what it was"):
        backup.restore(Path(copy.folder), kept.folder / "restored")
    assert sorted(path.name for path in kept.folder.iterdir()) == ["backups", "data"]


def test_a_row_without_a_file_is_told(kept: Kept):
    kept.done(STUDY).unlink()

    copy = made(kept)

    assert copy.missing == 1
    assert list(backup.problems(Path(copy.folder))) == ["received/00/2.25.100.7.dcm has a row and no file"]


def test_nothing_is_overwritten(kept: Kept):
    copy = made(kept)
    there = kept.folder / "there"
    there.mkdir()
    (there / "something").touch()

    with pytest.raises(BackupError, match="is not empty, and nothing is ever overwritten"):
        backup.restore(Path(copy.folder), there)
    assert made(kept).folder == f"{copy.folder}-2"


def test_what_is_no_backup_is_refused(kept: Kept):
    with pytest.raises(BackupError, match=r"is no backup: backup\.json or SHA256SUMS cannot be read"):
        backup.restore(kept.folder, kept.folder / "restored")


def test_a_path_that_leads_out_of_the_store_is_refused(kept: Kept):
    folder = Path(made(kept).folder)
    evil = kept.folder / "evil"
    evil.write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{digest}  files/../../../evil\n")
    (folder / "files").mkdir(exist_ok=True)

    with pytest.raises(BackupError, match="not restored"):
        backup.restore(folder, kept.folder / "restored")


def test_a_backup_that_fails_leaves_nothing_behind(kept: Kept):
    kept.done(STUDY)

    def cut():
        yield next(kept.store.deletions.all_paths())
        raise OSError(28, "No space left on device")

    with pytest.raises(BackupError, match=r"no backup was made in .*No space left"):
        backup.make(kept.store.database, kept.store.files, cut(), kept.folder / "backups", NOW)

    assert list((kept.folder / "backups").iterdir()) == []
