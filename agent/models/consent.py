"""Before weights are fetched: is their licence accepted, and whose account asks for them."""

from collections.abc import Iterator
from pathlib import Path

from agent.errors import GiveUp
from config.settings import Secret, Settings
from inference.published import PublishedModel


def terms_text(model: PublishedModel) -> str:
    """Writes what binds who uses a model."""
    return "\n".join(_terms(model))


def check_licence(model: PublishedModel, accepted: str, settings: Settings) -> None:
    """Holds that somebody has accepted this model's licence, in the command or in reading.toml.

    Args:
        accepted: the licence as the command names it; "" if it names none.

    Raises:
        GiveUp: if nobody has; the sentence says how to.
    """
    engine = settings.reading.engine
    if model.fits_licence(accepted):
        return
    if not accepted and engine.name == model.engine and model.fits_licence(engine.accepted_licence):
        return
    said = f'the licence "{accepted}" is not this model\'s' if accepted else "its licence is not accepted"
    raise GiveUp(
        f'{model.name}: {said}; who has read it and may accept it says --accept-licence "{model.licence}", '
        f'or accepted_licence = "{model.licence}" under [engine] of reading.toml'
    )


def token_from(env: str, file: Path | None) -> str | None:
    """Fetches the hub's token from where it is said to be; None if no place is given.

    Raises:
        GiveUp: if it is not there, or both places are given; the sentence names the place, never the token.
    """
    if env.startswith("hf_"):
        raise GiveUp("--token-env takes the name of a variable; this looks like a token itself: withdraw it")
    if not env and file is None:
        return None
    if env and file is not None:
        raise GiveUp("give --token-env or --token-file, not both")
    try:
        return Secret(env=env, file=file).reveal()
    except LookupError as error:
        raise GiveUp(f"no token: {error.args[0]}") from None
    except ValueError:
        raise GiveUp("--token-env takes the name of a variable: letters, digits and _") from None


def _terms(model: PublishedModel) -> Iterator[str]:
    yield f"{model.title}: {model.does}"
    yield f"Intended use: {model.intended_use}"
    yield f"Licence: {model.licence}; {model.licence_notes}"
