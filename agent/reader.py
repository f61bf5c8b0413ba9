"""The process that holds a model and follows the configuration: the first engine's takes the stages `read` and
`compose`, the second engine's what the first has read."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

import structlog

from agent import writable
from agent.clock import system_clock
from agent.configuration import load
from agent.logs import set_log_level
from agent.metrics.health import Condition, is_alive
from agent.notifying import notify, watched_less
from agent.outage import Outage
from agent.pairing import Pair
from agent.peers import Peers
from agent.pulse import BEAT_SECONDS, Pulse
from agent.service import patience_of
from agent.signals import awaited_signals
from agent.steps import Tools
from agent.store import Store, open_store
from agent.worker import Worker, stop_all
from config.changes import differences, in_force
from config.loading import ConfigError
from config.settings import ReadingSettings, Settings
from storage.database import SchemaError
from storage.records import Stage

if TYPE_CHECKING:
    from inference.engine import Engine

log = structlog.get_logger()

_OPENING_SECONDS_MAX = 1800
"""What the units in deploy/systemd allow for: weights that are hashed for the first time take minutes."""

BATCH = 4
"""Cases at once. More would put the first draft off for longer than they save."""


_SEEN_WITHIN = timedelta(seconds=3 * BEAT_SECONDS)

_SECOND_NICE = 19
"""The least that the system knows: a comparison may take all night."""

_SECOND_POLL_SECONDS = 5.0
"""Nobody waits for a second reading."""


def read(settings: Settings, parent: int | None = None, *, second: bool = False) -> bool:
    """Loads the model and takes the stages `read` and `compose` until a signal, or until `parent` is gone.

    The model is opened before the first claim: a wrong folder or too little memory is one sentence on the log and
    no job's failure. SIGHUP has the configuration loaded anew; a child follows the link that its parent keeps. If that
    names another model, it is opened after the step in hand, and the one before again if it cannot be.

    Args:
        second: loads the second engine instead, once a first one is there, and takes what that one has read. It ends
            when the settings have no second engine any more.

    Returns:
        False if the store or the model could not be opened.
    """
    signals = awaited_signals()
    if second:
        os.nice(_SECOND_NICE)
    elif settings.reading.reader.child and parent is not None:
        os.nice(settings.reading.reader.nice)
    if second and settings.of_second_engine is None:
        reason = "there is no [second_engine] in reading.toml; write one, or run: preread read"
        log.error("the reader cannot start", reason=reason)
        return False
    try:
        store = open_store(settings)
    except SchemaError as error:
        log.error("the reader cannot start", reason=str(error))
        return False
    except OSError as error:
        reason = writable.of_storage(settings.agent.storage.folder, error.strerror)
        log.error("the reader cannot start", reason=reason)
        return False
    try:
        return _Reader(settings, store, signals, parent, is_second=second).run()
    finally:
        store.database.close()


class _Reader:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        signals: SimpleQueue[int],
        parent: int | None,
        *,
        is_second: bool = False,
    ) -> None:
        self._is_second = is_second
        self._settings = settings
        self._folder = settings.folder
        self._store = store
        self._signals = signals
        self._parent = parent
        self._outage = Outage()
        # Not what the link says now: it may have moved since the settings were loaded.
        present = self._configuration()
        self._followed = present and present.with_name(settings.digest.removeprefix("sha256:"))

    def run(self) -> bool:
        if not self._waited_for_the_first():
            return True
        engine = self._opened(self._settings)
        while engine is not None:
            following = self._work(engine)
            engine.close()
            if following is None or not self._is_wanted(following):
                return True
            with watched_less(_OPENING_SECONDS_MAX):
                engine = self._opened_instead(following)
        return False

    def _waited_for_the_first(self) -> bool:
        """Lets the first engine open before the second, so that it finds its memory free; False if this process is to
        end before that."""
        while self._is_second and not self._is_first_there():
            event = self._event(None)
            if event == "reload":
                self._settings = self._reloaded() or self._settings
            if event == "end" or not self._is_wanted(self._settings):
                return False
        return True

    def _is_first_there(self) -> bool:
        seen = self._store.processes.seen_since(system_clock() - _SEEN_WITHIN)
        return any(process.role == "read" for process in seen)

    def _is_wanted(self, settings: Settings) -> bool:
        if not self._is_second or settings.of_second_engine is not None:
            return True
        log.info("no second engine is wanted any more; its reader stops")
        return False

    def _opened_instead(self, following: Settings) -> "Engine | None":
        """The model of other settings, which hold from now on; the one before if that cannot be opened."""
        before, self._settings = self._settings.reading, following
        engine = self._opened(following)
        if engine is not None:
            return engine
        reading = following.reading.model_copy(update=self._model_of(before))
        self._settings = following.model_copy(update={"reading": reading})
        model_folder = str(self._own(self._settings).reading.engine.model_folder)
        log.error("the reader goes on with the model that it had", model_folder=model_folder)
        return self._opened(self._settings)

    def _own(self, settings: Settings) -> Settings:
        """Settings in which this process's engine is the engine."""
        if not self._is_second:
            return settings
        own = settings.of_second_engine
        assert own is not None, "without a second engine its reader ends"
        return own

    def _model_of(self, reading: ReadingSettings) -> dict[str, object]:
        """What decides which model is opened."""
        if self._is_second:
            return {"second_engine": reading.second_engine}
        return {"engine": reading.engine, "adapters": reading.adapters}

    def _opened(self, settings: Settings) -> "Engine | None":
        """The configured model; None, with the reason on the log, if it cannot be opened."""
        own = self._own(settings)
        try:
            engine = open_configured_engine(
                own,
                digests_kept_in=settings.agent.storage.folder,
                vision="vision-second" if self._is_second else "vision",
            )
        except (OSError, ValueError, RuntimeError) as error:
            table = "[second_engine]" if self._is_second else "[engine]"
            reason = f"{error}; correct the {table} of reading.toml, then: preread check"
            log.error("the model cannot be opened", reason=reason)
            return None
        log.info(
            "model ready",
            engine=engine.identity.name,
            model=engine.identity.model_name,
            digest=engine.identity.weights_digest,
            accepted_licence=own.reading.engine.accepted_licence or None,
            configuration=settings.digest,
        )
        return engine

    def _work(self, engine: "Engine") -> Settings | None:
        """Reads with a model until the settings name another one, and gives them; None at the end."""
        tools, reading = _tools(self._settings, self._store, engine), self._settings.reading
        workers = self._workers(tools, engine)
        for worker in workers:
            worker.start()
        pulse = self._pulse(engine, workers)
        notify("READY=1")
        following: Settings | None = None
        while following is None and (event := self._event(pulse)) != "end":
            new = self._reloaded() if event == "reload" else None
            if new is None:
                continue
            wanted, before = self._model_of(new.reading), self._model_of(reading)
            if wanted != before or new.reading.reader.batch_max != reading.reader.batch_max:
                following = new
            else:
                self._settings = new
                set_log_level(new.agent.log)
                for worker in workers:
                    worker.take(replace(tools, settings=new), patience_of(new))
                pulse.take(new.digest)
        for worker in workers:
            worker.stop()
        # Another model waits for the cases in hand, however long that takes; the end of the process does not.
        while following is not None and any(worker.is_alive() for worker in workers):
            match self._event(pulse):
                case "end":
                    following = None
                case "reload":
                    following = self._reloaded() or following
        stop_all(workers, self._settings.agent.worker.stop_seconds)
        pulse.end()
        return following

    def _workers(self, tools: Tools, engine: "Engine") -> list[Worker]:
        """One; two where the model computes on a card, and the processor is free meanwhile."""
        name, patience = f"reader-{os.getpid()}", patience_of(self._settings)
        if self._is_second:
            second = Worker(
                f"second {name}",
                tools,
                patience,
                reads_second=True,
                poll_seconds=_SECOND_POLL_SECONDS,
                outage=self._outage,
            )
            return [second]
        pair = Pair()
        return [
            Worker(
                f"{name} ahead" if is_ahead else name,
                tools,
                patience,
                stages=(Stage.COMPOSE, Stage.READ),
                batch_max=batch_max_of(engine, self._settings.reading.reader.batch_max),
                pair=pair,
                is_ahead=is_ahead,
                poll_seconds=self._settings.agent.worker.poll_seconds,
                outage=self._outage,
            )
            for is_ahead in ((False, True) if getattr(engine, "is_on_card", False) else (False,))
        ]

    def _pulse(self, engine: "Engine", workers: Sequence[Worker]) -> Pulse:
        words = f"{engine.identity.model_name} ({engine.identity.weights_digest})"
        role = "read --second" if self._is_second else "read"

        def alive() -> tuple[Condition, ...]:
            return is_alive([worker.name for worker in workers if not worker.is_alive()], 0.0)

        processes, digest = self._store.processes, self._settings.digest
        return Pulse(processes, system_clock, role, digest, alive, words, outage=self._outage)

    def _event(self, pulse: Pulse | None) -> Literal["end", "reload", "none"]:
        """Beats, and says what has happened within a second."""
        if pulse is not None:
            pulse.beat_if_due()
        try:
            return "reload" if self._signals.get(timeout=1.0) == signal.SIGHUP else "end"
        except Empty:
            if self._parent is None:
                return "none"
        if os.getppid() != self._parent:
            log.warning("the listener's process is gone; the reader stops")
            return "end"
        return "none" if self._configuration() == self._followed else "reload"

    def _configuration(self) -> Path | None:
        """The folder to load from; a child's is the one that its link names now, which may move between two files."""
        if self._folder is None or self._parent is None:
            return self._folder
        return self._folder.resolve()

    def _reloaded(self) -> Settings | None:
        """The settings of now, as far as they need no restart; None if there is something wrong with them."""
        # Asked once: what is loaded is what later looks are held against, also if the link moves meanwhile.
        self._followed = self._configuration()
        try:
            new = load(self._followed)
            settings = in_force(self._settings, new)
        except ConfigError as error:
            for problem in error.problems:
                log.error("configuration refused; the one before stays in force", problem=str(problem))
            return None
        log.info(
            "configuration loaded",
            digest=settings.digest,
            changes=differences(self._settings, settings),
            waiting_for_a_restart=differences(settings, new),
        )
        return settings


