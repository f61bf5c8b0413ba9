"""The product in a process of its own, with one effect that goes wrong; the other side of `hospital.py`.

It is `agent.service.Serving` as the command makes it, but its workers and its clock are turned by orders from the
test: so a life takes a second, not an hour, and its effects come in nearly the same order each time.
"""

import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import structlog

import agent.casework  # noqa: F401 - imported once, in the process that all lives are forked from
from agent.lanes import Lane, asking_lanes, delivery_lanes
from agent.outputs import build
from agent.service import Serving, patience_of
from agent.worker import Worker
from config.settings import Settings
from inference.case import Case
from inference.reading import Reading
from storage.jobs import ENDS
from storage.records import Stage
from tests.crash.effects import Cut, Effects
from tests.outputs.drafts import a_narrative, a_reading, a_source, a_stamp, sources_of
from tests.scripted_engine import ScriptedEngine, an_effusion

build("report_sr", sources_of(a_source()), a_reading(), a_narrative(), a_stamp())
"""Reads highdicom's tables, 0.4 s of each life otherwise."""

STEP = timedelta(seconds=30)
STEPS_MAX = 2 * 24 * 120
"""Two days of turned clock: more than all patience of the settings but that with destinations."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started."""

    settings: Settings
    cut: Cut
    now: datetime
    log: Path


@dataclass(frozen=True, slots=True)
class Ready:
    """The ports are open."""

    port: int
    hl7_port: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds."""

    rss_bytes: int
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Turned:
    """What an order came to.

    Attributes:
        is_ended: every study has been seen to its end.
        now: the time on the turned clock.
        effects: of this process so far.
        kind_cut: which kind of effect went wrong, "" if none did.
    """

    is_ended: bool
    now: datetime
    effects: int
    kind_cut: str
    usage: Usage


@dataclass
class Product:
    start: Start
    effects: Effects
    now: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.start.now
        self.serving = Serving(self.start.settings, lambda: self.now)
        self.engine = ScriptedEngine(self._script)
        self.tools = replace(self.serving._tools, engine=self.engine)
        listening = self._workers_that_listen()
        self.serving._workers = {worker.name: worker for worker in listening}
        self.workers = (*listening, self._worker("reader", Stage.COMPOSE, Stage.READ))
        self.serving._store.files.sweep()
        assert self.serving.mllp is not None
        self.serving.mllp.start()
        self.serving.listener.start()

    def _workers_that_listen(self) -> list[Worker]:
        """Those of `Serving.start`, which would be threads there and turn by themselves."""
        lanes = delivery_lanes(self.start.settings) | asking_lanes(self.start.settings)
        return [
            self._worker("gather", Stage.GATHER),
            *(self._worker(name, lane=lane) for name, lane in lanes.items()),
        ]

    def _worker(self, name: str, *stages: Stage, lane: Lane = Lane()) -> Worker:
        return Worker(
            name,
            self.tools,
            patience_of(self.start.settings),
            stages=stages,
            leaves_alone=lane.leaves_alone,
            leaves_unasked=lane.leaves_unasked,
        )

    def _script(self, case: Case) -> Reading:
        return self.effects.do("engine", lambda: an_effusion(case), lambda: RuntimeError("CUDA error"))

    def ready(self) -> Ready:
        assert self.serving.mllp is not None
        return Ready(self.serving.listener.port, self.serving.mllp.port)

    def turn(self, now: datetime) -> Turned:
        """Lets time pass until every study is at its end, or nothing more is to be expected."""
        self.now = max(self.now, now)
        for _ in range(STEPS_MAX):
            self.work()
            if self._is_ended():
                break
            self.now += STEP
        self.engine.cases.clear()  # it remembers them for tests that ask; for ten days that is much
        return self._turned(is_ended=self._is_ended())

    def stop(self) -> Turned:
        """Stops as the service manager has it stop, which has effects of its own."""
        self.serving.stop()
        return self._turned(is_ended=True)

    def _turned(self, *, is_ended: bool) -> Turned:
        process = psutil.Process()
        usage = Usage(process.memory_info().rss, process.num_fds(), process.num_threads())
        return Turned(is_ended, self.now, self.effects.count, self.effects.kind_cut, usage)

    def work(self) -> None:
        """Lets all loops go round until nothing is due."""
        while sum(self.attempt(loop) for loop in self.loops()):
            pass

    def loops(self) -> Iterator[Callable[[], object]]:
        """What runs in threads otherwise: the clock's tick and the workers."""
        yield self.serving._tick
        for worker in self.workers:
            yield worker.work_once

    def attempt(self, loop: Callable[[], object]) -> bool:
        """One round of a loop. What it raises, its thread logs and goes on: `Worker._turn`, APScheduler."""
        try:
            return bool(loop())
        except Exception:  # noqa: BLE001
            structlog.get_logger().exception("a loop stumbled")
            return False

    def _is_ended(self) -> bool:
        counts = self.tools.jobs.counts()
        is_read = self.tools.index.counts()["unread_studies"] == 0
        return is_read and not any(count for stage, count in counts.items() if stage not in ENDS)


def live(orders: Connection, start: Start) -> None:
    """The life of one process: until it is told to stop, or its effect goes wrong."""
    log = start.log.open("a", encoding="utf-8")
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(file=log),
    )
    random.seed(0)
    effects = Effects(start.cut)
    effects.install()
    try:
        product = Product(start, effects)
    except Exception:  # noqa: BLE001 - `serve` says it and ends; the service manager starts it again
        traceback.print_exc(file=log)
        log.flush()
        raise SystemExit(1) from None
    orders.send(product.ready())
    while (now := orders.recv()) is not None:
        orders.send(product.turn(now))
    orders.send(product.stop())
    log.flush()
