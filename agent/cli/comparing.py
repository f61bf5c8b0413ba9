"""The command that tells what a second engine would have said."""

import json
from typing import Annotated

import typer

from agent.cli.options import AsJson, Config, settings_of

app = typer.Typer()


@app.command()
def compare(
    config: Config = None,
    since: Annotated[str, typer.Option(help="90m, 12h, 3d, 2w, 2026-11-25 or 2026-11-25T08:00.")] = "7d",
    limit: Annotated[int, typer.Option(min=1, help="Jobs to look at, the newest first.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """What [second_engine] says of the studies that the first engine read: agreement by finding, and who differs."""
    from agent import comparing, listing
    from agent.clock import system_clock
    from agent.errors import GiveUp

    now = system_clock()
    try:
        from_when = listing.since_of(since, now)
    except GiveUp as error:
        typer.echo(error.reason, err=True)
        raise typer.Exit(1) from None
    report = comparing.compared(settings_of(config), from_when, now, limit)
    typer.echo(
        json.dumps(report, indent=2, ensure_ascii=False) if as_json else comparing.compared_text(report)
    )
