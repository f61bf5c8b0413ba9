"""Commands that run something: the service, the reader, the demo; and what is tried before."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import AsJson, Config, settings_of

app = typer.Typer()


@app.command()
def serve(config: Config = None) -> None:
    """Listen for studies, gather priors, deliver drafts; starts the reader too, unless reading.toml says not to."""
    settings = settings_of(config)
    # pydicom imports every pixel decoder that it finds, some 20 MB; this process decodes nothing. Only
    # dicomweb-client cannot be imported without pillow.
    peers = settings.peers
    needs_pillow = any(archive.retrieve == "dicomweb" for archive in peers.archives) or any(
        destination.protocol == "dicomweb" for destination in peers.destinations
    )
    for decoder in ("gdcm",) if needs_pillow else ("gdcm", "PIL"):
        sys.modules.setdefault(decoder, None)  # type: ignore[arg-type]
    from agent import service

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

    settings = settings_of(config)
    service.configure_log(settings)
    if not service.read(settings, parent):
        raise typer.Exit(1)


@app.command()
def check(
    config: Config = None,
    model: Annotated[bool, typer.Option(help="Open the model too (seconds, and its memory).")] = True,
) -> None:
    """Load the configuration, greet every peer, open the model; writes nothing. Exit 1 if something is wrong."""
    from agent import checking

    settings = settings_of(config)
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
    from agent import probing, service

    settings = settings_of(config)
    now = service.system_clock().astimezone()
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
    if not any(result.takes(kind) for kind in result.classes):
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
