"""`preread check`: would it work? Looks at places and database, greets every peer, opens the model; writes nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

from agent import writable
from agent.clock import system_clock
from agent.outgoing.greeting import greet
from agent.peers import Called, EchoOutcome, Peers
from config.settings import ReceiverSettings, ReportServerSettings, Settings
from storage.database import HEAD, refusal_of
from storage.inspection import look_at_database

_LONG_FROM_NOW = "9999-01-01T00:00:00Z"
"""Nothing was changed since then: a question with an empty answer."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One thing looked at. `text` says what to do where `ok` is False."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Greeting:
    """One system that peers.toml names, and the way to ask whether it is there."""

    kind: str
    settings: Called | ReportServerSettings | ReceiverSettings
    greet: Callable[[], EchoOutcome]

    def line(self) -> CheckLine:
        """Asks, and says how it went."""
        echo = self.greet()
        answered = f"answered in {echo.seconds:.3f} s" if echo.ok else echo.problem or ""
        return CheckLine(echo.ok, f'{self.kind} "{self.settings.name}": {answered}')


def greetings(settings: Settings) -> tuple[Greeting, ...]:
    """Lists everybody who is called, in the order of peers.toml."""
    peers = Peers(settings.agent.device.ae_title)
    called: tuple[tuple[str, Sequence[Called]], ...] = (
        ("destination", settings.peers.destinations),
        ("archive", settings.peers.archives),
        ("worklist", settings.peers.worklists),
    )
    told: tuple[tuple[str, Sequence[ReceiverSettings]], ...] = (
        ("hl7 receiver", settings.peers.hl7_receivers),
        ("fhir server", settings.peers.fhir_servers),
        ("webhook", settings.peers.webhooks),
        ("drop folder", settings.peers.drop_folders),
    )
    return (
        *(Greeting(kind, one, partial(peers.echo, one)) for kind, ones in called for one in ones),
        *(Greeting(kind, one, partial(_greet_receiver, one)) for kind, ones in told for one in ones),
        *(
            Greeting("report server", one, partial(_greet_report_server, peers, one))
            for one in settings.peers.report_servers
        ),
    )


def _greet_receiver(receiver: ReceiverSettings) -> EchoOutcome:
    started = monotonic()
    problem = greet(receiver)
    return EchoOutcome(problem is None, monotonic() - started, problem)


def _greet_report_server(peers: Peers, server: ReportServerSettings) -> EchoOutcome:
    started = monotonic()
    page = next(peers.report_pages(server, _LONG_FROM_NOW))
    return EchoOutcome(page.problem is None, monotonic() - started, page.problem)


def check(settings: Settings, *, open_model: bool) -> tuple[CheckLine, ...]:
    """Looks at everything the settings name; the settings themselves have been loaded already."""
    lines = [CheckLine(True, f"configuration {settings.folder or '(built-in defaults)'}, {settings.digest}")]
    lines += own_places(settings)
    lines += _full_disk(settings)
    lines.append(_database(settings))
    lines += [greeting.line() for greeting in greetings(settings)]
    if not (settings.peers.destinations or settings.peers.receivers):
        lines.append(
            CheckLine(True, "no destination in peers.toml: drafts are made and kept, and sent nowhere")
        )
    if open_model:
        lines += _model(settings, "model")
        if settings.of_second_engine is not None:
            lines += _model(settings.of_second_engine, "second model")
    return tuple(lines)


def own_places(settings: Settings) -> Iterator[CheckLine]:
    """Says whether this user can write where preread is to: the folders of [storage] and [audit], the file of [log]."""
    folder, file, trail = settings.agent.storage.folder, settings.agent.log.file, settings.agent.audit.folder
    why = writable.trouble_of_folder(folder)
    yield CheckLine(why is None, writable.of_storage(folder, why) if why else f"{folder} can be written")
    if file is not None:
        why = writable.trouble_of_file(file)
        yield CheckLine(why is None, writable.of_log(file, why) if why else f"{file} can be written")
    if trail is not None:
        why = writable.trouble_of_folder(trail)
        yield CheckLine(why is None, writable.of_audit(trail, why) if why else f"{trail} can be written")


def _full_disk(settings: Settings) -> Iterator[CheckLine]:
    """Says that the folder of [storage] may be written and has no room, if that is so."""
    folder = settings.agent.storage.folder
    if writable.trouble_of_folder(folder) is None:
        told = writable.of_full_disk(
            folder, writable.free_bytes(folder), settings.agent.listener.free_bytes_min
        )
        if told is not None:
            yield CheckLine(False, told)


def _database(settings: Settings) -> CheckLine:
    """Says what a start would say of the database, which is left as it is."""
    facts = look_at_database(settings.agent.storage.connection_url(), system_clock)
    if facts.problem is not None:
        text = f"database {facts.place} cannot be used: {facts.problem}; correct [storage] in agent.toml, or start it"
        return CheckLine(False, text)
    if facts.revision is None:
        return CheckLine(True, f"database {facts.place}: nothing in it yet; the first start makes its tables")
    refusal = refusal_of(facts.revision)
    if refusal is not None:
        return CheckLine(False, refusal)
    if facts.revision != HEAD:
        text = f"schema revision {facts.revision}; the next start makes it {HEAD}: make a backup before"
        return CheckLine(True, f"database {facts.place}: {text}")
    return CheckLine(True, f"database {facts.place}: schema revision {HEAD}, this program's own")


def _model(settings: Settings, which: str) -> Iterator[CheckLine]:
    from agent.reader import open_configured_engine

    try:
        engine = open_configured_engine(settings)
    except (OSError, ValueError, RuntimeError) as error:
        yield CheckLine(False, f"{which}: {error}")
        return
    identity = engine.identity
    engine.close()
    yield CheckLine(True, f"{which}: {identity.model_name}, {identity.weights_digest}")
    foreign = [
        one.finding for one in settings.reading.calibrations if one.weights_digest != identity.weights_digest
    ]
    if foreign:
        names = ", ".join(foreign)
        text = f"calibration of {names}: fitted to other weights; fit it anew, or take it out of reading.toml"
        yield CheckLine(False, text)
    if identity.is_demo:
        yield CheckLine(
            True, f"{which}: synthetic demo weights; their drafts say so and are not for patients"
        )
