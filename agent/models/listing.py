"""The models that preread can run, beside what the configuration says and what lies in its folder."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config.settings import Settings
from inference.folders import look_into
from inference.published import DEMO_FOLDER, PUBLISHED, PublishedModel, in_bytes


@dataclass(frozen=True, slots=True)
class Listed:
    """One model, and how it stands with this configuration.

    Attributes:
        folder: where its weights are by the configuration; None if the configuration names another model.
        problems: what is wrong with that folder or its licence, as sentences.
        weight_bytes: of the weights in the folder; None without one.
        commit: what `preread models pull` fetched; None if it did not.
    """

    model: PublishedModel
    folder: Path | None = None
    problems: tuple[str, ...] = ()
    weight_bytes: int | None = None
    commit: str | None = None


def listed(settings: Settings) -> tuple[Listed, ...]:
    """Lists every model; looks into the folder of the one that reading.toml names."""
    return tuple(_listed(model, settings) for model in PUBLISHED)


def list_text(models: tuple[Listed, ...]) -> str:
    """Writes the list for a person."""
    return "\n\n".join("\n".join(_lines(one)) for one in models)


def list_json(models: tuple[Listed, ...]) -> list[dict[str, Any]]:
    """Gives the list for programs."""
    return [
        asdict(one.model)
        | {
            "is_configured": one.folder is not None,
            "folder": one.folder and str(one.folder),
            "problems": one.problems,
            "weight_bytes": one.weight_bytes,
            "commit": one.commit,
        }
        for one in models
    ]


def _listed(model: PublishedModel, settings: Settings) -> Listed:
    engine = settings.reading.engine
    is_demo = model.repository is None
    if engine.name != model.engine or is_demo != (engine.model_folder is None):
        return Listed(model)
    look = look_into(engine.model_folder or DEMO_FOLDER, allow_pickled=engine.allow_pickled_weights)
    problems = list(look.problems)
    if (problem := look.problem_for(model.engine)) is not None:
        problems.append(problem)
    if look.path.is_dir() and not look.has_vocabulary:
        problems.append(f"{look.path} holds neither tokenizer.model nor tokenizer.json; fetch it again")
    if not is_demo and not model.fits_licence(engine.accepted_licence):
        problems.append(
            f'accepted_licence in reading.toml is "{engine.accepted_licence}"; '
            f'the published weights are under "{model.licence}"'
        )
    commit = (look.source or {}).get("commit")
    return Listed(model, look.path, tuple(problems), look.weight_bytes, commit)


def _lines(one: Listed) -> Iterator[str]:
    model = one.model
    where = model.repository or "in this package"
    gated = ", gated" if model.is_gated else ""
    yield f"{model.name}: {model.title}, {in_bytes(round(model.gigabytes * 1e9))}, {where}{gated}"
    yield f"  does      {model.does}"
    yield f"  for       {model.intended_use}"
    yield f"  licence   {model.licence}; {model.licence_notes}"
    if model.seen_commit:
        yield f"  revision  {model.seen_commit} has been seen"
    if one.folder is None:
        return
    commit = f", commit {one.commit}" if one.commit else ""
    yield f"  CONFIGURED: {one.folder}{commit}"
    if one.problems:
        yield from (f"  PROBLEM   {problem}" for problem in one.problems)
    else:
        accepted = "complete" if model.repository is None else "complete, and its licence is accepted"
        yield f"  ok        {in_bytes(one.weight_bytes or 0)} of weights, {accepted}"
