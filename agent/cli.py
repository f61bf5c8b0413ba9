"""The command `preread`: parses, calls, prints. Each command imports what it needs when it is called,
so that `preread --help` answers at once."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.settings import Settings

app = typer.Typer(
    help="Draft chest X-ray reports in the PACS before the radiologist opens the study. AI drafts, not verified.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

reports_app = typer.Typer(help="Reports of earlier exams from outside DICOM.", no_args_is_help=True)
app.add_typer(reports_app, name="reports")

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Folder with agent.toml, peers.toml, reading.toml; without it, built-in defaults."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

EXIT_WRONG_CONFIG = 2


def main() -> None:
    """Entry point of the console script."""
    app()


def _settings(config: Path | None) -> "Settings":
    from config.loading import ConfigError, load

    try:
        return load(config)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(EXIT_WRONG_CONFIG) from None


@app.command()
def serve(config: Config = None) -> None:
    """Listen for studies, gather priors, deliver drafts; starts the reader too, unless reading.toml says not to."""
    settings = _settings(config)
    # pydicom imports every pixel decoder that it finds, some 20 MB; this process decodes nothing. Only
    # dicomweb-client cannot be imported without pillow.
    needs_pillow = any(archive.retrieve == "dicomweb" for archive in settings.peers.archives)
    for decoder in ("gdcm",) if needs_pillow else ("gdcm", "PIL"):
        sys.modules.setdefault(decoder, None)  # type: ignore[arg-type]
    from agent import service

    service.configure_log(settings)
    if not service.serve(settings):
        raise typer.Exit(1)


@app.command()
def read(
    config: Config = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Stop when this process is gone.")] = None,
) -> None:
    """Load the model and read waiting cases: the process that needs the GPU."""
    from agent import service

    settings = _settings(config)
    service.configure_log(settings)
    if not service.read(settings, parent):
        raise typer.Exit(1)


@app.command()
def check(
    config: Config = None,
    model: Annotated[bool, typer.Option(help="Open the model too (seconds, and its memory).")] = True,
) -> None:
    """Load the configuration, greet every peer, open the model; writes nothing. Exit 1 if something is wrong."""
    from agent import checking

    settings = _settings(config)
    lines = checking.check(settings, open_model=model)
    for line in lines:
        typer.echo(f"{'ok     ' if line.ok else 'PROBLEM'} {line.text}")
    if not all(line.ok for line in lines):
        raise typer.Exit(1)


@app.command()
def status(config: Config = None, as_json: AsJson = False, limit: int = 20) -> None:
    """What waits, what is on its way, what went wrong and what to do about it."""
    from agent import overview

    settings = _settings(config)
    report = overview.status(settings, limit)
    typer.echo(json.dumps(report, indent=2, ensure_ascii=False) if as_json else overview.status_text(report))


@app.command()
def why(study: str, config: Config = None) -> None:
    """The whole life of one study: who sent it, why complete, which priors and why not others, what the model said."""
    from agent import overview

    _say_or_exit(lambda: overview.why_text(_settings(config), study))


@app.command()
def ask(
    study: str,
    task: Annotated[
        str,
        typer.Argument(
            help="phrase, finding, findings, abnormal, region, organ, question, difference, view, plain, summary or "
            "differential; which of them a model knows, it says."
        ),
    ],
    text: Annotated[
        str, typer.Argument(help="The phrase, finding, region, organ or question; findings with commas.")
    ] = "",
    config: Config = None,
    as_json: AsJson = False,
    image: Annotated[
        str | None, typer.Option(help="SOP Instance UID of the image; without it, the first frontal one.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="File for the image with the answer's boxes, such as answer.png.")
    ] = None,
) -> None:
    """Ask the model one thing about a study that was read. Opens the model in this process (its memory, again)."""
    from agent import asking
    from agent.errors import GiveUp

    try:
        question = asking.question_of(task, text, image)
        answer = asking.ask(_settings(config), study, question, picture)
    except GiveUp as error:
        typer.echo(error.reason, err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(asking.as_json(answer), indent=2, ensure_ascii=False))
    else:
        typer.echo(asking.as_text(answer))


@app.command()
def again(study: str, config: Config = None) -> None:
    """Read a study once more, as the next revision."""
    from agent import service

    store = service.open_store(_settings(config))
    try:
        job = store.jobs.again(study, service.system_clock())
    except LookupError as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    typer.echo(f"job {job.number} opened: study {study}, revision {job.revision}")


patients = typer.Typer(
    help="Which patient numbers are one patient. A number is written ID^^^ISSUER, as in HL7, or ID alone.",
    no_args_is_help=True,
)
app.add_typer(patients, name="patients")


@patients.command("list")
def list_links(config: Config = None, limit: int = 100) -> None:
    """The links in force, newest first."""
    from agent import linking

    typer.echo(linking.listed(_settings(config), limit))


@patients.command()
def link(
    old: str,
    surviving: str,
    config: Config = None,
    reason: Annotated[str, typer.Option(help="For the history.")] = "merge",
) -> None:
    """Make every study under the number OLD one of the patient SURVIVING. Files, jobs and drafts stay as they are."""
    from agent import linking

    _say_or_exit(lambda: linking.link(_settings(config), old, surviving, reason))


@patients.command()
def unlink(number: int, config: Config = None) -> None:
    """Take back the link of this number, as `preread patients list` shows it."""
    from agent import linking

    _say_or_exit(lambda: linking.unlink(_settings(config), number))


@patients.command()
def history(identifier: str, config: Config = None) -> None:
    """Every link from or to a number: who made it and when, and who took it back."""
    from agent import linking

    _say_or_exit(lambda: linking.history(_settings(config), identifier))


def _say_or_exit(act: "Callable[[], str]") -> None:
    try:
        typer.echo(act())
    except (LookupError, ValueError) as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None


@app.command()
def scores(
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, help="Jobs to look at, the newest first.")] = 1000,
) -> None:
    """The model's scores of the studies read last, as CSV with an empty column for the truth: see calibrate."""
    from agent import calibrating

    typer.echo(calibrating.scores_csv(_settings(config), limit), nl=False)


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


