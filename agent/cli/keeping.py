"""Commands about keeping and forgetting."""

from typing import Annotated

import typer

from agent.cli.options import Config, say_or_exit, settings_of

app = typer.Typer()


@app.command()
def retention(
    config: Config = None,
    dry_run: Annotated[bool, typer.Option(help="List what would go, delete nothing.")] = False,
) -> None:
    """Delete now what [retention] of agent.toml no longer keeps; the service does it by itself, a little at a time."""
    from agent import keeping_desk
    from agent.logs import configure_log

    settings = settings_of(config)
    configure_log(settings.agent.log)
    if dry_run:
        for line in keeping_desk.what_would_go(settings):
            typer.echo(line)
    else:
        say_or_exit(lambda: keeping_desk.retain(settings))
