"""The three pages of the metrics port, each made anew when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from agent.metrics.counting import Metrics, State
from agent.metrics.health import Condition, as_text, is_ready
from agent.metrics.port import Page
from agent.second import waiting_of
from config.settings import Settings
from storage.census import Census
from storage.database import Database
from storage.files import Files
from storage.jobs import SecondReadings
from storage.processes import Processes
from storage.records import RunningProcess

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Watched:
    """What the pages look at.

    Attributes:
        alive: what must hold for this process to be alive.
        is_listening: whether the DICOM port is open.
        settings: those in force.
    """

    database: Database
    census: Census
    processes: Processes
    files: Files
    clock: Callable[[], datetime]
    alive: Callable[[], Sequence[Condition]]
    is_listening: Callable[[], bool]
    second_readings: SecondReadings
    settings: Callable[[], Settings]


def pages(settings: Settings, watched: Watched, reader_silent_seconds: float) -> Mapping[str, Page]:
    """Gives the pages by their path."""

    def reader() -> RunningProcess | None:
        since = watched.clock() - timedelta(seconds=reader_silent_seconds)
        return next((one for one in watched.processes.seen_since(since) if one.role == "read"), None)

    def state() -> State:
        now = watched.settings()
        waiting = waiting_of(watched.second_readings, now, watched.clock())
        return State(watched.files.free_bytes(), reader(), now.digest, waiting)

    metrics = Metrics(watched.census, watched.clock, state)

    def scraped() -> tuple[HTTPStatus, str, bytes]:
        problem = watched.database.problem()
        if problem is not None:
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{problem}\n".encode()
        return HTTPStatus.OK, _PROMETHEUS, metrics.text()

    def ready() -> tuple[HTTPStatus, str, bytes]:
        problem = watched.database.problem()
        return _health(
            is_ready(
                database_problem=problem,
                is_listening=watched.is_listening(),
                free_bytes=watched.files.free_bytes(),
                free_bytes_min=settings.agent.listener.free_bytes_min,
                reader=reader() if problem is None else None,
                now=watched.clock(),
                reader_silent_seconds=reader_silent_seconds,
            )
        )

    return {"/metrics": scraped, "/readyz": ready, "/healthz": lambda: _health(watched.alive())}


def _health(conditions: Sequence[Condition]) -> tuple[HTTPStatus, str, bytes]:
    is_well = all(condition.ok for condition in conditions)
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return status, _TEXT, as_text(conditions).encode()
