"""The composition root: settings become objects, objects become threads; owns the clock and the signals."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from agent.delivering import note_commitment
from agent.identity import rules_of_peers
from agent.lanes import asking_lanes, called_back_by, delivery_lanes
from agent.listener import Listener, tls_context
from agent.messages import MessageIntake
from agent.mllp import MllpReceiver
from agent.ordering import ask_worklist, forget_orders, order_messages
from agent.patience import Patience, pause_seconds
from agent.peers import Peers, TakeReport
from agent.registry import patient_messages
from agent.report_feed import ask_report_server
from agent.reports.results import result_messages
from agent.steps import Tools, settle
from agent.worker import Worker
from config.settings import ReportServerSettings, Settings, WorklistSettings
from storage.database import Database, SchemaError, connect
from storage.files import Files
from storage.index import Index
from storage.jobs import Deliveries, Jobs
from storage.orders import Orders
from storage.patients import Patients
from storage.records import Stage
from storage.reports import Reports
from storage.requests import PriorRequests

if TYPE_CHECKING:
    from inference.engine import Engine

log = structlog.get_logger()

BATCH = 4
"""Cases at once. More would put the first draft off for longer than they save."""


def system_clock() -> datetime:
    """The time now, UTC and aware: the one place that asks the system."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Store:
    """The places of state that are ours to write, opened."""

    database: Database
    files: Files
    index: Index
    jobs: Jobs
    deliveries: Deliveries
    reports: Reports
    requests: PriorRequests
    orders: Orders
    patients: Patients


def open_store(settings: Settings) -> Store:
    """Opens (and if need be creates or migrates) the database and the files folder.

    Raises:
        storage.database.SchemaError: if the database was written by a newer preread.
    """
    folder = settings.agent.storage.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = connect(settings.agent.storage.connection_url())
    return Store(
        database,
        Files(folder / "files"),
        Index(database),
        Jobs(database),
        Deliveries(database),
        Reports(database),
        PriorRequests(database),
        Orders(database),
        Patients(database),
    )


def open_intake(
    settings: Settings, store: Store, clock: Callable[[], datetime] = system_clock
) -> MessageIntake:
    """What takes HL7 messages in, whether they come to the port or out of a file."""
    hl7 = settings.agent.hl7
    return MessageIntake(
        {
            "ORU": result_messages(store.reports),
            "ADT": patient_messages(store.patients, rules_of_peers(settings.peers)),
            **order_messages(store.orders, settings),
        },
        store.reports,
        store.files,
        clock,
        free_bytes_min=settings.agent.listener.free_bytes_min,
        assumed_charset="" if hl7 is None else hl7.assume_charset,
    )


def patience_of(settings: Settings) -> Patience:
    """What `agent.toml` says of retries, as the worker takes it."""
    worker = settings.agent.worker
    return Patience(
        attempts_max=worker.attempts_max,
        retry_seconds_min=worker.retry_seconds_min,
        retry_seconds_max=worker.retry_seconds_max,
        lease_seconds=worker.lease_seconds,
        wait_seconds={
            Stage.GATHER: worker.gather_patience_seconds,
            Stage.READ: worker.read_patience_seconds,
            Stage.COMPOSE: worker.compose_patience_seconds,
            Stage.DELIVER: worker.deliver_patience_seconds,
        },
    )


