"""The command `preread`: parses, calls, prints. Each command imports what it needs when it is called,
so that `preread --help` answers at once."""

import os
import sys

import typer

from agent.cli import (
    backup,
    comparing,
    configuration,
    deliveries,
    keeping,
    models,
    patients,
    reports,
    rules,
    running,
    scores,
    storage,
    studies,
)

app = typer.Typer(
    help="Draft chest X-ray reports in the PACS before the radiologist opens the study. AI drafts, not verified.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # which would take [[calibration]] for a style
)

for module in (running, studies, keeping, scores, comparing, storage):
    app.add_typer(module.app)
for name, module in (
    ("config", configuration),
    ("backup", backup),
    ("patients", patients),
    ("reports", reports),
    ("deliveries", deliveries),
    ("rules", rules),
    ("models", models),
):
    app.add_typer(module.app, name=name)


def main() -> None:
    """Entry point of the console script. What we write is closed to others: images, drafts, the log.

    A database that cannot be used as it is costs a sentence and exit code 1, whatever the command.
    """
    os.umask(0o027)
    try:
        app()
    except _schema_error() as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


def _schema_error() -> type[Exception]:
    from storage.database import SchemaError  # SQLAlchemy, which is not there before a command needs it

    return SchemaError
