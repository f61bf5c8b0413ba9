"""What the reader's process decides before it claims anything, and what the log leaves out."""

import signal
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from agent.logs import configure_log
from agent.reader import batch_max_of, read
from agent.service import serve
from config.settings import (
    AgentSettings,
    LogSettings,
    ReaderSettings,
    ReadingSettings,
    Settings,
    StorageSettings,
)
from tests.agent.archives import a_free_port
from tests.scripted_engine import ScriptedEngine


class OneAtATime:
    """An engine of a site, as the seam has been since the beginning."""

    identity = None

    def read(self, case): ...

    def close(self): ...


def an_engine(*, is_exact_at_once: bool) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.is_exact_at_once = is_exact_at_once
    return engine


@pytest.mark.parametrize(
    ("engine", "asked", "expected"),
    [
        (an_engine(is_exact_at_once=True), 0, 4),
        (an_engine(is_exact_at_once=False), 0, 1),
        (an_engine(is_exact_at_once=False), 8, 8),
        (an_engine(is_exact_at_once=True), 1, 1),
        (OneAtATime(), 8, 1),
    ],
)
def test_cases_are_read_at_once_where_words_stay_the_same_or_the_administrator_says_so(
    engine, asked, expected
):
    assert batch_max_of(engine, asked) == expected


def test_warnings_that_quote_values_of_a_dataset_are_not_shown():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        configure_log(LogSettings())
        for module in ("pydicom.valuerep", "pynetdicom.pdu_primitives"):
            warnings.warn_explicit("Invalid value for VR PN: 'Doe^Jane'", UserWarning, "x.py", 1, module)
    structlog.reset_defaults()

    assert shown == []


@pytest.fixture
def signals() -> Iterator[None]:
    """The signal handlers, as they were before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_reader_without_its_database_says_so_and_ends(
    tmp_path: Path, signals: None, capsys: pytest.CaptureFixture[str]
):
    url = f"postgresql://preread@/preread?host={tmp_path}"
    storage = StorageSettings(folder=tmp_path, database_url=url)

    is_read = read(Settings(agent=AgentSettings(storage=storage)))

    assert not is_read
    assert "the reader cannot start" in capsys.readouterr().out


def test_a_service_whose_database_goes_while_it_starts_says_so_and_ends(
    tmp_path: Path, signals: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    table = "audit_records"

    def without_its_table(*_: object) -> None:
        with sqlite3.connect(tmp_path / "preread.sqlite") as database:
            database.execute(f"ALTER TABLE {table} RENAME TO away")

    monkeypatch.setattr(
        "agent.service.warn_of_expiry", without_its_table
    )  # the last thing before the first record
    agent = AgentSettings(
        storage=StorageSettings(folder=tmp_path),
        listener=AgentSettings().listener.model_copy(update={"port": a_free_port()}),
    )

    reading = ReadingSettings(reader=ReaderSettings(child=False))

    is_served = serve(Settings(agent=agent, reading=reading))

    said = capsys.readouterr().out
    assert not is_served
    assert "the service cannot start" in said
    assert "the database is away or full: no such table" in said
