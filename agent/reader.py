"""The process that holds the model: takes the stages `read` and `compose`, and follows the configuration."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

import structlog

from agent.configuration import load
from agent.logs import set_log_level
from agent.metrics.health import Condition, is_alive
from agent.notifying import notify, watched_less
from agent.peers import Peers
from agent.pulse import Pulse
from agent.service import Store, awaited_signals, open_store, patience_of, system_clock
from agent.steps import Tools
from agent.worker import Worker
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


def read(settings: Settings, parent: int | None = None) -> bool:
    """Loads the model and takes the stages `read` and `compose` until a signal, or until `parent` is gone.

    The model is opened before the first claim: a wrong folder or too little memory is one sentence on the log and
    no job's failure. SIGHUP has the configuration loaded anew; a child follows the link that its parent keeps. If that
    names another model, it is opened after the step in hand, and the one before again if it cannot be.

    Returns:
        False if the store or the model could not be opened.
    """
    signals = awaited_signals()
    if settings.reading.reader.child and parent is not None:
        os.nice(settings.reading.reader.nice)
    try:
        store = open_store(settings)
    except (OSError, SchemaError) as error:
        log.error("the reader cannot start", reason=f"{error}; correct [storage] in agent.toml")
        return False
    try:
        return _Reader(settings, store, signals, parent).run()
    finally:
        store.database.close()


class _Reader:
    def __init__(
        self, settings: Settings, store: Store, signals: SimpleQueue[int], parent: int | None
    ) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._store = store
        self._signals = signals
        self._parent = parent
        # Not what the link says now: it may have moved since the settings were loaded.
        present = self._configuration()
        self._followed = present and present.with_name(settings.digest.removeprefix("sha256:"))

    def run(self) -> bool:
        engine = _opened(self._settings)
        while engine is not None:
            following = self._work(engine)
            engine.close()
            if following is None:
                return True
            with watched_less(_OPENING_SECONDS_MAX):
                engine = self._opened_instead(following)
        return False

    def _opened_instead(self, following: Settings) -> "Engine | None":
        """The model of other settings, which hold from now on; the one before if that cannot be opened."""
        before, self._settings = self._settings.reading, following
        engine = _opened(following)
        if engine is not None:
            return engine
        log.error(
            "the reader goes on with the model that it had", model_folder=str(before.engine.model_folder)
        )
        reading = following.reading.model_copy(update=_model_of(before))
        self._settings = following.model_copy(update={"reading": reading})
        return _opened(self._settings)

    def _work(self, engine: "Engine") -> Settings | None:
        """Reads with a model until the settings name another one, and gives them; None at the end."""
        tools, reading = _tools(self._settings, self._store, engine), self._settings.reading
        worker = Worker(
            f"reader-{os.getpid()}",
            tools,
            patience_of(self._settings),
            stages=(Stage.COMPOSE, Stage.READ),
            batch_max=batch_max_of(engine, reading.reader.batch_max),
            poll_seconds=self._settings.agent.worker.poll_seconds,
        )
        worker.start()
        pulse = _pulse(self._settings, self._store, engine, worker)
        notify("READY=1")
        following: Settings | None = None
        while following is None and (event := self._event(pulse)) != "end":
            new = self._reloaded() if event == "reload" else None
            if new is None:
                continue
            if (_model_of(new.reading), new.reading.reader) != (_model_of(reading), reading.reader):
                following = new
            else:
                self._settings = new
                set_log_level(new.agent.log)
                worker.take(replace(tools, settings=new), patience_of(new))
                pulse.take(new.digest)
        worker.stop()
        # Another model waits for the case in hand, however long that takes; the end of the process does not.
        while following is not None and worker.is_alive():
            match self._event(pulse):
                case "end":
                    following = None
                case "reload":
                    following = self._reloaded() or following
        worker.finish(self._settings.agent.worker.stop_seconds)
        pulse.end()
        return following

    def _event(self, pulse: Pulse) -> Literal["end", "reload", "none"]:
        """Beats, and says what has happened within a second."""
        pulse.beat_if_due()
        try:
            return "reload" if self._signals.get(timeout=1.0) == signal.SIGHUP else "end"
        except Empty:
            if self._parent is None:
                return "none"
        if os.getppid() != self._parent:
            log.warning("the listener's process is gone; the reader stops")
            return "end"
        followed, self._followed = self._followed, self._configuration()
        return "none" if self._followed == followed else "reload"

    def _configuration(self) -> Path | None:
        """The folder to load from; a child's is the one that its link names now, which may move between two files."""
        if self._folder is None or self._parent is None:
            return self._folder
        return self._folder.resolve()

    def _reloaded(self) -> Settings | None:
        """The settings of now, as far as they need no restart; None if there is something wrong with them."""
        try:
            new = load(self._configuration())
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


def _model_of(reading: ReadingSettings) -> dict[str, object]:
    """What decides which model is opened."""
    return {"engine": reading.engine, "adapters": reading.adapters}


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


def _pulse(settings: Settings, store: Store, engine: "Engine", worker: Worker) -> Pulse:
    words = f"{engine.identity.model_name} ({engine.identity.weights_digest})"

    def alive() -> tuple[Condition, ...]:
        return is_alive([] if worker.is_alive() else [worker.name], 0.0)

    return Pulse(store.processes, system_clock, "read", settings.digest, alive, words)


def _opened(settings: Settings) -> "Engine | None":
    """The configured model; None, with the reason on the log, if it cannot be opened."""
    try:
        engine = open_configured_engine(settings, digests_kept_in=settings.agent.storage.folder)
    except (OSError, ValueError, RuntimeError) as error:
        reason = f"{error}; correct the [engine] of reading.toml, then: preread check"
        log.error("the model cannot be opened", reason=reason)
        return None
    log.info(
        "model ready",
        engine=engine.identity.name,
        model=engine.identity.model_name,
        digest=engine.identity.weights_digest,
        accepted_licence=settings.reading.engine.accepted_licence or None,
        configuration=settings.digest,
    )
    return engine


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
        adapters={one.name: one.folder for one in settings.reading.adapters},
        answer_tokens_max=chosen.answer_tokens_max,
        threads=chosen.threads or None,
        impression=chosen.impression,
        vision_folder=settings.agent.storage.folder / "vision",
        vision_cache_mb=chosen.vision_cache_mb,
    )
