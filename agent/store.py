"""The places of state, opened: to serve and read from, or only to look into what is there."""

from dataclasses import dataclass
from pathlib import Path

from config.settings import Settings
from storage.audits import Audits
from storage.census import Census
from storage.database import HEAD, Database, SchemaError, connect, connect_as_is, sqlite_file
from storage.deletions import Deletions
from storage.files import Files
from storage.holds import Holds
from storage.index import Index
from storage.jobs import Jobs
from storage.orders import Orders
from storage.patients import Patients
from storage.processes import Processes
from storage.reports import Reports
from storage.requests import PriorRequests

_FILES = "files"
"""Where the files are in the storage folder: as old as the store itself, whatever database it has."""


@dataclass(frozen=True, slots=True)
class Store:
    """The places of state that are ours to write, opened."""

    database: Database
    files: Files
    index: Index
    jobs: Jobs
    reports: Reports
    requests: PriorRequests
    orders: Orders
    patients: Patients
    holds: Holds
    deletions: Deletions
    audits: Audits
    processes: Processes
    census: Census


def open_store(settings: Settings) -> Store:
    """Opens the database and the files folder, makes what is missing and brings it up to date: for who serves or reads.

    Raises:
        storage.database.SchemaError: if the database was written by a newer preread, or cannot be used.
    """
    folder = settings.agent.storage.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _store(folder, connect(settings.agent.storage.connection_url()))


def existing_store(settings: Settings, *, oldest_revision: str = HEAD) -> Store:
    """Opens what is there, and neither makes nor changes it: for every command that looks or asks for something.

    Args:
        oldest_revision: the first revision of the database that the caller can do with.

    Raises:
        storage.database.SchemaError: if there is no store, or its database cannot be used as it is.
    """
    storage = settings.agent.storage
    folder = storage.folder.absolute()
    url = storage.connection_url()
    file = sqlite_file(url)
    # A database file is enough: the images may be on a disk that is away. A server says nothing of this folder.
    if not ((file is not None and file.exists()) or (folder / _FILES).exists()):
        raise SchemaError(f"no preread store in {folder}; name its --config, or is the disk mounted?")
    return _store(folder, connect_as_is(url, oldest=oldest_revision))


def _store(folder: Path, database: Database) -> Store:
    return Store(
        database,
        Files(folder / _FILES),
        Index(database),
        Jobs(database),
        Reports(database),
        PriorRequests(database),
        Orders(database),
        Patients(database),
        Holds(database),
        Deletions(database),
        Audits(database),
        Processes(database),
        Census(database),
    )
