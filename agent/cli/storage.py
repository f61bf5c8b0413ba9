"""Commands about what is on the disk."""

from typing import Annotated

import typer

from agent.cli.options import Config, settings_of

app = typer.Typer()


@app.command()
def scrub(
    config: Config = None,
    mb_per_second: Annotated[
        float,
        typer.Option(min=0, help="Read no faster, so that the disk stays free for arrivals; 0: no limit."),
    ] = 20.0,
    set_aside: Annotated[
        bool,
        typer.Option(help="Move damaged files out of the way, so that the same images can be sent again."),
    ] = False,
) -> None:
    """Read every stored file and compare it with its digest. May run beside the service. Exit 1 if one is damaged."""
    from agent import scrubbing
    from agent.store import existing_store
    from storage.inventory import Inventory

    store = existing_store(settings_of(config))
    read = (0, 0)

    def told(count: int, size_bytes: int) -> None:
        nonlocal read
        read = count, size_bytes

    damaged = 0
    for damage in scrubbing.scrub(Inventory(store.database), store.files, mb_per_second * 1e6, told=told):
        damaged += 1
        path = damage.file.path
        typer.echo(scrubbing.what_to_do(damage, store.files.absolute(path)), err=True)
        if set_aside and not damage.is_missing:
            typer.echo(f"  set aside as {store.files.set_aside(path)}", err=True)
    store.database.close()
    typer.echo(f"{read[0]} files read ({read[1] / 1e6:.1f} MB), {damaged} damaged or missing")
    if damaged:
        raise typer.Exit(1)
