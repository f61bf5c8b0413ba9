"""`preread check`: would it work? Greets every peer and opens the model; writes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.peers import Called, Peers
from config.settings import Settings

_LONG_FROM_NOW = "9999-01-01T00:00:00Z"
"""Nothing was changed since then: a question with an empty answer."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One thing looked at. `text` says what to do where `ok` is False."""

    ok: bool
    text: str


def check(settings: Settings, *, open_model: bool) -> tuple[CheckLine, ...]:
    """Looks at everything the settings name; the settings themselves have been loaded already."""
    lines = [CheckLine(True, f"configuration {settings.folder or '(built-in defaults)'}, {settings.digest}")]
    peers = Peers(settings.agent.device.ae_title)
    called: tuple[tuple[str, Called], ...] = (
        *(("destination", one) for one in settings.peers.destinations),
        *(("archive", one) for one in settings.peers.archives),
        *(("worklist", one) for one in settings.peers.worklists),
    )
    for kind, one in called:
        echo = peers.echo(one)
        answered = f"answered in {echo.seconds:.3f} s" if echo.ok else echo.problem or ""
        lines.append(CheckLine(echo.ok, f'{kind} "{one.name}": {answered}'))
    for server in settings.peers.report_servers:
        page = next(peers.report_pages(server, _LONG_FROM_NOW))
        answered = page.problem or "answered"
        lines.append(CheckLine(page.problem is None, f'report server "{server.name}": {answered}'))
    if not settings.peers.destinations:
        lines.append(
            CheckLine(True, "no destination in peers.toml: drafts are made and kept, and sent nowhere")
        )
    if open_model:
        lines += _model(settings)
    return tuple(lines)


def _model(settings: Settings) -> Iterator[CheckLine]:
    from agent.service import open_configured_engine

    try:
        engine = open_configured_engine(settings)
    except (OSError, ValueError, RuntimeError) as error:
        yield CheckLine(False, f"model: {error}")
        return
    identity = engine.identity
    engine.close()
    yield CheckLine(True, f"model: {identity.model_name}, {identity.weights_digest}")
    foreign = [
        one.finding for one in settings.reading.calibrations if one.weights_digest != identity.weights_digest
    ]
    if foreign:
        names = ", ".join(foreign)
        text = f"calibration of {names}: fitted to other weights; fit it anew, or take it out of reading.toml"
        yield CheckLine(False, text)
    if identity.is_demo:
        yield CheckLine(True, "model: synthetic demo weights; their drafts say so and are not for patients")
