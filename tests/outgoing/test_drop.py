"""A file in a folder is whole, or it is not there."""

from pathlib import Path

from agent.outgoing.drop import drop
from agent.peers import StoreKind
from tests.outgoing.builders import a_drop_folder


def test_a_file_stands_under_its_name_and_nothing_beside_it(tmp_path: Path):
    verdict = drop(a_drop_folder(tmp_path), "2.25.1_r1", b"{}")

    assert verdict.kind is StoreKind.TAKEN
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"2.25.1_r1.json": b"{}"}


def test_the_same_file_again_changes_nothing(tmp_path: Path):
    drop(a_drop_folder(tmp_path), "2.25.1_r1", b"{}")
    before = (tmp_path / "2.25.1_r1.json").stat()

    verdict = drop(a_drop_folder(tmp_path), "2.25.1_r1", b"{}")

    assert verdict.kind is StoreKind.TAKEN
    assert (tmp_path / "2.25.1_r1.json").stat() == before


def test_somebody_else_s_file_of_that_name_stays(tmp_path: Path):
    (tmp_path / "2.25.1_r1.json").write_bytes(b"theirs")

    verdict = drop(a_drop_folder(tmp_path), "2.25.1_r1", b"{}")

    assert verdict.kind is StoreKind.REFUSED_FOR_GOOD
    assert (tmp_path / "2.25.1_r1.json").read_bytes() == b"theirs"


def test_what_a_crash_left_half_written_is_written_anew(tmp_path: Path):
    (tmp_path / ".2.25.1_r1.part").write_bytes(b"half of what was to be written")

    drop(a_drop_folder(tmp_path), "2.25.1_r1", b"{}")

    assert [path.name for path in tmp_path.iterdir()] == ["2.25.1_r1.json"]
    assert (tmp_path / "2.25.1_r1.json").read_bytes() == b"{}"


def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path):
    verdict = drop(a_drop_folder(tmp_path / "unmounted"), "2.25.1_r1", b"{}")

    assert verdict.kind is StoreKind.NOT_SENT
    assert 'Drop folder "dictation"' in (verdict.words or "")
    assert not (tmp_path / "unmounted").exists()
