"""Write-once files, and what is left of them after a crash at any point."""

import errno
import filecmp
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.files import Files

NAME = "studies/2.25.1/2.25.2/2.25.3.dcm"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


def kept(files: Files) -> list[str]:
    root = files.absolute("x").parent
    found = (path for path in root.rglob("*") if path.is_file() and ".incoming" not in path.parts)
    return sorted(str(path.relative_to(root)) for path in found)


def parts(files: Files) -> int:
    return len(list((files.absolute("x").parent / ".incoming").iterdir()))


def test_what_was_put_is_read(files: Files):
    files.put(NAME, b"content")

    assert files.read(NAME) == b"content"
    assert files.absolute(NAME).read_bytes() == b"content"
    assert parts(files) == 0


def test_the_same_content_again_is_a_no_op(files: Files):
    files.put(NAME, b"content")
    before = files.absolute(NAME).stat()

    files.put(NAME, b"content")

    assert files.absolute(NAME).stat().st_ino == before.st_ino
    assert parts(files) == 0


def test_other_content_under_a_name_is_refused_and_the_first_stays(files: Files):
    files.put(NAME, b"content")

    with pytest.raises(FileExistsError, match="other content is stored"):
        files.put(NAME, b"another")

    assert files.read(NAME) == b"content"
    assert parts(files) == 0


def test_a_part_has_no_name_until_it_is_kept(files: Files):
    part = files.begin(NAME)
    part.write(b"cont")
    assert kept(files) == []

    part.write(memoryview(b"ent"))
    assert part.size_bytes == 7
    part.keep()

    assert kept(files) == [NAME]
    assert parts(files) == 0


def test_a_part_may_be_written_past_its_own_write(files: Files):
    part = files.begin(NAME)

    os.writev(part.fileno(), [b"by ", b"writev"])

    assert part.size_bytes == 9
    part.keep()
    assert files.read(NAME) == b"by writev"


def test_a_part_may_be_kept_under_a_name_known_only_later(files: Files):
    part = files.begin("studies/unknown.dcm")
    part.write(b"content")

    part.keep(NAME)

    assert kept(files) == [NAME]
    assert part.path == NAME


def test_a_part_refused_under_one_name_may_be_kept_under_another(files: Files):
    files.put(NAME, b"content")
    part = files.begin(NAME)
    part.write(b"another")

    with pytest.raises(FileExistsError):
        part.keep()
    part.keep("studies/other.dcm")

    assert (files.read(NAME), files.read("studies/other.dcm")) == (b"content", b"another")


def test_a_dropped_part_leaves_nothing(files: Files):
    part = files.begin(NAME)
    part.write(b"content")

    part.drop()
    part.drop()

    assert (kept(files), parts(files)) == ([], 0)
    with pytest.raises(ValueError, match="is closed"):
        part.write(b"more")


def test_a_part_left_by_an_error_is_dropped(files: Files):
    with pytest.raises(LookupError), files.begin(NAME):
        raise LookupError

    assert (kept(files), parts(files)) == ([], 0)


def test_two_parts_of_one_name_do_not_meet(files: Files):
    first, second = files.begin(NAME), files.begin(NAME)
    first.write(b"content")
    second.write(b"content")

    first.keep()
    second.keep()

    assert files.read(NAME) == b"content"
    assert parts(files) == 0


def test_files_and_folders_are_their_owners_only(files: Files):
    files.put(NAME, b"content")

    path = files.absolute(NAME)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in list(path.parents)[:4]} == {0o700}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a/.b",
        ".incoming/x",
        "a b",
        "a\\b",
        "ä",
        "a\n",
        "a\0",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(files: Files, path: str):
    for use in (files.begin, files.read, files.absolute, lambda path: files.put(path, b"")):
        with pytest.raises(ValueError, match="not a path inside the files folder"):
            use(path)


def test_a_part_is_not_kept_outside_either(files: Files):
    part = files.begin(NAME)

    with pytest.raises(ValueError, match="not a path inside"):
        part.keep("../x")
    part.drop()


def test_an_unknown_file_is_not_found(files: Files):
    with pytest.raises(FileNotFoundError):
        files.read(NAME)


def test_the_free_bytes_are_those_of_the_disk(files: Files, tmp_path: Path):
    disk = os.statvfs(tmp_path)

    assert 0 < files.free_bytes() <= disk.f_frsize * disk.f_blocks


def test_sweeping_removes_what_a_crash_left_and_nothing_else(tmp_path: Path):
    files = Files(tmp_path)
    files.put(NAME, b"content")
    abandoned = [files.begin(NAME) for _ in range(3)]
    for part in abandoned:
        os.close(part.fileno())  # what a crash does

    assert Files(tmp_path).sweep() == 3

    assert (kept(files), parts(files)) == ([NAME], 0)
    assert Files(tmp_path).sweep() == 0


