"""What the running service has loaded, beside its state: which process it is, its configuration, how a reload went.

In the folder of [storage], and not in the database, which several machines may share and which may be down when
somebody asks:

- `configurations/<digest>/`: every configuration that was ever in force, whole, as three files that load again. Never
  removed: each reading names the digest that it was made with.
- `configuration`: a link to the one in force, or last in force.
- `serving.lock`: locked by the process that serves; the kernel lets go of it however that ends, so that a number in a
  file is never taken for a living process.
- `serving.json`: that process, and what became of the last reload.
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from agent.configuration import load
from config.effective import toml_of
from config.loading import storage_folder_of
from config.problems import ConfigError
from config.settings import Settings
from config.sources import without_overrides
from storage.files import Files

_LOCK, _RECORD = "serving.lock", "serving.json"
_LINK, _NEW_LINK = "configuration", "configuration.new"
_LOCK_SECONDS = 1.0
"""How long the lock is waited for: a process that ends, or one that only looks, has it for less."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Service:
    """The process that serves, as it tells of itself.

    Attributes:
        loads: how often it has loaded its configuration, or tried to.
        digest: of the settings in force.
        changes: what the last reload has changed, in words.
        waiting: what is in the files and needs a restart, in words.
        problems: why the last reload was refused; empty if it was not.
    """

    pid: int
    loads: int
    digest: str
    changes: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


_SERVICE = TypeAdapter(Service)


def keep(settings: Settings) -> None:
    """Writes settings down for good, before anything is done with them, and all that `put_in_force` needs."""
    state = settings.agent.storage.folder.absolute()
    name = settings.digest.removeprefix("sha256:")
    files = Files(state / "configurations")
    for file, values in (
        ("agent.toml", settings.agent),
        ("peers.toml", settings.peers),
        ("reading.toml", settings.reading),
    ):
        path = f"{name}/{file}"
        if not files.absolute(
            path
        ).exists():  # an older preread may have written the same values in another form
            files.put(path, toml_of(values).encode())
    new = state / _NEW_LINK
    new.unlink(missing_ok=True)
    new.symlink_to(Path("configurations") / name)


def put_in_force(settings: Settings) -> Path:
    """Points the link, which the reader follows, at the settings that were kept last; gives the link."""
    state = settings.agent.storage.folder.absolute()
    return (state / _NEW_LINK).replace(state / _LINK)


def kept(storage_folder: Path) -> Path:
    """The folder of the configuration that is, or was last, in force.

    Raises:
        LookupError: if preread has never served from this storage folder.
    """
    link = storage_folder / _LINK
    if not link.exists():
        raise LookupError(
            f"preread serve has not run with the storage folder {storage_folder}, so there is nothing to compare with; "
            "name another folder with --against"
        )
    return link.resolve()


def last_in_force(config: Path) -> Settings | None:
    """The settings that are, or were last, in force for a config folder that has mistakes by now; None if none are."""
    storage_folder = storage_folder_of(config)
    if storage_folder is None:
        return None
    try:
        return load(kept(storage_folder), without_overrides(os.environ))
    except (LookupError, OSError, ConfigError):
        return None


@contextmanager
def claim(storage_folder: Path) -> Iterator[None]:
    """Makes this process the one that serves from a storage folder, until it ends.

    Raises:
        BlockingIOError: if another one does.
    """
    storage_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (storage_folder / _LOCK).open("a") as lock:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _locks(lock.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise BlockingIOError(
                    f"another preread serves from the storage folder {storage_folder}; stop it first"
                )
            time.sleep(_POLL_SECONDS)
        (storage_folder / _RECORD).unlink(missing_ok=True)  # of a process that was killed
        yield


def tell(storage_folder: Path, service: Service) -> None:
    """Writes down who serves and how the last load went."""
    new = storage_folder / f"{_RECORD}.new"
    new.write_bytes(_SERVICE.dump_json(service))
    new.replace(storage_folder / _RECORD)


def is_served(storage_folder: Path) -> bool | None:
    """Whether a process serves from a storage folder, or has just begun to; None if this user may not look."""
    try:
        with (storage_folder / _LOCK).open() as lock:
            return not _locks(lock.fileno(), fcntl.LOCK_SH)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        return None


def who_serves(storage_folder: Path) -> Service | None:
    """The process that serves from a storage folder; None if none does, or it has only just begun."""
    if is_served(storage_folder) is False:
        return None
    with suppress(FileNotFoundError):
        return _SERVICE.validate_json((storage_folder / _RECORD).read_bytes())
    return None


def ask_to_reload(storage_folder: Path, seconds: float) -> Service:
    """Has the service load its configuration anew, and gives what it says of that.

    Raises:
        LookupError: if none serves from this folder.
        TimeoutError: if it says nothing within `seconds`.
        PermissionError: if it belongs to another user.
    """
    before = who_serves(storage_folder)
    if before is None:
        raise LookupError(
            f"no preread serves from the storage folder {storage_folder}; start one, or name its --config"
        )
    try:
        os.kill(before.pid, signal.SIGHUP)
    except PermissionError:
        raise PermissionError(f"process {before.pid} is another user's; ask as the user of preread") from None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        after = who_serves(storage_folder)
        if after is not None and after.loads > before.loads:
            return after
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"process {before.pid} has not answered for {seconds:g} s; see its log")


def _locks(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
