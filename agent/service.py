"""The composition root: settings become objects, objects become threads; owns the clock and the signals."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import structlog

from agent import loaded, writable
from agent.clock import system_clock
from agent.configuration import load_to_serve
from agent.delivering import noting_commitments
from agent.identity import rules_of_peers
from agent.keeping.chores import audit_trail, chores
from agent.lanes import Lane, asking_lanes, called_back_by, delivery_lanes, reporting
from agent.listener import Commitments, Listener, as_sender
from agent.logs import set_log_level
from agent.messages import MessageIntake
from agent.metrics.health import Condition, is_alive
from agent.metrics.port import MetricsPort
from agent.mllp import MllpReceiver
from agent.notifying import notify
from agent.ordering import ask_worklist, forget_orders, order_messages
from agent.outage import Outage
from agent.patience import Patience
from agent.peers import Peers
from agent.ports import PortError
from agent.pulse import BEAT_SECONDS, Pulse
from agent.reader_child import ReaderChild
from agent.registry import patient_messages
from agent.report_feed import ask_report_server
from agent.reports.results import result_messages
from agent.signals import awaited_signals, next_signal
from agent.steps import Tools, close_reported, settle
from agent.store import Store, open_store
from agent.tls import PortContext, warn_of_expiry
from agent.worker import Worker, stop_all
from config.changes import differences, in_force
from config.loading import ConfigError
from config.settings import ReportServerSettings, Settings, WorklistSettings
from storage.audit_records import AuditEvent
from storage.database import DatabaseError, SchemaError, trouble_of
from storage.records import Stage

log = structlog.get_logger()

_CLOCK_THREADS_MAX = 100


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


class Serving:
    """The process that listens: C-STORE in, settle, gather, deliver; and the reader as a child, if so configured."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = system_clock) -> None:
        self._settings = settings
        self._clock = clock
        self._store = open_store(settings)
        self.listener = Listener(
            listener=settings.agent.listener,
            ae_title=settings.agent.device.ae_title,
            also_called=settings.agent.device.also_called,
            senders=settings.peers.senders,
            accept_any_sender=settings.peers.accept_any_sender,
            archives=called_back_by(settings),
            identifiers=rules_of_peers(settings.peers),
            files=self._store.files,
            index=self._store.index,
            clock=clock,
            commitments=self._commitments(),
        )
        self._tools = Tools(
            clock=clock,
            files=self._store.files,
            index=self._store.index,
            jobs=self._store.jobs,
            reports=self._store.reports,
            requests=self._store.requests,
            orders=self._store.orders,
            peers=Peers(settings.agent.device.ae_title),
            engine=None,
            settings=settings,
            take=self.listener.take,
        )
        self._workers: dict[str, Worker] = {}
        self._leaving: list[Worker] = []
        self._outage = Outage()
        self._intake = open_intake(settings, self._store, clock)
        self.mllp: MllpReceiver | None = None
        hl7 = settings.agent.hl7
        if hl7 is not None:
            tls = None if hl7.tls is None else PortContext(hl7.tls)
            self.mllp = MllpReceiver(hl7, tls, self._intake, self._store.index, clock)
        self._trail = audit_trail(lambda: self._settings, self._store.audits, clock)
        self._children: dict[str, ReaderChild] = {}
        self._scheduler: Any = None
        self._loads = 1
        self._ticked = time.monotonic()
        self._reports_looked_at = 0
        processes = self._store.processes
        self._pulse = Pulse(processes, clock, "serve", settings.digest, self.alive, outage=self._outage)
        self.metrics = None if settings.agent.metrics is None else self._metrics_port(settings, clock)

    def _metrics_port(self, settings: Settings, clock: Callable[[], datetime]) -> MetricsPort:
        from agent.metrics.pages import Watched, pages  # prometheus-client, which is 4 MB

        asked = settings.agent.metrics
        assert asked is not None
        store = self._store
        watched = Watched(
            database=store.database,
            census=store.census,
            processes=store.processes,
            files=store.files,
            clock=clock,
            alive=self.alive,
            is_listening=lambda: self.listener.is_open,
            second_readings=store.jobs.second_readings,
            settings=lambda: self._settings,
        )
        return MetricsPort(asked, pages(settings, watched, asked.reader_silent_seconds))

    def alive(self) -> tuple[Condition, ...]:
        """Says whether this process still does what it was started for; only a new start helps if not."""
        # A copy, and none that has yet to be started: a reload may be arranging them just now.
        started = [worker for worker in tuple(self._workers.values()) if worker.ident is not None]
        ports = {"listener": self.listener.is_deaf, "mllp": self.mllp is not None and self.mllp.is_deaf}
        dead = [worker.name for worker in started if not worker.is_alive()]
        dead += [name for name, is_deaf in ports.items() if is_deaf]
        return is_alive(dead, time.monotonic() - self._ticked)

    def _commitments(self) -> Commitments | None:
        """Takes the reports of destinations on what they took; None where no destination is asked for any."""
        reporters = tuple(as_sender(one) for one in reporting(self._settings))
        if not reporters:
            return None
        destinations, deliveries = self._settings.peers.destinations, self._store.jobs.deliveries
        return Commitments(
            reporters,
            noting_commitments(destinations, deliveries, self._clock, patience_of(self._settings)),
        )

    def start(self) -> None:
        """Opens the port last, when everything behind it is ready."""
        from apscheduler.events import EVENT_JOB_ERROR
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        swept = self._store.files.sweep()
        if swept:
            log.info("half-received files removed", files=swept)
        loaded.keep(self._settings)
        self._arrange_readers(loaded.put_in_force(self._settings))
        self._arrange_workers()
        # Threads are made as they are needed: one more for each worklist and report server, since one that does not
        # answer must not hold up the tick.
        pool = ThreadPoolExecutor(_CLOCK_THREADS_MAX)
        self._scheduler = BackgroundScheduler(executors={"default": pool}, timezone=UTC)
        self._scheduler.add_listener(self._note_stumble, EVENT_JOB_ERROR)
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=self._settings.agent.worker.tick_seconds,
            max_instances=1,
            coalesce=True,
        )
        self._schedule_asking()
        self._scheduler.add_job(
            self._pulse.beat, "interval", seconds=BEAT_SECONDS, max_instances=1, coalesce=True
        )
        self._scheduler.add_job(lambda: forget_orders(self._tools), "interval", hours=1)
        store, clock = self._store, self._tools.clock
        kept = chores(lambda: self._settings, store.deletions, store.files, store.index, self._trail, clock)
        expiry = partial(warn_of_expiry, lambda: self._settings.certificate_files(), clock)
        expiry()
        for chore, seconds in (*kept, (expiry, 86_400)):
            self._scheduler.add_job(chore, "interval", seconds=seconds, max_instances=1, coalesce=True)
        self._trail.note(AuditEvent.STARTED)
        self._trail.note(AuditEvent.CONFIGURED, f"configuration {self._settings.digest}")
        self._scheduler.start()
        self._pulse.beat()
        if self.mllp is not None:
            self.mllp.start()
            log.info("listening for HL7", port=self.mllp.port)
        if self.metrics is not None:
            self.metrics.start()
            log.info("metrics", port=self.metrics.port)
        self.listener.start()
        notify("READY=1")
        log.info(
            "listening",
            ae_title=self._settings.agent.device.ae_title,
            port=self.listener.port,
            configuration=self._settings.digest,
        )

    def _note_stumble(self, event: Any) -> None:
        """Says what went wrong in a job of the clock, which comes round again."""
        if not self._outage.notice(event.exception):
            log.error("the clock stumbled; it goes on", exc_info=event.exception)

    def _schedule_asking(self) -> None:
        """Asks each worklist and report server at once and then at its own pace; those of before no more."""
        for job in self._scheduler.get_jobs():
            if job.func in (ask_worklist, ask_report_server):
                job.remove()
        for worklist in self._settings.peers.worklists:
            self._ask_again_and_again(ask_worklist, worklist, self._tools)
        for server in self._settings.peers.report_servers:
            self._ask_again_and_again(ask_report_server, server, self._tools, self._intake)

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

    def _arrange_readers(self, configuration: Path) -> None:
        """Starts the readers that are to be children of this process, and ends that of a second engine that is gone."""
        reading, patience = self._settings.reading, patience_of(self._settings)
        names = ["first"] if reading.second_engine is None else ["first", "second"]
        children = {}
        for name in names if reading.reader.child else ():
            is_second = name == "second"
            child = self._children.get(name) or ReaderChild(configuration, patience, second=is_second)
            child.take(patience)
            children[name] = child
        leaving = [child for name, child in self._children.items() if name not in children]
        self._children = children  # replaced, not changed: the clock may be looking after them just now
        for child in leaving:
            child.stop(self._settings.agent.worker.stop_seconds)

    def _arrange_workers(self) -> None:
        """Gives each lane of the settings a worker that runs, and sends those away that have no lane."""
        patience, poll_seconds = patience_of(self._settings), self._settings.agent.worker.poll_seconds
        lanes = {"gather": Lane()} | delivery_lanes(self._settings) | asking_lanes(self._settings)
        workers = {}
        for name, lane in lanes.items():
            stages = (Stage.GATHER,) if name == "gather" else ()
            worker = self._workers.get(name) or Worker(
                name, self._tools, patience, stages=stages, poll_seconds=poll_seconds, outage=self._outage
            )
            worker.take(
                self._tools, patience, leaves_alone=lane.leaves_alone, leaves_unasked=lane.leaves_unasked
            )
            if worker.ident is None:
                worker.start()
            workers[name] = worker
        leaving = [worker for name, worker in self._workers.items() if name not in workers]
        for worker in leaving:
            worker.stop()
        self._leaving = [worker for worker in (*self._leaving, *leaving) if worker.is_alive()]
        # Replaced, not changed: another thread may just be asking whether all of them are alive.
        self._workers = workers

    def reload(self) -> loaded.Service:
        """Takes the configuration anew, whole or not at all, and says what became of it.

        What is open or in hand ends as it began; the next association, message and step have the new settings. What
        can only be taken at a start stays as it is, and is named.
        """
        self._loads += 1
        try:
            new = load_to_serve(self._settings.folder)
            settings = in_force(self._settings, new)
            loaded.keep(settings)
            # The audit's record of this goes there.
            problems = tuple(filter(None, [self._store.database.problem()]))
        except ConfigError as error:
            problems = tuple(map(str, error.problems))
        except OSError as error:
            problems = (str(error),)
        if problems:
            for problem in problems:
                log.error("configuration refused; the one before stays in force", problem=problem)
            return self.described(problems=problems)
        changes, waiting = differences(self._settings, settings), differences(settings, new)
        self._take(settings)
        log.info(
            "configuration loaded", digest=settings.digest, changes=changes, waiting_for_a_restart=waiting
        )
        return self.described(changes=changes, waiting=waiting)

    def _take(self, settings: Settings) -> None:
        self._settings = settings
        self._tools = replace(self._tools, settings=settings)
        set_log_level(settings.agent.log)
        self._arrange_workers()
        self.listener.admit(
            settings.peers.senders,
            settings.peers.accept_any_sender,
            called_back_by(settings),
            rules_of_peers(settings.peers),
            self._commitments(),
        )
        self._intake = open_intake(settings, self._store, self._tools.clock)
        if self.mllp is not None:
            self.mllp.take(self._intake)
        self._schedule_asking()
        self._pulse.take(settings.digest)
        # Last, since the reader follows: what it makes for a new destination must find its worker.
        self._arrange_readers(loaded.put_in_force(settings))
        self._trail.note(AuditEvent.CONFIGURED, f"configuration {settings.digest}")

    def described(
        self,
        *,
        changes: tuple[str, ...] = (),
        waiting: tuple[str, ...] = (),
        problems: tuple[str, ...] = (),
    ) -> loaded.Service:
        """This process, and what became of its last load."""
        return loaded.Service(os.getpid(), self._loads, self._settings.digest, changes, waiting, problems)

    def _tick(self) -> None:
        self._ticked = time.monotonic()
        for child in tuple(self._children.values()):
            child.keep_alive()
        self._reports_looked_at = close_reported(self._tools, self._reports_looked_at)
        if settle(self._tools):
            self._workers["gather"].wake()

    def stop(self) -> None:
        """Finishes the steps in hand or gives their leases back, takes no more associations, ends the reader.

        The listener goes after the workers: an archive that was told to send a prior sends it there.
        """
        notify("STOPPING=1")
        seconds = self._settings.agent.worker.stop_seconds
        if self._scheduler is not None and self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        stop_all((*self._workers.values(), *self._leaving), seconds)
        self.listener.stop(seconds)
        if self.mllp is not None:
            self.mllp.stop(seconds)
        for child in self._children.values():
            child.stop(seconds)
        if self.metrics is not None:
            self.metrics.stop()
        self._pulse.end()
        try:
            self._trail.note(AuditEvent.STOPPED)
            self._trail.write_out()
        except Exception as error:
            if not self._outage.notice(error):
                raise
        self._store.database.close()
        log.info("stopped")


