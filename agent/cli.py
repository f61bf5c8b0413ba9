"""The command `preread`: parses, calls, prints. Each command imports what it needs when it is called,
so that `preread --help` answers at once."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.settings import Settings

app = typer.Typer(
    help="Draft chest X-ray reports in the PACS before the radiologist opens the study. AI drafts, not verified.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Folder with agent.toml, peers.toml, reading.toml; without it, built-in defaults."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

EXIT_WRONG_CONFIG = 2


def main() -> None:
    """Entry point of the console script."""
    app()


def _settings(config: Path | None) -> "Settings":
    from config.loading import ConfigError, load

    try:
        return load(config)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(EXIT_WRONG_CONFIG) from None


@app.command()
def serve(config: Config = None) -> None:
    """Listen for studies, gather priors, deliver drafts; starts the reader too, unless reading.toml says not to."""
    # pydicom imports every pixel decoder that it finds, some 20 MB; this process decodes nothing.
    for decoder in ("gdcm", "PIL"):
        sys.modules.setdefault(decoder, None)  # type: ignore[arg-type]
    from agent import service

    settings = _settings(config)
    service.configure_log(settings)
    if not service.serve(settings):
        raise typer.Exit(1)


@app.command()
def read(
    config: Config = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Stop when this process is gone.")] = None,
) -> None:
    """Load the model and read waiting cases: the process that needs the GPU."""
    from agent import service

    settings = _settings(config)
    service.configure_log(settings)
    if not service.read(settings, parent):
        raise typer.Exit(1)


@app.command()
def check(
    config: Config = None,
    model: Annotated[bool, typer.Option(help="Open the model too (seconds, and its memory).")] = True,
) -> None:
    """Load the configuration, greet every destination, open the model; writes nothing. Exit 1 if something is wrong."""
    from agent import checking

    settings = _settings(config)
    lines = checking.check(settings, open_model=model)
    for line in lines:
        typer.echo(f"{'ok     ' if line.ok else 'PROBLEM'} {line.text}")
    if not all(line.ok for line in lines):
        raise typer.Exit(1)


@app.command()
def status(config: Config = None, as_json: AsJson = False, limit: int = 20) -> None:
    """What waits, what is on its way, what went wrong and what to do about it."""
    from agent import overview

    settings = _settings(config)
    report = overview.status(settings, limit)
    typer.echo(json.dumps(report, indent=2, ensure_ascii=False) if as_json else overview.status_text(report))


@app.command()
def why(study: str, config: Config = None) -> None:
    """The whole life of one study: who sent it, why complete, which priors and why not others, what the model said."""
    from agent import overview

    _say_or_exit(lambda: overview.why_text(_settings(config), study))


@app.command()
def again(study: str, config: Config = None) -> None:
    """Read a study once more, as the next revision."""
    from agent import service

    store = service.open_store(_settings(config))
    try:
        job = store.jobs.again(study, service.system_clock())
    except LookupError as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    typer.echo(f"job {job.number} opened: study {study}, revision {job.revision}")


patients = typer.Typer(
    help="Which patient numbers are one patient. A number is written ID^^^ISSUER, as in HL7, or ID alone.",
    no_args_is_help=True,
)
app.add_typer(patients, name="patients")


@patients.command("list")
def list_links(config: Config = None, limit: int = 100) -> None:
    """The links in force, newest first."""
    from agent import linking

    typer.echo(linking.listed(_settings(config), limit))


@patients.command()
def link(
    old: str,
    surviving: str,
    config: Config = None,
    reason: Annotated[str, typer.Option(help="For the history.")] = "merge",
) -> None:
    """Make every study under the number OLD one of the patient SURVIVING. Files, jobs and drafts stay as they are."""
    from agent import linking

    _say_or_exit(lambda: linking.link(_settings(config), old, surviving, reason))


@patients.command()
def unlink(number: int, config: Config = None) -> None:
    """Take back the link of this number, as `preread patients list` shows it."""
    from agent import linking

    _say_or_exit(lambda: linking.unlink(_settings(config), number))


@patients.command()
def history(identifier: str, config: Config = None) -> None:
    """Every link from or to a number: who made it and when, and who took it back."""
    from agent import linking

    _say_or_exit(lambda: linking.history(_settings(config), identifier))


def _say_or_exit(act: "Callable[[], str]") -> None:
    try:
        typer.echo(act())
    except (LookupError, ValueError) as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None


@app.command()
def send(
    folder: Path,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 11112,
    called: Annotated[str, typer.Option(help="AE title of the receiver.")] = "PREREAD",
    calling: Annotated[str, typer.Option(help="AE title to send as.")] = "PREREAD_SEND",
) -> None:
    """Send every DICOM file below a folder to an AE, as a modality would; a file that is none is named and left out."""
    from agent import sending

    outcome = sending.send_folder(folder, host, port, called, calling)
    for line in outcome.problems:
        typer.echo(line, err=True)
    typer.echo(f"{outcome.taken} taken, {len(outcome.problems)} not")
    if outcome.problems:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the objects, the pictures and the page.")] = Path(
        "demo-out"
    ),
    as_json: AsJson = False,
    patients: Annotated[int, typer.Option(min=1, max=12, help="How many synthetic patients.")] = 12,
) -> None:
    """A whole hospital on loopback: synthetic patients in, drafts back. Exit 0 if every draft came back."""
    from agent.demo import run

    if not run.demo(out, patients=patients, as_json=as_json):
        sys.exit(1)