def configure_log(settings: Settings) -> None:
    """One line for each event, to standard error or the file of `agent.toml`; job numbers and UIDs, never names."""
    level = getattr(logging, settings.agent.log.level.upper())
    target = settings.agent.log.file
    stream = target.open("a", encoding="utf-8") if target is not None else sys.stderr
    renderer: Any
    if settings.agent.log.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    # pynetdicom and pydicom may put attribute values into their messages: only what is grave, and never datasets.
    for name in ("pynetdicom", "pydicom", "apscheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)


class Serving:
    """The process that listens: C-STORE in, settle, gather, deliver; and the reader as a child, if so configured."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = system_clock) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self.listener = Listener(
            listener=settings.agent.listener,
            ae_title=settings.agent.device.ae_title,
            senders=settings.peers.senders,
            accept_any_sender=settings.peers.accept_any_sender,
            archives=called_back_by(settings),
            identifiers=rules_of_peers(settings.peers),
            files=self._store.files,
            index=self._store.index,
            clock=clock,
            on_commitment=self._commitments(clock),
        )
        self._tools = Tools(
            clock=clock,
            files=self._store.files,
            index=self._store.index,
            jobs=self._store.jobs,
            deliveries=self._store.deliveries,
            reports=self._store.reports,
            requests=self._store.requests,
            orders=self._store.orders,
            peers=Peers(settings.agent.device.ae_title),
            engine=None,
            settings=settings,
            take=self.listener.take,
        )
        patience, poll = patience_of(settings), settings.agent.worker.poll_seconds
        self._gatherer = Worker("gather", self._tools, patience, stages=(Stage.GATHER,), poll_seconds=poll)
        self._deliverers = tuple(
            Worker(name, self._tools, patience, leaves_alone=leaves_alone, poll_seconds=poll)
            for name, leaves_alone in delivery_lanes(settings)
        )
        self._askers = tuple(
            Worker(name, self._tools, patience, leaves_unasked=leaves_unasked, poll_seconds=poll)
            for name, leaves_unasked in asking_lanes(settings)
        )
        self._intake = open_intake(settings, self._store, clock)
        self.mllp: MllpReceiver | None = None
        hl7 = settings.agent.hl7
        if hl7 is not None:
            tls = None if hl7.tls is None else tls_context(hl7.tls)
            self.mllp = MllpReceiver(hl7, tls, self._intake, self._store.index, clock)
        self._child: ReaderChild | None = None
        self._scheduler: Any = None

    def _commitments(self, clock: Callable[[], datetime]) -> TakeReport | None:
        """Takes the reports of destinations on what they took; None where no destination is asked for any."""
        if not any(destination.commitment for destination in self._settings.peers.destinations):
            return None
        deliveries, patience = self._store.deliveries, patience_of(self._settings)
        return lambda report: note_commitment(report, deliveries, clock(), patience)

    def start(self) -> None:
        """Opens the port last, when everything behind it is ready."""
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        swept = self._store.files.sweep()
        if swept:
            log.info("half-received files removed", files=swept)
        if self._settings.reading.reader.child:
            self._child = ReaderChild(self._settings.folder, patience_of(self._settings))
        for worker in self._workers():
            worker.start()
        worklists, report_servers = self._settings.peers.worklists, self._settings.peers.report_servers
        # A thread for each of them more: one that does not answer must not hold up the tick.
        pool = ThreadPoolExecutor(2 + len(worklists) + len(report_servers))
        self._scheduler = BackgroundScheduler(executors={"default": pool}, timezone=UTC)
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=self._settings.agent.worker.tick_seconds,
            max_instances=1,
            coalesce=True,
        )
        for worklist in worklists:
            self._ask_again_and_again(ask_worklist, worklist, self._tools)
        for server in report_servers:
            self._ask_again_and_again(ask_report_server, server, self._tools, self._intake)
        self._scheduler.add_job(forget_orders, "interval", args=(self._tools,), hours=1)
        self._scheduler.start()
        if self.mllp is not None:
            self.mllp.start()
            log.info("listening for HL7", port=self.mllp.port)
        self.listener.start()
        log.info("listening", ae_title=self._settings.agent.device.ae_title, port=self.listener.port)

    def _ask_again_and_again(
        self, ask: Callable[..., int], asked: WorklistSettings | ReportServerSettings, *arguments: object
    ) -> None:
        self._scheduler.add_job(
            ask,
            "interval",
            args=(asked, *arguments),
            seconds=asked.poll_seconds,
            next_run_time=self._tools.clock(),
            max_instances=1,
            coalesce=True,
        )

    def _workers(self) -> tuple[Worker, ...]:
        return (self._gatherer, *self._deliverers, *self._askers)

    def _tick(self) -> None:
        if self._child is not None:
            self._child.keep_alive()
        if settle(self._tools):
            self._gatherer.wake()

    def stop(self) -> None:
        """Takes no more associations, finishes the step in hand or gives its lease back, ends the reader."""
        seconds = self._settings.agent.worker.stop_seconds
        self.listener.stop(seconds)
        if self.mllp is not None:
            self.mllp.stop(seconds)
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
        workers = self._workers()
        for worker in workers:
            worker.stop()
        if self._child is not None:
            self._child.stop(seconds)
        for worker in workers:
            worker.finish(seconds)
        self._store.database.close()
        log.info("stopped")


class ReaderChild:
    """The reader's process, started again whenever it ends; one that ends at once is given a pause."""

    def __init__(self, config_folder: Path | None, patience: Patience) -> None:
        config = ["--config", str(config_folder)] if config_folder else []
        self._command = [sys.executable, "-m", "agent", "read", *config, "--parent", str(os.getpid())]
        self._patience = patience
        self._first_failure = self._not_before = 0.0
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(self._command)

    def keep_alive(self) -> None:
        """Starts the reader anew if it has ended; called by the clock."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._not_before:
                self._start()
            return
        code = self._process.poll()
        if code is None:
            return
        self._process = None
        if now - self._started > self._patience.retry_seconds_max:
            self._first_failure = 0.0  # it ran well for long; what ended it is a new trouble
        self._first_failure = self._first_failure or now
        pause = pause_seconds(now - self._first_failure, self._patience, 0.5)
        self._not_before = now + pause
        log.error("the reader ended; it is started again", exit_code=code, after_seconds=round(pause, 1))

    def stop(self, seconds: float) -> None:
        """Ends the reader, after the step in hand if that takes no longer than `seconds`."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(settings: Settings) -> bool:
    """Runs until SIGTERM or SIGINT.

    Returns:
        False if it could not start: the port is taken, the database is newer, a TLS file is no good.
    """
    stopping = _until_signalled()
    serving: Serving | None = None
    try:
        serving = Serving(settings)
        serving.start()
    except (OSError, SchemaError) as error:
        place = f"{settings.agent.listener.host}:{settings.agent.listener.port}"
        log.error("preread cannot start", reason=f"{error} (port {place}); correct agent.toml")
    else:
        stopping.wait()
    if serving is not None:
        serving.stop()
    return stopping.is_set()


def read(settings: Settings, parent: int | None = None) -> bool:
    """Loads the model and takes the stages `read` and `compose` until a signal, or until `parent` is gone.

    The model is opened before the first claim: a wrong folder or too little memory is one sentence on the log and
    no job's failure.

    Returns:
        False if the model could not be opened.
    """
    stopping = _until_signalled()
    if settings.reading.reader.child and parent is not None:
        os.nice(settings.reading.reader.nice)
    store = open_store(settings)
    try:
        engine = open_configured_engine(settings, digests_kept_in=settings.agent.storage.folder)
    except (OSError, ValueError, RuntimeError) as error:
        reason = f"{error}; correct the [engine] of reading.toml, then: preread check"
        log.error("the model cannot be opened", reason=reason)
        store.database.close()
        return False
    log.info(
        "model ready",
        engine=engine.identity.name,
        model=engine.identity.model_name,
        digest=engine.identity.weights_digest,
        accepted_licence=settings.reading.engine.accepted_licence or None,
    )
    tools = Tools(
        clock=system_clock,
        files=store.files,
        index=store.index,
        jobs=store.jobs,
        deliveries=store.deliveries,
        reports=store.reports,
        requests=store.requests,
        orders=store.orders,
        peers=Peers(settings.agent.device.ae_title),
        engine=engine,
        settings=settings,
    )
    worker = Worker(
        f"reader-{os.getpid()}",
        tools,
        patience_of(settings),
        stages=(Stage.COMPOSE, Stage.READ),
        batch_max=batch_max_of(engine, settings.reading.reader.batch_max),
        poll_seconds=settings.agent.worker.poll_seconds,
    )
    worker.start()
    while not stopping.wait(1.0):
        if parent is not None and os.getppid() != parent:
            log.warning("the listener's process is gone; the reader stops")
            break
    worker.stop()
    worker.finish(settings.agent.worker.stop_seconds)
    engine.close()
    store.database.close()
    return True


def batch_max_of(engine: "Engine", asked: int) -> int:
    """Says how many cases an engine reads at once; `asked` is 0 where the administrator leaves it to us."""
    from inference.engine import BatchEngine

    if not isinstance(engine, BatchEngine):
        return 1
    return asked or (BATCH if engine.is_exact_at_once else 1)


def open_configured_engine(settings: Settings, *, digests_kept_in: Path | None = None) -> "Engine":
    """Opens the model of `reading.toml`; imports torch.

    Args:
        digests_kept_in: folder for digests of weight files, so that each is hashed once; None writes nothing.

    Raises:
        OSError, ValueError, RuntimeError: a sentence on what is missing or does not fit.
    """
    from inference.engine import open_engine

    chosen = settings.reading.engine
    return open_engine(
        chosen.name,
        model_folder=chosen.model_folder or "",
        device=chosen.device,
        dtype=chosen.dtype,
        weights=chosen.weights,
        weights_digest=chosen.weights_digest or None,
        allow_pickled_weights=chosen.allow_pickled_weights,
        digests_kept_in=digests_kept_in,
        adapter_folder=chosen.adapter_folder,
        answer_tokens_max=chosen.answer_tokens_max,
        threads=chosen.threads or None,
        impression=chosen.impression,
        vision_folder=settings.agent.storage.folder / "vision",
        vision_cache_mb=chosen.vision_cache_mb,
    )


def _until_signalled() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping
