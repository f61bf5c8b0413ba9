"""Commands that run something: the service, the reader, the demo; and what is tried before."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import AsJson, Config, settings_of

if TYPE_CHECKING:
    from config.settings import Settings

app = typer.Typer()


@contextmanager
def _without_decoders() -> Iterator[None]:
    """Keeps libraries from importing what they would use if it were there, some 30 MB; they look once.

    pydicom looks for pixel decoders and for requests, to download its test files; structlog for rich, to colour
    tracebacks. Afterwards whoever needs one of them, such as dicomweb-client pillow, may have it.
    """
    decoders = [name for name in ("gdcm", "PIL", "requests", "rich") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(decoders))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in decoders:
            del sys.modules[name]


def _configure_log(settings: "Settings") -> None:
    from agent import writable
    from agent.logs import configure_log

    try:
        configure_log(settings.agent.log)
    except OSError as error:
        typer.echo(writable.of_log(settings.agent.log.file, error.strerror), err=True)
        raise typer.Exit(1) from None


@app.command()
def serve(config: Config = None) -> None:
    """Listen for studies, gather priors, deliver drafts; starts the reader too, unless reading.toml says not to."""
    with _without_decoders():
        # For a rule that names a DICOM keyword pydicom is imported here.
        settings = settings_of(config, to_serve=True)
        from agent import service

    _configure_log(settings)
    if not service.serve(settings):
        raise typer.Exit(1)


@app.command()
def read(
    config: Config = None,
    second: Annotated[
        bool, typer.Option("--second", help="Load [second_engine] and read, for comparison, what was read.")
    ] = False,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Stop when this process is gone.")] = None,
) -> None:
    """Load the model and read waiting cases: the process that needs the GPU."""
    from agent import reader

    settings = settings_of(config)
    _configure_log(settings)
    if not reader.read(settings, parent, second=second):
        raise typer.Exit(1)


@app.command()
def reload(
    config: Config = None,
    seconds: Annotated[float, typer.Option(help="How long to wait for the service's answer.")] = 30.0,
) -> None:
    """Have the running service load its configuration anew, whole or not at all; exit 1, with reasons, if not."""
    from agent import loaded

    # Files and secrets are looked at by the service, which may be alone to have them.
    settings = settings_of(config)
    try:
        service = loaded.ask_to_reload(settings.agent.storage.folder, seconds)
    except LookupError as error:  # main() tells of the rest
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    for problem in service.problems:
        typer.echo(f"refused  {problem}", err=True)
    for change in service.changes:
        typer.echo(f"changed  {change}")
    for waiting in service.waiting:
        typer.echo(f"restart  {waiting}")
    typer.echo(f"in force: {service.digest}")
    if service.problems:
        raise typer.Exit(1)


@app.command()
def check(
    config: Config = None,
    model: Annotated[bool, typer.Option(help="Open the model too (seconds, and its memory).")] = True,
) -> None:
    """Look at configuration, folders, database, every peer and the model; writes nothing. Exit 1 if one is wrong."""
    from agent import checking

    settings = settings_of(config, to_serve=True)
    lines = checking.check(settings, open_model=model)
    for line in lines:
        typer.echo(f"{'ok     ' if line.ok else 'PROBLEM'} {line.text}")
    if not all(line.ok for line in lines):
        raise typer.Exit(1)


@app.command()
def probe(
    destination: Annotated[str, typer.Argument(help="Name of a [[destination]] of peers.toml.")],
    config: Config = None,
    objects: Annotated[bool, typer.Option(help="Send a test object of each kind, marked as a test.")] = True,
) -> None:
    """Ask a destination what it takes, and print the profile for it as TOML. Exit 1 if it takes nothing of ours."""
    from agent import probing
    from agent.clock import system_clock

    settings = settings_of(config)
    now = system_clock().astimezone()
    try:
        result = probing.probe(settings, destination, now, send_objects=objects)
    except (LookupError, ValueError) as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    if result.problem is not None:
        typer.echo(result.problem, err=True)
        raise typer.Exit(1)
    for line in probing.probe_text(result, settings):
        typer.echo(line)
    if not result.takes_anything:
        raise typer.Exit(1)


@app.command()
def doctor(
    config: Config = None,
    model: Annotated[bool, typer.Option(help="Look at the model's files too (seconds).")] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 on a warning, too: for a run that nobody reads.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at disk, database, clock, ports, permissions, GPU, model, certificates, peers. Exit 1 on a problem."""
    from agent.clock import system_clock
    from agent.doctor import lines
    from agent.doctor.examination import examine

    found = examine(settings_of(config), system_clock, look_at_model=model)
    typer.echo(json.dumps(lines.as_json(found), indent=2) if as_json else lines.as_text(found))
    if lines.count(found, lines.Verdict.PROBLEM) or (strict and lines.count(found, lines.Verdict.WARNING)):
        raise typer.Exit(1)


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

    try:
        outcome = sending.send_folder(folder, host, port, called, calling)
    except (LookupError, ValueError) as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
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


@app.command()
def films(
    folder: Path,
    patients: Annotated[int, typer.Option(min=1, max=1000, help="How many synthetic patients.")] = 1,
) -> None:
    """Write synthetic radiographs with earlier exams and reports as DICOM files, for trying an installation out."""
    from agent.clock import system_clock
    from agent.demo.films import write_films

    try:
        written = write_films(folder, patients, system_clock().astimezone())
    except OSError as error:
        typer.echo(f"{folder} cannot be made or written ({error.strerror}); name another folder", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{written} files of {patients} synthetic patients in {folder}; next: preread send {folder}")
