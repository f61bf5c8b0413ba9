"""Commands about what could not be delivered: `preread deliveries`."""

from typing import Annotated

import typer

from agent.cli.options import Config, settings_of

app = typer.Typer(help="Drafts that a destination did not take.", no_args_is_help=True)

Destination = Annotated[str, typer.Option("--destination", help="Name of a [[destination]] of peers.toml.")]


@app.command("list")
def list_deliveries(config: Config = None, destination: Destination = "", limit: int = 100) -> None:
    """The deliveries that were given up, with number and reason. What still waits is in `preread status`."""
    from agent import delivery_desk

    typer.echo(delivery_desk.list_text(settings_of(config), destination, limit))


@app.command()
def replay(
    number: Annotated[int | None, typer.Argument(help="Number of a delivery, as `list` shows it.")] = None,
    destination: Destination = "",
    config: Config = None,
) -> None:
    """Send what was given up once more; nothing that was taken, and no draft that a later one has replaced."""
    from agent import delivery_desk

    try:
        lines, all_go = delivery_desk.replay(settings_of(config), number, destination)
    except ValueError as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    for line in lines:
        typer.echo(line)
    if not all_go:
        raise typer.Exit(1)
