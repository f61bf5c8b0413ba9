"""Commands about the models: `preread models`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import AsJson, Config, settings_of

app = typer.Typer(
    help="The models that preread can run: which there are, how to get one, whether it is what it should be.",
    no_args_is_help=True,
)


@app.command("list")
def models_list(config: Config = None, as_json: AsJson = False) -> None:
    """Every model with its licence, and whether the one that is configured is there, complete and accepted."""
    from agent.models import listing

    found = listing.listed(settings_of(config))
    as_text = json.dumps(listing.list_json(found), indent=2) if as_json else listing.list_text(found)
    typer.echo(as_text)


@app.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="As `preread models list` calls it.")],
    revision: Annotated[
        str, typer.Option(help="Commit hash; or a branch or tag, which becomes the commit it names today.")
    ],
    to: Annotated[Path, typer.Option(help="Folder for the weights.")],
    accept_licence: Annotated[
        str, typer.Option(help='The licence that you have read and accept, such as "CC-BY-NC-4.0".')
    ] = "",
    config: Config = None,
    token_env: Annotated[str, typer.Option(help="Environment variable that holds the hub's token.")] = "",
    token_file: Annotated[Path | None, typer.Option(help="File that holds the hub's token.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(envvar="HF_ENDPOINT", help="URL of a mirror; without it, the hub.")
    ] = None,
    with_bin: Annotated[
        bool, typer.Option("--bin", help="Fetch *.bin too; read only where allow_pickled_weights is set.")
    ] = False,
) -> None:
    """Fetch published weights at one commit, once their licence is accepted. Run again, it goes on where it stopped."""
    from agent.clock import system_clock
    from agent.errors import GiveUp
    from agent.models import consent, pulling
    from inference.published import in_bytes, published_model

    try:
        model = published_model(name)
        typer.echo(consent.terms_text(model))
        consent.check_licence(model, accept_licence, settings_of(config))
        hub = pulling.Hub(endpoint, consent.token_from(token_env, token_file))
        plan = pulling.plan(model, revision, hub, with_pickles=with_bin)
        typer.echo(f"Commit {plan.commit}: {len(plan.files)} files, {in_bytes(plan.size_bytes)}")
        digest = pulling.pull(plan, to, hub, model, system_clock())
    except (GiveUp, ValueError) as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{to} is complete, {digest or 'with no weights that preread reads'}")
    typer.echo(f"Next: preread models check {to}")


@app.command("check")
def models_check(
    folder: Annotated[
        Path | None, typer.Argument(help='Or "demo"; without it, the one that reading.toml names.')
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="A LoRA adapter to lay over the weights.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Would this folder open? Tensors, dimensions, tokenizer, adapter, digest, memory. Exit 1 if something is wrong."""
    from agent.models import wording
    from inference.published import DEMO_FOLDER, folder_called
    from inference.verification import check as check_folder

    engine = settings_of(config).reading.engine
    adapter = adapter or (engine.adapter_folder if folder is None else None)
    found = check_folder(
        folder_called(folder) if folder else engine.model_folder or DEMO_FOLDER,
        adapter,
        device=engine.device,
        dtype=engine.dtype,
        weights=engine.weights,
        answer_tokens_max=engine.answer_tokens_max,
        allow_pickled_weights=engine.allow_pickled_weights,
        engine_name=engine.name if folder is None else None,
    )
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else wording.check_text(found))
    if not found.passed:
        raise typer.Exit(1)


@app.command("verify")
def models_verify(
    folder: Annotated[Path, typer.Argument(help='Or "demo".')],
    device: Annotated[str, typer.Option(help="Where it is computed: cpu, cuda, cuda:1, or auto.")] = "cpu",
    dtype: Annotated[
        str,
        typer.Option(help="In which numbers: float32, bfloat16; auto is float32 on a CPU, else bfloat16."),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Check a folder, and compute its reference tensors: largest differences, bounds, PASS or FAIL. Exit 1 on FAIL."""
    from agent.models import wording
    from inference.published import folder_called
    from inference.verification import verify

    found = verify(folder_called(folder), device=device, dtype=dtype)
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else wording.verification_text(found))
    if not found.passed:
        raise typer.Exit(1)
