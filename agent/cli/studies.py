"""Commands about studies: what waits, how one came to be read, and what can be done with it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import AsJson, Config, say_or_exit, settings_of, settings_to_look_with

app = typer.Typer()


@app.command()
def status(config: Config = None, as_json: AsJson = False, limit: int = 20) -> None:
    """What waits, what is on its way, what went wrong and what to do about it."""
    from agent import overview

    settings, problem = settings_to_look_with(config)
    report = {"configuration": problem, **overview.status(settings, limit)}
    typer.echo(json.dumps(report, indent=2, ensure_ascii=False) if as_json else overview.status_text(report))


@app.command("list")
def list_studies(
    config: Config = None,
    stage: Annotated[
        str | None, typer.Option(help="gather, read, compose, deliver, done, skipped or failed.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="90m, 12h, 3d, 2w, 2026-11-25 or 2026-11-25T08:00.")
    ] = None,
    patient_less: Annotated[
        bool, typer.Option("--patient-less", help="Only studies whose patient has no identifier.")
    ] = False,
    limit: int = 50,
    as_json: AsJson = False,
) -> None:
    """The studies that came last and how far each has come, without the patients."""
    from agent import listing
    from agent.clock import system_clock
    from agent.errors import GiveUp

    try:
        from_when = None if since is None else listing.since_of(since, system_clock())
        settings = settings_of(config)
        found = listing.listed(settings, limit, stage, from_when, only_without_patient=patient_less)
    except GiveUp as error:
        typer.echo(error.reason, err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(listing.as_json(found), indent=2))
    else:
        typer.echo(listing.as_text(found, with_second=settings.reading.second_engine is not None))


@app.command()
def why(study: str, config: Config = None) -> None:
    """The whole life of one study: who sent it, why complete, which priors and why not others, what the model said."""
    from agent import overview

    say_or_exit(lambda: overview.why_text(settings_of(config), study))


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
        answer = asking.ask(settings_of(config), study, question, picture)
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
    from agent.clock import system_clock
    from agent.operators import operator
    from agent.store import existing_store

    store = existing_store(settings_of(config))
    try:
        job = store.jobs.again(study, system_clock(), operator())
    except LookupError as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    typer.echo(f"job {job.number} opened: study {study}, revision {job.revision}")


Why = Annotated[str, typer.Option(help="For the history.")]


@app.command()
def hold(study: str, config: Config = None, why: Why = "") -> None:
    """Do nothing more with a study until it is released: no step, no delivery, no deletion."""
    from agent import keeping_desk

    say_or_exit(lambda: keeping_desk.hold(settings_of(config), study, why))


@app.command()
def release(study: str, config: Config = None) -> None:
    """Let a held study go on from where it is."""
    from agent import keeping_desk

    say_or_exit(lambda: keeping_desk.release(settings_of(config), study))


@app.command()
def delete(
    study: str,
    config: Config = None,
    why: Why = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a study: its images, drafts and life. What destinations have, they keep. Audited."""
    from agent import keeping_desk

    settings = settings_of(config)
    say_or_exit(lambda: keeping_desk.what_is_here(settings, study))
    if not yes and typer.prompt("Type the last four characters of the UID to delete it") != study[-4:]:
        typer.echo("not deleted", err=True)
        raise typer.Exit(1)
    say_or_exit(lambda: keeping_desk.delete(settings, study, why))


@app.command()
def export(
    study: str,
    out: Annotated[Path, typer.Option(help="Folder to make; one that is there must be empty.")],
    config: Config = None,
    deidentified: Annotated[
        bool, typer.Option("--deidentified", help="Without the patient; there is no other export.")
    ] = False,
    pixels_seen: Annotated[
        bool,
        typer.Option("--pixels-seen", help="I looked at the images: no text in them names anybody."),
    ] = False,
    without: Annotated[list[int] | None, typer.Option(help="Number of an image that stays out.")] = None,
    images_only: Annotated[
        bool, typer.Option("--images-only", help="Nothing that preread made goes along, but the life.")
    ] = False,
) -> None:
    """Hand over one study and what was made of it without its patient, for a report of a fault. Audited."""
    if not deidentified:
        typer.echo("a study leaves only without its patient: add --deidentified", err=True)
        raise typer.Exit(1)
    from agent.exporting.export import export as export_study

    settings = settings_of(config)
    chosen = {"pixels_seen": pixels_seen, "images_only": images_only}
    say_or_exit(lambda: export_study(settings, study, out, without=without or (), **chosen))


@app.command()
def withdraw(
    study: str,
    why: Annotated[
        str, typer.Option(help="The reason, without the patient's name; it goes to everybody told.")
    ],
    config: Config = None,
) -> None:
    """Take the drafts of a study back: whoever may hold one is told, and nothing else of it is sent any more."""
    from agent import withdrawing
    from agent.clock import system_clock

    say_or_exit(lambda: withdrawing.withdraw(settings_of(config), study, why, system_clock()))
