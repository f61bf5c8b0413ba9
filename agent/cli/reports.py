"""Commands about reports of earlier exams: `preread reports`."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import Config, settings_of

app = typer.Typer(help="Reports of earlier exams from outside DICOM.", no_args_is_help=True)


@app.command("import")
def import_reports(
    path: Annotated[
        Path, typer.Argument(exists=True, help="HL7, CSV, JSON or JSON lines; or a folder of them.")
    ],
    config: Config = None,
    dry_run: Annotated[bool, typer.Option(help="Read and count, store nothing.")] = False,
    limit: Annotated[int, typer.Option(help="How many refusals to print.")] = 20,
) -> None:
    """Take reports in from files; what is no report is named with its reason. Exit 1 if something was refused."""
    from agent import report_desk
    from agent.logs import configure_log

    settings = settings_of(config)
    configure_log(settings.agent.log)
    count = report_desk.import_files(settings, path, is_dry_run=dry_run)
    typer.echo(report_desk.count_text(count, limit, is_dry_run=dry_run))
    if count.refused:
        raise typer.Exit(1)


@app.command("list")
def list_reports(config: Config = None, limit: int = 20) -> None:
    """The report versions that came last: where from, how final, of which study; never their text."""
    from agent import report_desk

    typer.echo(report_desk.list_text(settings_of(config), limit))


@app.command()
def quarantine(config: Config = None, limit: int = 100) -> None:
    """The messages that could not be taken, why, and where their bytes are."""
    from agent import report_desk

    typer.echo(report_desk.quarantine_text(settings_of(config), limit))


@app.command()
def replay(
    number: Annotated[
        int | None, typer.Argument(help="Of the message; without it, all in quarantine.")
    ] = None,
    config: Config = None,
) -> None:
    """Take messages in quarantine in once more, after an update or a change of settings. Exit 1 if one stays."""
    from agent import report_desk
    from agent.logs import configure_log

    settings = settings_of(config)
    configure_log(settings.agent.log)
    lines, are_all_taken = report_desk.replay(settings, number)
    for line in lines:
        typer.echo(line)
    if not are_all_taken:
        raise typer.Exit(1)
