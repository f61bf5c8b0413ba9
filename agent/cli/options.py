"""What the commands share: the options, the settings, and how a person is told that something is wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from config.problems import ConfigError
    from config.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Folder with agent.toml, peers.toml, reading.toml; without it, built-in defaults.",
        readable=False,  # whether it can be read is told with the other mistakes, and of which user
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

EXIT_WRONG_CONFIG = 2


def settings_of(
    config: Path | None, environment: "Mapping[str, str] | None" = None, *, to_serve: bool = False
) -> "Settings":
    """Loads the configuration, or prints every mistake in it and exits with EXIT_WRONG_CONFIG.

    Args:
        environment: the variables that stand above the files; None for those of this process.
        to_serve: with a look at secrets and into TLS files.
    """
    from agent.configuration import load, load_to_serve
    from config.loading import ConfigError

    try:
        return (load_to_serve if to_serve else load)(config, environment)
    except ConfigError as error:
        raise _told(error) from None


def settings_to_look_with(config: Path | None) -> "tuple[Settings, str | None]":
    """Loads the configuration or, if that has mistakes, the one that is or was last in force, and a sentence on that.

    For a command that only looks: what runs well on the configuration of before is to be seen all the same.
    """
    from agent import loaded
    from agent.configuration import load
    from config.loading import ConfigError

    try:
        return load(config), None
    except ConfigError as error:
        settings = None if config is None else loaded.last_in_force(config)
        if settings is None:
            raise _told(error) from None
        is_in_force = loaded.is_served(settings.agent.storage.folder)
        which = "in force" if is_in_force else "that was last in force"
        return settings, (
            f"the configuration in {config} has mistakes (preread config check --config {config}); "
            f"what follows goes by the one {which}, {settings.folder}"
        )


def _told(error: "ConfigError") -> typer.Exit:
    """Prints every mistake, and gives the exit to raise."""
    for problem in error.problems:
        typer.echo(str(problem), err=True)
    return typer.Exit(EXIT_WRONG_CONFIG)


def say_or_exit(act: "Callable[[], str]") -> None:
    """Prints what an action says; if it cannot be done, prints why and exits with 1."""
    try:
        typer.echo(act())
    except (LookupError, ValueError) as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
