"""What a command says of a store that it cannot use: one sentence, and nothing is made or changed."""

import errno
import os
import resource
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from sqlalchemy import create_engine

from agent import keeping_desk, loaded
from agent.cli import main
from agent.ports import PortError, opening
from agent.store import open_store
from agent.writable import trouble_of_file, trouble_of_folder
from config.loading import load
from config.settings import Settings
from storage.database import HEAD
from tests.agent.archives import a_free_port
from tests.contract.test_upgrades import at_revision

Told = tuple[int, str, str]
"""Exit code, standard output, standard error."""

LOOKING = [
    ("status",),
    ("why", "2.25.100"),
    ("list",),
    ("again", "2.25.100"),
    ("hold", "2.25.100"),
    ("release", "2.25.100"),
    ("delete", "2.25.100", "--yes"),
    ("withdraw", "2.25.100", "--why", "wrong patient"),
    ("ask", "2.25.100", "finding", "effusion"),
    ("compare",),
    ("scores",),
    ("export", "2.25.100", "--deidentified", "--out", "export"),
    ("scrub",),
    ("retention", "--dry-run"),
    ("retention",),
    ("deliveries", "list"),
    ("rules", "test", "--since", "1d"),
    ("patients", "list"),
    ("reports", "import", "."),
    ("reports", "list"),
    ("reports", "quarantine"),
]


