"""How far weights in 8 or 4 bits lead the demo model away from what it says in full.

`python -m bench.rounded --cases 40` prints a table; the cases are held-out synthetic ones, read on the CPU.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.case import Case
from inference.engine import Engine, open_engine
from inference.engines.m4cxr import DEMO_WEIGHTS
from inference.engines.m4cxr.loading import load_model
from inference.engines.m4cxr.model import M4CXR
from inference.engines.m4cxr.preprocess import pixel_values
from inference.engines.m4cxr.prompts import render, report_plans
from inference.engines.m4cxr.tokens import Vocabulary, open_vocabulary
from inference.engines.opening import Place
from inference.phantom.cases import HELD_OUT_SEED_MIN, case
from inference.phantom.train.evaluate import drawn_case
from inference.reading import Reading

WEIGHTS = ("full", "int8", "int4")
SIDE_PX = 512


@dataclass(frozen=True, slots=True)
class Difference:
    """Between a reading with rounded weights and the one in full, of one case.

    Attributes:
        logits: largest difference over the conversation of the report, and over those places what their spread is.
        same: whether the findings, the report's words and the names found are the same.
    """

    logits: float
    spread: float
    same: tuple[bool, bool, bool]


def logits_of(model: M4CXR, vocabulary: Vocabulary, one: Case, spoken: Reading) -> Tensor:
    """Gives the logits (T, W) of the first plan's conversation, with the answers that were given in full."""
    plan = report_plans(one)[0]
    said = [turn.answer for turn in spoken.turns[:2]]
    ids = torch.tensor([vocabulary.ids(render([plan.findings_question, plan.report_question], said))])
    pixels = pixel_values([image.pixels for image in plan.images], model.config.image_size_px)
    with torch.inference_mode():
        logits: Tensor = model(pixels, ids)[0]
    return logits


def difference(full: tuple[Reading, Tensor], rounded: tuple[Reading, Tensor]) -> Difference:
    """Compares what was read in full with what was read otherwise."""
    (ours, ours_logits), (other, other_logits) = full, rounded
    same = (
        ours.turns[0].answer == other.turns[0].answer,
        ours.report == other.report,
        {finding.name for finding in ours.findings} == {finding.name for finding in other.findings},
    )
    return Difference(float((ours_logits - other_logits).abs().max()), float(ours_logits.std()), same)


def measure(cases: int) -> tuple[Mapping[str, list[Difference]], Mapping[str, int]]:
    """Reads cases with every kind of weights; gives the differences, and the bytes of each model."""
    engines: dict[str, Engine] = {kind: open_engine("m4cxr", device="cpu", weights=kind) for kind in WEIGHTS}
    models = {kind: load_model(DEMO_WEIGHTS, Place("cpu", torch.float32, kind)).model for kind in WEIGHTS}
    vocabulary = open_vocabulary(DEMO_WEIGHTS, models["full"].config)
    differences: dict[str, list[Difference]] = {kind: [] for kind in WEIGHTS}
    for seed in range(HELD_OUT_SEED_MIN, HELD_OUT_SEED_MIN + cases):
        one = drawn_case(*case(seed), SIDE_PX)
        spoken = {kind: engine.read(one) for kind, engine in engines.items()}
        thought = {kind: logits_of(model, vocabulary, one, spoken["full"]) for kind, model in models.items()}
        for kind in WEIGHTS:
            full = spoken["full"], thought["full"]
            differences[kind].append(difference(full, (spoken[kind], thought[kind])))
    kept = {kind: sum(t.nbytes for t in model.state_dict().values()) for kind, model in models.items()}
    return differences, kept


def table(differences: Mapping[str, list[Difference]], kept: Mapping[str, int]) -> str:
    """Writes the figures as rows of Markdown."""
    lines = ["| weights | MB | largest difference of a logit | findings equal | report equal | names equal |"]
    lines.append("|---|---|---|---|---|---|")
    for kind, every in differences.items():
        largest = f"{max(one.logits for one in every):.2f}"
        shares = [f"{sum(one.same[place] for one in every)} of {len(every)}" for place in range(3)]
        lines.append(" | ".join([f"| {kind}", f"{kept[kind] / 1e6:.1f}", largest, *shares]) + " |")
    spread = max(one.spread for one in differences["full"])
    return "\n".join([*lines, f"(the logits' own spread is {spread:.1f})", ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.rounded", description=__doc__)
    parser.add_argument("--cases", type=int, default=40)
    chosen = parser.parse_args(arguments)
    sys.stdout.write(table(*measure(chosen.cases)))


if __name__ == "__main__":
    main()
