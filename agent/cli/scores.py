"""Commands that make a model's scores probabilities."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import Config, settings_of

app = typer.Typer()


@app.command()
def scores(
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, help="Jobs to look at, the newest first.")] = 1000,
) -> None:
    """The model's scores of the studies read last, as CSV with an empty column for the truth: see calibrate."""
    from agent import calibrating

    typer.echo(calibrating.scores_csv(settings_of(config), limit), nl=False)


@app.command()
def calibrate(
    table: Annotated[
        Path, typer.Argument(help="CSV as `preread scores` writes it, truth filled in: 0 or 1.")
    ],
    fitted_on: Annotated[str, typer.Option(help="On which cases, in words: they stand in every draft.")],
    weights: Annotated[str, typer.Option(help='Digest of the weights that gave the scores, "sha256:...".')],
) -> None:
    """Fit the model's scores to truth: prints [[calibration]] tables for reading.toml, and what they are worth."""
    from agent import calibrating
    from agent.errors import GiveUp

    try:
        typer.echo(calibrating.calibration_toml(table, fitted_on, weights))
    except GiveUp as error:
        typer.echo(error.reason, err=True)
        raise typer.Exit(1) from None