@pytest.fixture
def preread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Told]]:
    """Runs the command as the console script does."""
    umask, core = os.umask(0o022), resource.getrlimit(resource.RLIMIT_CORE)

    def run(*arguments: str | Path) -> Told:
        monkeypatch.setattr(sys, "argv", ["preread", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    yield run
    os.umask(umask)
    resource.setrlimit(resource.RLIMIT_CORE, core)


@pytest.fixture
def unchanged() -> Iterator[None]:
    """The signal handlers and the log are afterwards as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    structlog.reset_defaults()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration; its store is to be in `data`."""
    (tmp_path / "agent.toml").write_text('[storage]\nfolder = "data"\n')
    for name in ("peers", "reading"):
        (tmp_path / f"{name}.toml").touch()
    return tmp_path


def settings_of(site: Path) -> Settings:
    return load(site)


def set_revision(site: Path, revision: str) -> None:
    with closing(sqlite3.connect(site / "data" / "preread.sqlite")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def revision_in(file: Path) -> str:
    with closing(sqlite3.connect(file)) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.fixture
def older(site: Path) -> Path:
    """A site whose service is of the program before this one."""
    open_store(settings_of(site)).database.close()
    set_revision(site, "0011")
    return site


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_a_command_does_not_bring_the_database_of_an_older_service_up_to_date(
    preread: Callable[..., Told], older: Path, command: tuple[str, ...]
):
    code, _, said = preread(*command, "--config", older)

    assert code == 1
    assert said == (
        f"the database has schema revision 0011, and this program {HEAD}: preread serve brings it up to date; "
        "for the way back make a backup first (preread backup make)\n"
    )
    assert revision_in(older / "data" / "preread.sqlite") == "0011"


@pytest.mark.parametrize("command", [*LOOKING, ("backup", "make", "backups")], ids=" ".join)
def test_a_command_makes_no_store_where_there_is_none(
    preread: Callable[..., Told], site: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    monkeypatch.chdir(site)

    named, builtin = preread(*command, "--config", site), preread(*command)

    told = "no preread store in {}; name its --config, or is the disk mounted?\n"
    assert named == (1, "", told.format(site / "data"))
    assert builtin == (1, "", told.format(site / "preread-data"))
    assert {path.name for path in site.iterdir()} == {"agent.toml", "peers.toml", "reading.toml"}


def test_a_store_whose_database_is_gone_gets_no_empty_one(preread: Callable[..., Told], older: Path):
    (older / "data" / "preread.sqlite").unlink()

    code, _, said = preread("status", "--config", older)

    assert code == 1
    assert "there is no database" in said
    assert "is its disk mounted?" in said
    assert not (older / "data" / "preread.sqlite").exists()


def test_the_status_begins_with_the_folder_that_it_is_of(preread: Callable[..., Told], site: Path):
    open_store(settings_of(site)).database.close()

    code, said, _ = preread("status", "--config", site)

    assert (code, said.splitlines()[0]) == (0, f"storage folder: {site / 'data'}")


@pytest.mark.parametrize("revision", ["0008", "0011"])
def test_a_backup_before_an_upgrade_is_of_the_database_as_it_is(
    preread: Callable[..., Told], site: Path, revision: str
):
    (site / "data" / "files").mkdir(parents=True)
    engine = create_engine(settings_of(site).agent.storage.connection_url())
    with engine.begin() as connection:
        at_revision(connection, revision)
    engine.dispose()

    code, said, _ = preread("backup", "make", site / "backups", "--config", site)

    (copy,) = (site / "backups").iterdir()
    assert (code, said.startswith(str(copy))) == (0, True)
    assert revision_in(copy / "preread.sqlite") == revision_in(site / "data" / "preread.sqlite") == revision
    assert f'"revision": "{revision}"' in (copy / "backup.json").read_text()
    assert keeping_desk.verify(copy).endswith("is whole")


@pytest.mark.parametrize(
    ("folder", "why"), [("agent.toml", "File exists"), ("agent.toml/below", "Not a directory")]
)
def test_a_storage_folder_that_cannot_be_is_told_by_check_doctor_and_the_start(
    preread: Callable[..., Told], site: Path, unchanged: None, folder: str, why: str
):
    (site / "agent.toml").write_text(f'[storage]\nfolder = "{folder}"\n')
    place = f'storage.folder = "{site / folder}": cannot be made or written'

    checked = preread("check", "--no-model", "--config", site)
    examined = preread("doctor", "--no-model", "--config", site)
    started = [preread(command, "--config", site) for command in ("serve", "read")]

    assert checked[0] == examined[0] == 1
    assert f"{place} (Not a directory); give it to the user of preread" in checked[1]
    assert f"{place} (Not a directory)" in examined[1]
    for code, _, said in started:
        assert code == 1
        assert "cannot start" in said
        assert f"{place} ({why})" in said


def test_a_log_file_without_its_folder_is_told_by_check_doctor_and_the_start(
    preread: Callable[..., Told], site: Path, unchanged: None
):
    with (site / "agent.toml").open("a") as file:
        file.write('[log]\nfile = "logs/preread.log"\n')
    told = f'log.file = "{site / "logs/preread.log"}": cannot be written (No such file or directory); make its folder'

    said = [preread(*command, "--no-model", "--config", site) for command in (("check",), ("doctor",))]
    said += [preread(command, "--config", site) for command in ("serve", "read")]

    assert [code for code, _, _ in said] == [1] * 4
    assert all(told in out + err for _, out, err in said)
    assert not (site / "data").exists()


def test_an_audit_folder_that_cannot_be_written_is_told_by_check_and_doctor(
    preread: Callable[..., Told], site: Path, unchanged: None
):
    (site / "taken").touch()
    with (site / "agent.toml").open("a") as file:
        file.write('[audit]\nfolder = "taken/audit"\n')
    told = f'audit.folder = "{site / "taken/audit"}": cannot be made or written (Not a directory); give it to the user'

    said = [preread(command, "--no-model", "--config", site) for command in ("check", "doctor")]

    assert [code for code, _, _ in said] == [1, 1]
    assert all(told in out + err for _, out, err in said)


@pytest.mark.parametrize(("is_file", "look"), [(False, trouble_of_folder), (True, trouble_of_file)])
def test_what_another_user_owns_is_seen_without_writing_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_file: bool, look: Callable[[Path], str | None]
):
    (tmp_path / "file").touch()
    there = tmp_path / "file" if is_file else tmp_path
    new = tmp_path / "new"
    before = look(there), look(new)

    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root, who runs tests, may write everywhere

    assert before == (None, None)
    assert look(there) == look(new) == "Permission denied"
    assert not new.exists()


AWAY = '[storage]\nfolder = "data"\ndatabase_url = "postgresql://preread@/preread?host={}"\n'


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_a_database_that_is_away_or_newer_is_a_sentence_in_every_command(
    preread: Callable[..., Told], older: Path, command: tuple[str, ...]
):
    set_revision(older, "9999")
    newer = preread(*command, "--config", older)
    (older / "agent.toml").write_text(AWAY.format(older))
    away = preread(*command, "--config", older)

    assert (newer[0], away[0]) == (1, 1)
    assert 'the database has schema revision "9999"' in newer[2]
    assert "cannot be used: connection" in away[2]
    assert len(newer[2].splitlines()) == len(away[2].splitlines()) == 1


def test_a_database_that_goes_while_a_command_asks_it_is_a_sentence(preread: Callable[..., Told], site: Path):
    open_store(settings_of(site)).database.close()
    with closing(sqlite3.connect(site / "data" / "preread.sqlite")) as database:
        database.execute("ALTER TABLE jobs RENAME TO away")

    code, _, said = preread("status", "--config", site)

    assert code == 1
    assert said.startswith("the database cannot be used: no such table: jobs")


def test_a_process_that_dies_leaves_no_core(preread: Callable[..., Told]):
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)

    preread("--help")

    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0


def test_a_file_of_another_user_is_a_sentence(
    preread: Callable[..., Told], site: Path, monkeypatch: pytest.MonkeyPatch
):
    open_store(settings_of(site)).database.close()

    def refused(path: Path, **_: object) -> None:  # as the kernel does anybody but root, who runs tests
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)

    code, _, said = preread("deliveries", "list")

    assert code == 1
    assert said.endswith(" cannot be used: Permission denied; run this as the user of preread\n")


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ("os.kill", "process 7 is another user's; ask as the user of preread"),
        (
            "pathlib.Path.read_bytes",
            "serving.json cannot be used: Permission denied; run this as the user of preread",
        ),
    ],
)
def test_a_service_of_another_user_does_not_reload(
    preread: Callable[..., Told], site: Path, monkeypatch: pytest.MonkeyPatch, refused: str, sentence: str
):
    def denied(place: object, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    with loaded.claim(site / "data"):
        loaded.tell(site / "data", loaded.Service(7, 1, "sha256:ab"))
        monkeypatch.setattr(refused, denied)

        code, _, said = preread("reload", "--config", site)

    assert code == 1
    assert said.endswith(f"{sentence}\n")


@pytest.mark.parametrize(
    ("revision", "code", "told"),
    [
        (HEAD, 0, "ok      database"),
        ("0011", 0, f"schema revision 0011; the next start makes it {HEAD}: make a backup before"),
        ("9999", 1, 'PROBLEM the database has schema revision "9999"'),
    ],
)
def test_check_says_what_a_start_would_say_of_the_database_and_leaves_it(
    preread: Callable[..., Told], older: Path, revision: str, code: int, told: str
):
    set_revision(older, revision)

    checked = preread("check", "--no-model", "--config", older)

    assert checked[0] == code
    assert told in checked[1]
    assert revision_in(older / "data" / "preread.sqlite") == revision


def test_check_sees_that_the_database_is_away(preread: Callable[..., Told], older: Path):
    (older / "agent.toml").write_text(AWAY.format(older))

    code, said, _ = preread("check", "--no-model", "--config", older)

    assert code == 1
    assert "PROBLEM database postgresql+psycopg://preread@/preread" in said


@pytest.mark.parametrize("command", ["serve", "read"])
def test_a_start_that_fails_of_its_database_says_nothing_of_ports(
    preread: Callable[..., Told], older: Path, unchanged: None, command: str
):
    set_revision(older, "9999")
    newer = preread(command, "--config", older)
    (older / "agent.toml").write_text(AWAY.format(older))
    away = preread(command, "--config", older)

    assert (newer[0], away[0]) == (1, 1)
    assert newer[2].rstrip("'\n").endswith("restore the backup made before the update")
    assert away[2].rstrip("'\"\n").endswith("start it, or correct [storage] in agent.toml")
    assert "port 127.0.0.1" not in newer[2] + away[2]


def test_a_start_names_the_process_that_has_its_port(
    preread: Callable[..., Told], site: Path, unchanged: None
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (site / "agent.toml").open("a") as file:
            file.write(f"[listener]\nport = {a_free_port()}\n[metrics]\nport = {port}\n")
        (site / "reading.toml").write_text("[reader]\nchild = false\n")
        code, _, said = preread("serve", "--config", site)

    assert code == 1
    assert (
        f"metrics.port 127.0.0.1:{port} is taken by process {os.getpid()}; end that, or set another port"
        in said
    )


def test_a_port_at_no_address_of_this_machine_is_told_with_its_key():
    told = r"listener.port 192\.0\.2\.1:11112 cannot be listened on \(Cannot assign requested address\)"
    with pytest.raises(PortError, match=told), opening("listener.port", "192.0.2.1", 11112):
        socket.create_server(("192.0.2.1", 11112))
