"""Trains the demo model: `python -m inference.phantom.train --out inference/phantom/weights`."""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import torch
from torch import nn

from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.model import M4CXR
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.phantom.cases import EXAMS_MAX
from inference.phantom.train import language, vision
from inference.phantom.train.optimise import Stage
from inference.phantom.train.pool import Pool, cached_pool
from inference.phantom.train.recipe import FULL, TINY, Recipe
from inference.phantom.train.saving import save_weights
from inference.phantom.train.tokenizer import build_tokenizer

log = logging.getLogger("preread.train")

VALIDATION_EXAMS = 600
"""The last exams of the pool are not trained on but measured after each stage."""

_SHARES = {"eye": 0.35, "tongue": 0.4, "together": 0.25}
"""How a bounded time is spent on the three stages."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run leaves behind: the model, and the loss of every step of each stage (none if read back)."""

    model: M4CXR
    losses: dict[str, list[float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m inference.phantom.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument(
        "--work", type=Path, help="folder that keeps films and finished stages, to go on from"
    )
    parser.add_argument("--start", type=Path, help="folder of weights to start from, of the same recipe")
    parser.add_argument("--minutes", type=float, help="end the training, not the drawing, after so long")
    parser.add_argument("--processes", type=int, default=2, help="processes that draw films")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training")
    parser.add_argument(
        "--tiny", action="store_true", help="a proof of the loop in under a minute, of no use"
    )
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(chosen.threads)
    recipe = TINY if chosen.tiny else FULL
    with TemporaryDirectory() as fresh:
        work = chosen.work or Path(fresh)
        train(
            recipe, chosen.out, work, start=chosen.start, minutes=chosen.minutes, processes=chosen.processes
        )


def train(
    recipe: Recipe,
    out: Path,
    work: Path,
    *,
    start: Path | None = None,
    minutes: float | None = None,
    processes: int = 2,
) -> Trained:
    """Draws the films, trains the three stages one after another, and saves the model.

    Stages that an earlier run finished in `work` are read back rather than trained again.

    Args:
        start: weights of an earlier run to start from; None starts from random ones.
        minutes: for the three stages together, or None to take every step of the recipe.
    """
    torch.manual_seed(recipe.seed)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save(str(work / "tokenizer.json"))
    config = recipe.model_config(tokenizer.get_vocab_size())
    vocabulary = open_vocabulary(work, config)
    model, heads = M4CXR(config), vision.Heads(recipe.vision_width, recipe.text_width)
    if start is not None:
        model.load_state_dict(load_model(start).model.state_dict())
    pool = cached_pool(
        work / "films.pickle", range(recipe.patients), recipe.film_px, recipe.image_size_px, processes
    )
    trained_on, validation = split(pool)
    log.info("%d films, %d parameters", len(pool.films), sum(weight.numel() for weight in model.parameters()))

    teach = {
        "eye": partial(vision.train_eye, model, heads, trained_on, recipe),
        "tongue": partial(language.train_tongue, model, trained_on, vocabulary, recipe),
        "together": partial(language.train_together, model, heads, trained_on, vocabulary, recipe),
    }
    steps = {"eye": recipe.vision_steps, "tongue": recipe.language_steps, "together": recipe.joint_steps}
    began = monotonic()
    losses: dict[str, list[float]] = {}
    for name, teach_stage in teach.items():
        seconds_max = None if minutes is None else 60 * minutes * _SHARES[name]
        stage = Stage(name, steps[name], seconds_max, recipe.average_decay, log.info)
        losses[name] = _resumed(nn.ModuleList([model, heads]), work / f"{name}.pt", teach_stage, stage)
        log.info("%s: on validation exams %s", name, vision.seeing_report(model, heads, validation))
    card = {
        "recipe": asdict(recipe),
        "patient_seeds": f"0..{recipe.patients - 1}",
        "steps_taken": {name: len(stage_losses) for name, stage_losses in losses.items()},
        "training_seconds": round(monotonic() - began),
    }
    save_weights(model, tokenizer, out, card)
    return Trained(model, losses)


def split(pool: Pool) -> tuple[Pool, Pool]:
    """Parts a pool into what is trained on and what is measured: the last tenth, at most VALIDATION_EXAMS."""
    count = min(VALIDATION_EXAMS, len(pool.exams) // 10)
    # A patient's three exams stay together, or the model would be measured on people it knows.
    count -= count % EXAMS_MAX
    return Pool(pool.films, pool.exams[:-count]), Pool(pool.films, pool.exams[-count:])


def _resumed(
    pupil: nn.Module, finished: Path, teach: Callable[[Stage], list[float]], stage: Stage
) -> list[float]:
    """Trains one stage in place, or reads it back if it is finished; returns the losses of the steps taken."""
    if finished.is_file():
        pupil.load_state_dict(torch.load(finished, weights_only=True))
        stage.log(f"{stage.name}: read back from {finished}")
        return []
    losses = teach(stage)
    torch.save(pupil.state_dict(), finished)
    return losses


if __name__ == "__main__":
    main()