# The order that makes a file last. `os` is not ours; what is recorded is what the kernel is asked for.


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, files: Files) -> list[str]:
    """What the kernel is asked to make lasting, in order: paths relative to the files folder."""
    root, calls = files.absolute("x").parent, []
    fsync, link, mkdir = os.fsync, os.link, os.mkdir

    def name(path: object) -> str:
        path = Path(os.fsdecode(path))  # type: ignore[arg-type]
        return "part" if path.suffix == ".part" else str(path.relative_to(root))

    def record(word: str, real: Callable[..., object], *arguments: object, **named: object) -> object:
        *_, last = [argument for argument in arguments if not isinstance(argument, int) or word == "fsync"]
        calls.append(f"{word} {name(os.readlink(f'/proc/self/fd/{last}') if word == 'fsync' else last)}")
        return real(*arguments, **named)

    monkeypatch.setattr(os, "fsync", lambda *a, **k: record("fsync", fsync, *a, **k))
    monkeypatch.setattr(os, "link", lambda *a, **k: record("name", link, *a, **k))
    monkeypatch.setattr(os, "mkdir", lambda *a, **k: record("mkdir", mkdir, *a, **k))
    return calls


def test_a_file_lasts_before_it_has_a_name_and_its_name_before_anybody_is_told(
    files: Files, asked: list[str]
):
    files.put("a/b.dcm", b"content")

    assert asked == ["fsync part", "mkdir a", "fsync .", "name a/b.dcm", "fsync a"]


def test_new_folders_last_from_the_top_down(files: Files, asked: list[str]):
    files.put("a/b/c.dcm", b"content")

    assert asked[1:5] == ["mkdir a", "mkdir a/b", "fsync .", "fsync a"]


def test_folders_side_by_side_are_made_to_last_by_one_fsync_of_theirs(files: Files, asked: list[str]):
    files.make_folders(files.absolute(folder) for folder in ("a/0", "a/1", "a/2"))
    files.make_folders([files.absolute("a/1")])

    assert asked == ["mkdir a", "mkdir a/0", "mkdir a/1", "mkdir a/2", "fsync .", "fsync a"]


def test_a_part_file_that_was_synced_is_not_synced_again(files: Files, asked: list[str]):
    with files.begin("b.dcm") as part:
        part.write(b"content")
        part.sync()
        part.keep()

    assert asked == ["fsync part", "name b.dcm", "fsync ."]


def test_a_folder_that_is_there_costs_nothing(files: Files, asked: list[str]):
    files.put("a/b.dcm", b"content")
    asked.clear()

    files.put("a/c.dcm", b"content")

    assert asked == ["fsync part", "name a/c.dcm", "fsync a"]


def test_the_same_content_again_makes_its_name_last(files: Files, asked: list[str]):
    files.put("a/b.dcm", b"content")
    asked.clear()

    files.put("a/b.dcm", b"content")

    assert asked[-1] == "fsync a"


class Cut(BaseException):
    """The power is gone."""


@pytest.mark.parametrize("after", [False, True])
def test_cut_anywhere_the_name_has_all_or_is_not_there_and_a_second_try_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
):
    lives = 0
    for lives in range(1, 20):
        files = Files(tmp_path / str(lives))
        with monkeypatch.context() as patch:
            was_cut = live_until(lives, after, files, patch)
        assert kept(files) in ([], [NAME])
        files.put(NAME, b"content")
        assert files.read(NAME) == b"content"
        Files(tmp_path / str(lives)).sweep()
        assert parts(files) == 0
        if not was_cut:
            break
    assert lives > 5


