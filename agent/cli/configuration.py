"""Commands about the configuration: `preread config`."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import EXIT_WRONG_CONFIG, Config, settings_of

app = typer.Typer(help="Write, check, compare and explain the configuration.", no_args_is_help=True)


class ConfigFile(StrEnum):
    """One of the three files, as it is called on the command line."""

    AGENT = "agent"
    PEERS = "peers"
    READING = "reading"


@app.command()
def check(config: Config = None) -> None:
    """Every mistake in the files and in the environment at once, each with its line. Exit 2 if there is one."""
    settings = settings_of(config, to_serve=True)
    typer.echo(f"ok      configuration {settings.folder or '(built-in defaults)'}, {settings.digest}")


@app.command()
def schema(file: ConfigFile) -> None:
    """The JSON Schema of a file, for editors that check while one writes; docs/settings.md says how."""
    from config.schema import schema_of

    typer.echo(json.dumps(schema_of(f"{file}.toml"), indent=2, ensure_ascii=False))


@app.command()
def show(
    config: Config = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="Every key, also those that nobody has written.")
    ] = False,
) -> None:
    """What is set, as TOML, and where each value comes from: file and line, or variable. Passwords are never shown."""
    from agent.configuration import load_with_origins
    from config.effective import effective as effective_text
    from config.loading import ConfigError
    from config.sources import DEFAULT

    try:
        settings, sources = load_with_origins(config)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_WRONG_CONFIG) from None

    def origin(file: str, place: str) -> str | None:
        found = sources[file].origin(place)
        return found if effective or found != DEFAULT else None

    typer.echo(effective_text(settings, origin), nl=False)


@app.command()
def init(
    folder: Path,
    ae_title: Annotated[str, typer.Option(prompt="AE title of preread")] = "PREREAD",
    port: Annotated[int, typer.Option(prompt="Port that it listens on")] = 11112,
    pacs_host: Annotated[str, typer.Option(prompt="Host name or IP address of the PACS")] = "127.0.0.1",
    pacs_port: Annotated[int, typer.Option(prompt="Port of the PACS")] = 104,
    pacs_ae: Annotated[str, typer.Option(prompt="AE title of the PACS")] = "PACS",
    storage_folder: Annotated[
        str, typer.Option(help="For images, drafts and index; a relative one starts at FOLDER.")
    ] = "preread-data",
) -> None:
    """Ask five questions (or take options) and write the three files, with reasons. Overwrites nothing."""
    from config.loading import ConfigError
    from config.starting import Answers, first_files, write_files

    answers = Answers(ae_title, port, pacs_host, pacs_port, pacs_ae, storage_folder)
    try:
        files = first_files(answers)
        write_files(folder, files)
    except ConfigError as error:
        typer.echo(f"nothing was written:\n{error}", err=True)
        raise typer.Exit(EXIT_WRONG_CONFIG) from None
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"written: {', '.join(str(folder / file) for file in files)}")
    typer.echo(f"Next: preread check --config {folder}, then preread serve --config {folder}")
    if os.geteuid() == 0:
        typer.echo(f"For a user of preread's own: chgrp -R preread {folder}, or it cannot read them")


@app.command()
def diff(
    config: Config = None,
    against: Annotated[
        Path | None, typer.Option(help="Another config folder; without it, what the service has in force.")
    ] = None,
) -> None:
    """What would change, in words: what a reload takes while the service runs, and what needs a restart."""
    from agent import loaded
    from config.changes import differences, in_force
    from config.loading import ConfigError

    new = settings_of(config, to_serve=True)
    try:
        old = settings_of(against or loaded.kept(new.agent.storage.folder), environment={})
    except LookupError as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    try:
        running = in_force(old, new)
    except ConfigError as error:
        typer.echo(f"a reload would be refused, since the ports stay as they are until a restart:\n{error}")
        running = old
    for taken in differences(old, running):
        typer.echo(f"reload   {taken}")
    for waiting in differences(running, new):
        typer.echo(f"restart  {waiting}")
    if old.digest == new.digest:
        typer.echo(f"nothing would change, {new.digest}")
