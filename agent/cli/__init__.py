"""The command `preread`: parses, calls, prints. Each command imports what it needs when it is called,
so that `preread --help` answers at once."""

import os
import resource
import sys
from typing import NoReturn

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

    A process that dies leaves no core: it would hold images and names, wherever this machine keeps such files.
    A database or a file that cannot be used costs a sentence and exit code 1, whatever the command.
    """
    os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        app()
    except OSError as error:
        _end(_of_file(error))
    except _database_errors() as error:
        sentence = _of_database(error)
        if sentence is None:
            raise
        _end(sentence)


def _end(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    sys.exit(1)


def _of_file(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    told = f"{error.filename} cannot be used: {error.strerror}"
    return f"{told}; run this as the user of preread" if isinstance(error, PermissionError) else told


def _database_errors() -> tuple[type[Exception], ...]:
    from storage.database import DatabaseError, SchemaError  # SQLAlchemy: not before a command needs it

    return (SchemaError, *DatabaseError)


def _of_database(error: Exception) -> str | None:
    from storage.database import SchemaError, trouble_of

    if isinstance(error, SchemaError):
        return str(error)
    trouble = trouble_of(error)
    return (
        trouble and f"the database cannot be used: {trouble}; see that it runs and has room, then try again"
    )