def test_a_disk_that_complains_when_a_part_file_is_closed_is_no_failure(
    files: Files, monkeypatch: pytest.MonkeyPatch
):
    close, closed = os.close, []

    def complain(descriptor: int) -> None:
        close(descriptor)
        closed.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    part = files.begin("a.dcm")
    part.write(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", complain)
        part.drop()
        part.drop()

    assert len(closed) == 1
    assert list(files.absolute("a.dcm").parent.glob("**/*.part")) == []


def test_a_part_file_that_cannot_be_removed_is_no_failure(files: Files, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "unlink", refuse)
    files.put(NAME, b"content")
    files.begin("b").drop()
    monkeypatch.undo()

    assert files.read(NAME) == b"content"
    assert files.sweep() == 2, "the next start removes them"


def live_until(count: int, after: bool, files: Files, patch: pytest.MonkeyPatch) -> bool:
    """Puts a file with the effect number `count` cut before or after it happens; False if there was none."""
    left = count

    def cutting(real: Callable[..., object]) -> Callable[..., object]:
        def effect(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                raise Cut
            result = real(*arguments, **named)
            if left == 0:
                raise Cut
            return result

        return effect

    for name in ("fsync", "link", "mkdir", "write", "unlink"):
        patch.setattr(os, name, cutting(getattr(os, name)))
    try:
        files.put(NAME, b"content")
    except Cut:
        return True
    return False


def aged(files: Files, name: str, hours: float = 48) -> Path:
    """Makes a file look as if it had been kept so long ago."""
    path = files.absolute(name)
    then = time.time() - hours * 3600
    os.utime(path, (then, then))
    return path


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def test_a_file_that_nobody_has_kept_since_is_removed(files: Files):
    files.put(NAME, b"content")
    aged(files, NAME)

    assert files.remove(NAME, hours_ago(1))

    assert kept(files) == []
    assert parts(files) == 0
    assert files.remove(NAME, hours_ago(1)), "there is nothing left to remove"


def test_a_file_that_was_kept_since_is_left(files: Files):
    files.put(NAME, b"content")
    aged(files, NAME)
    files.put(NAME, b"content")  # the same object is being stored again: its row is to come

    assert not files.remove(NAME, hours_ago(1))

    assert files.read(NAME) == b"content"


def test_a_file_that_is_kept_again_while_it_is_removed_is_there_in_the_end(
    files: Files, monkeypatch: pytest.MonkeyPatch
):
    files.put(NAME, b"content")
    path = aged(files, NAME)
    rename = Path.rename

    def keep_again_first(self: Path, target: Path) -> Path:
        os.utime(path)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", keep_again_first)

    assert not files.remove(NAME, hours_ago(1))
    assert files.read(NAME) == b"content"
    assert parts(files) == 0


def test_a_file_that_is_removed_while_it_is_kept_again_is_there_in_the_end(
    files: Files, monkeypatch: pytest.MonkeyPatch
):
    files.put(NAME, b"content")
    aged(files, NAME)
    compare = filecmp.cmp
    monkeypatch.setattr(
        filecmp,
        "cmp",
        lambda *pair, shallow: files.remove(NAME, hours_ago(1)) and compare(*pair, shallow=shallow),
    )

    files.put(NAME, b"content")

    assert files.read(NAME) == b"content"


def test_files_that_nobody_has_kept_since_are_listed_folder_by_folder(files: Files):
    for name in ("received/00/old.dcm", "received/00/new.dcm", "received/01/old.dcm"):
        files.put(name, b"content")
    aged(files, "received/00/old.dcm")

    assert files.folders() == ("received", "received/00", "received/01")
    assert files.untouched("received/00", hours_ago(1)) == ("received/00/old.dcm",)


def test_a_part_that_another_process_is_writing_is_not_swept_and_has_a_name_of_its_own(tmp_path: Path):
    reader, listener = Files(tmp_path), Files(tmp_path)

    with reader.begin(NAME) as result:
        result.write(b"draft")
        assert listener.sweep() == 0
        with listener.begin("other") as image:
            image.write(b"half an image")
            result.keep()

    assert (kept(reader), reader.read(NAME)) == ([NAME], b"draft")


def test_a_part_that_is_swept_while_it_is_begun_is_begun_anew(files: Files, monkeypatch: pytest.MonkeyPatch):
    opened = os.open

    def sweep_next(path: Path, *arguments: int) -> int:
        descriptor = opened(path, *arguments)
        if arguments[0] & os.O_EXCL:
            monkeypatch.undo()
            assert files.sweep() == 1
        return descriptor

    monkeypatch.setattr(os, "open", sweep_next)
    files.put(NAME, b"content")

    assert (files.read(NAME), parts(files)) == (b"content", 0)


def test_a_file_that_is_being_removed_is_not_swept_before_it_is_put_back(
    files: Files, monkeypatch: pytest.MonkeyPatch
):
    files.put(NAME, b"content")
    path = aged(files, NAME)
    rename = Path.rename

    def kept_again_and_swept(self: Path, target: Path) -> Path:
        os.utime(path)
        renamed = rename(self, target)
        assert files.sweep() == 0
        return renamed

    monkeypatch.setattr(Path, "rename", kept_again_and_swept)

    assert not files.remove(NAME, hours_ago(1))
    assert files.read(NAME) == b"content"


def test_nobody_deletes_while_everything_is_being_kept(files: Files):
    with files.keeping_all(), files.keeping_all(), files.deleting() as may:
        assert not may

    with files.deleting() as may, files.deleting() as other_may:
        assert may
        assert not other_may