def serve(settings: Settings) -> bool:
    """Runs until SIGTERM or SIGINT; SIGHUP has the configuration loaded anew.

    Returns:
        False if it could not start: the port is taken, the database is newer, a TLS file is no good, the storage folder
        cannot be written, another process serves from it.
    """
    signals, folder = awaited_signals(), settings.agent.storage.folder
    with ExitStack() as while_serving:
        try:
            while_serving.enter_context(loaded.claim(folder))
        except BlockingIOError as error:
            log.error("the service cannot start", reason=str(error))
            return False
        except OSError as error:
            log.error("the service cannot start", reason=writable.of_storage(folder, error.strerror))
            return False
        return _serve(settings, signals)


def _serve(settings: Settings, signals: SimpleQueue[int]) -> bool:
    serving: Serving | None = None
    is_started = False
    try:
        serving = Serving(settings)
        serving.start()
        is_started = True
    except (PortError, SchemaError) as error:
        log.error("the service cannot start", reason=str(error))
    except OSError as error:  # a file of TLS, a disk that is full
        log.error("the service cannot start", reason=f"{error}; correct that, or agent.toml")
    except DatabaseError as error:  # it has gone since its schema was looked at
        reason = trouble_of(error)
        if reason is None:
            raise
        log.error("the service cannot start", reason=f"the database is away or full: {reason}")
    if serving is not None and is_started:
        _tell(settings, serving.described())
        while next_signal(signals) == signal.SIGHUP:
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")  # sd_notify(3)
            _tell(settings, serving.reload())
            notify("READY=1")
    if serving is not None:
        serving.stop()
    return is_started


def _tell(settings: Settings, service: loaded.Service) -> None:
    try:
        loaded.tell(settings.agent.storage.folder, service)
    except OSError as error:  # a full disk must not end what receives and delivers
        log.error("what is loaded cannot be told", reason=str(error))
