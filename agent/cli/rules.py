"""Commands about the rules of reading.toml: `preread rules`."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import Config, say_or_exit, settings_of

app = typer.Typer(
    help="The rules of reading.toml: which fits a study, why, and what would become of it.",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Keeps `test` a command of its own as long as there is no other."""


@app.command("test")
def try_rules(
    file: Annotated[
        list[Path] | None,
        typer.Option(help="A DICOM file, as if it came now; several times for the images of one study."),
    ] = None,
    study: Annotated[str, typer.Option(help="Study Instance UID of one that is here.")] = "",
    since: Annotated[str, typer.Option(help="The studies of the last 30m, 12h or 7d.")] = "",
    config: Config = None,
    new: Annotated[
        Path | None, typer.Option(help="Another config folder: only what it would change is told.")
    ] = None,
    calling: Annotated[str, typer.Option(help="AE title that sends the file.")] = "",
    called: Annotated[
        str, typer.Option(help="AE title of ours that it is sent to; else device.ae_title.")
    ] = "",
) -> None:
    """Say of a file, a study or all of some time which rule fits and why, what would be read, and what sent where."""
    from agent import rule_trial
    from agent.clock import system_clock

    settings = settings_of(config)
    proposed = None if new is None else settings_of(new)
    if [bool(file), bool(study), bool(since)].count(True) != 1:
        raise typer.BadParameter("one of --file, --study and --since is needed")

    def say() -> str:
        if file:
            ours = called or settings.agent.device.ae_title
            return rule_trial.of_files(settings, file, calling, ours, system_clock(), proposed)
        if study:
            return rule_trial.of_study(settings, study, proposed)
        return rule_trial.since(settings, since, system_clock(), proposed)

    say_or_exit(say)
