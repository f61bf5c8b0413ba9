"""Commands about backups: `preread backup`."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import Config, say_or_exit, settings_of

app = typer.Typer(help="Copies of database and files, made while the service runs.", no_args_is_help=True)

_Backup = Annotated[Path, typer.Argument(help="Folder of one backup, as `make` has named it.")]


@app.command()
def make(
    to: Annotated[Path, typer.Argument(help="A new folder with the time for its name is made in it.")],
    config: Config = None,
) -> None:
    """Copy the database as it is now and the files it names; hard links where TO is on the same disk."""
    from agent import keeping_desk

    say_or_exit(lambda: keeping_desk.back_up(settings_of(config), to))


@app.command()
def verify(folder: _Backup) -> None:
    """Read a whole backup: every digest, the database, a file for each row. Exit 1 if something is wrong."""
    from agent import keeping_desk

    say_or_exit(lambda: keeping_desk.verify(folder))


@app.command()
def restore(
    folder: _Backup, to: Annotated[Path, typer.Option(help="A new folder, for [storage] of agent.toml.")]
) -> None:
    """Make a store of a backup in a new folder; nothing is overwritten."""
    from agent import keeping_desk

    say_or_exit(lambda: keeping_desk.restore(folder, to))