def _tools(settings: Settings, store: Store, engine: "Engine") -> Tools:
    return Tools(
        clock=system_clock,
        files=store.files,
        index=store.index,
        jobs=store.jobs,
        reports=store.reports,
        requests=store.requests,
        orders=store.orders,
        peers=Peers(settings.agent.device.ae_title),
        engine=engine,
        settings=settings,
    )


def batch_max_of(engine: "Engine", asked: int) -> int:
    """Says how many cases an engine reads at once; `asked` is 0 where the administrator leaves it to us."""
    from inference.engine import BatchEngine

    if not isinstance(engine, BatchEngine):
        return 1
    return asked or (BATCH if engine.is_exact_at_once else 1)


def open_configured_engine(
    settings: Settings, *, digests_kept_in: Path | None = None, vision: str = "vision"
) -> "Engine":
    """Opens the model of `reading.toml`; imports torch.

    Args:
        vision: folder in that of [storage] for what the model saw of images; each engine's has a bound of its own.
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
        adapters={one.name: one.folder for one in settings.reading.adapters},
        answer_tokens_max=chosen.answer_tokens_max,
        threads=chosen.threads or None,
        impression=chosen.impression,
        vision_folder=settings.agent.storage.folder / vision,
        vision_cache_mb=chosen.vision_cache_mb,
    )
