"""Commands about who is who: `preread patients`."""

from typing import Annotated

import typer

from agent.cli.options import Config, say_or_exit, settings_of

app = typer.Typer(
    help="Which patient numbers are one patient. A number is written ID^^^ISSUER, as in HL7, or ID alone.",
    no_args_is_help=True,
)


@app.command("list")
def list_links(config: Config = None, limit: int = 100) -> None:
    """The links in force, newest first."""
    from agent import linking

    typer.echo(linking.listed(settings_of(config), limit))


@app.command()
def link(
    old: str,
    surviving: str,
    config: Config = None,
    reason: Annotated[str, typer.Option(help="For the history.")] = "merge",
) -> None:
    """Make every study under the number OLD one of the patient SURVIVING. Files, jobs and drafts stay as they are."""
    from agent import linking

    say_or_exit(lambda: linking.link(settings_of(config), old, surviving, reason))


@app.command()
def unlink(number: int, config: Config = None) -> None:
    """Take back the link of this number, as `preread patients list` shows it."""
    from agent import linking

    say_or_exit(lambda: linking.unlink(settings_of(config), number))


@app.command()
def history(identifier: str, config: Config = None) -> None:
    """Every link from or to a number: who made it and when, and who took it back."""
    from agent import linking

    say_or_exit(lambda: linking.history(settings_of(config), identifier))