@app.command()
def send(
    folder: Path,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 11112,
    called: Annotated[str, typer.Option(help="AE title of the receiver.")] = "PREREAD",
    calling: Annotated[str, typer.Option(help="AE title to send as.")] = "PREREAD_SEND",
) -> None:
    """Send every DICOM file below a folder to an AE, as a modality would; a file that is none is named and left out."""
    from agent import sending

    outcome = sending.send_folder(folder, host, port, called, calling)
    for line in outcome.problems:
        typer.echo(line, err=True)
    typer.echo(f"{outcome.taken} taken, {len(outcome.problems)} not")
    if outcome.problems:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the objects, the pictures and the page.")] = Path(
        "demo-out"
    ),
    as_json: AsJson = False,
    patients: Annotated[int, typer.Option(min=1, max=12, help="How many synthetic patients.")] = 12,
) -> None:
    """A whole hospital on loopback: synthetic patients in, drafts back. Exit 0 if every draft came back."""
    from agent.demo import run

    if not run.demo(out, patients=patients, as_json=as_json):
        sys.exit(1)


@reports_app.command("import")
def import_reports(
    path: Annotated[
        Path, typer.Argument(exists=True, help="HL7, CSV, JSON or JSON lines; or a folder of them.")
    ],
    config: Config = None,
    dry_run: Annotated[bool, typer.Option(help="Read and count, store nothing.")] = False,
    limit: Annotated[int, typer.Option(help="How many refusals to print.")] = 20,
) -> None:
    """Take reports in from files; what is no report is named with its reason. Exit 1 if something was refused."""
    from agent import report_desk, service

    settings = _settings(config)
    service.configure_log(settings)
    count = report_desk.import_files(settings, path, is_dry_run=dry_run)
    typer.echo(report_desk.count_text(count, limit, is_dry_run=dry_run))
    if count.refused:
        raise typer.Exit(1)


@reports_app.command("list")
def list_reports(config: Config = None, limit: int = 20) -> None:
    """The report versions that came last: where from, how final, of which study; never their text."""
    from agent import report_desk

    typer.echo(report_desk.list_text(_settings(config), limit))


@reports_app.command()
def quarantine(config: Config = None, limit: int = 100) -> None:
    """The messages that could not be taken, why, and where their bytes are."""
    from agent import report_desk

    typer.echo(report_desk.quarantine_text(_settings(config), limit))


@reports_app.command()
def replay(
    number: Annotated[
        int | None, typer.Argument(help="Of the message; without it, all in quarantine.")
    ] = None,
    config: Config = None,
) -> None:
    """Take messages in quarantine in once more, after an update or a change of settings. Exit 1 if one stays."""
    from agent import report_desk, service

    settings = _settings(config)
    service.configure_log(settings)
    lines, are_all_taken = report_desk.replay(settings, number)
    for line in lines:
        typer.echo(line)
    if not are_all_taken:
        raise typer.Exit(1)
