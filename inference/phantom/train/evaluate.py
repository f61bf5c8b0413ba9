"""Measures a model folder on held-out synthetic cases, through the engine itself.

`python -m inference.phantom.train.evaluate --cases 1000` prints a table and writes it as JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

from inference.case import Case, Exam, Image, View
from inference.engine import Engine
from inference.engines.m4cxr import DEMO_WEIGHTS, open_m4cxr
from inference.engines.report_words import comparison_words
from inference.phantom.cases import HELD_OUT_SEED_MIN, SyntheticExam, case, in_pixels
from inference.phantom.findings import NAMES, change_between
from inference.phantom.train.saving import add_to_card
from inference.reading import Box, Change, Reading, Score, Status

PixelBox = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

NAMES_WITH_SIDE = tuple(name for name in NAMES if name not in ("cardiomegaly", "support devices"))
"""Findings of which the engine tells a side."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one reading got right, as countable facts.

    Attributes:
        truly, said: names present in truth and in the reading.
        changes: for each finding compared with the prior, whether the reading's change is the true one; a
            finding that was missed counts as wrong. Names with two devices that changed differently are left out,
            as the reading has one change for a name, and so are devices that are gone: it calls none absent.
        sides: for each finding that has a side and was named, whether it is right.
        overlaps: for each box that was drawn or said on a PA film, its IoU with its counterpart, else 0.
        compares: words of comparison in the report.
        scores: what the model gave each finding that it was asked for.
        seconds: the reading took.
    """

    truly: frozenset[str]
    said: frozenset[str]
    changes: tuple[bool, ...]
    sides: tuple[bool, ...]
    overlaps: tuple[float, ...]
    has_prior: bool
    compares: tuple[str, ...]
    problem_count: int
    seconds: float
    scores: tuple[Score, ...] = ()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m inference.phantom.train.evaluate", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed-start", type=int, default=HELD_OUT_SEED_MIN)
    parser.add_argument("--weights", type=Path, default=DEMO_WEIGHTS)
    parser.add_argument("--side-px", type=int, default=512, help="rows and columns of the films drawn")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--scores", type=Path, help="CSV for every score with its truth, for `preread calibrate`"
    )
    parser.add_argument("--card", action="store_true", help="put the figures into the weights' model card")
    chosen = parser.parse_args(arguments)
    seeds = range(chosen.seed_start, chosen.seed_start + chosen.cases)
    outcomes = evaluate(chosen.weights, seeds, chosen.side_px, chosen.processes, chosen.threads)
    figures = summary(outcomes)
    sys.stdout.write(table(figures))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if chosen.scores is not None:
        chosen.scores.write_text(scores_csv(outcomes), encoding="utf-8")
    if chosen.card:
        command = (
            f"python -m inference.phantom.train.evaluate --cases {chosen.cases} "
            f"--seed-start {chosen.seed_start} --side-px {chosen.side_px} "
            f"--processes {chosen.processes} --threads {chosen.threads}"
        )
        add_to_card(chosen.weights, figures=figures, figures_command=command)


def evaluate(
    weights: Path, seeds: Sequence[int], side_px: int, processes: int = 1, threads: int = 1
) -> list[Outcome]:
    """Lets engines, one in each process, read the case of every seed."""
    shares = [seeds[start::processes] for start in range(processes)]
    count = len(shares)
    # Spawned, not forked: a fork after torch has started its threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        read = executor.map(read_cases, [weights] * count, shares, [side_px] * count, [threads] * count)
        return [outcome for share in read for outcome in share]


def read_cases(weights: Path, seeds: Sequence[int], side_px: int, threads: int | None) -> list[Outcome]:
    """Opens the engine and lets it read the case of every seed."""
    engine = open_m4cxr(weights, device="cpu", threads=threads)
    return [_outcome_of(engine, seed, side_px) for seed in seeds]


def drawn_case(prior: SyntheticExam | None, current: SyntheticExam, side_px: int) -> Case:
    """Draws a case as the engine gets it, the prior with its report."""
    priors = () if prior is None else (_exam(prior, "prior", side_px, prior.report(None)),)
    return Case(_exam(current, "current", side_px, None), priors, current.indication)


def outcome(
    prior: SyntheticExam | None, current: SyntheticExam, reading: Reading, side_px: int, seconds: float
) -> Outcome:
    """Compares a reading with the truth."""
    present = [finding for finding in reading.findings if finding.status is Status.PRESENT]
    said, truly = {finding.name: finding for finding in present}, frozenset(current.names)
    sides = {name: {f.side for f in current.findings if f.name == name} for name in NAMES_WITH_SIDE}
    said_changes = {finding.name: finding.change for finding in reading.findings}
    true_changes = {} if prior is None else changes_between(prior, current)
    return Outcome(
        truly=truly,
        said=frozenset(said),
        changes=tuple(said_changes.get(name) is change for name, change in true_changes.items()),
        sides=tuple(
            {said[name].side} == sides[name] for name in NAMES_WITH_SIDE if name in said and sides[name]
        ),
        overlaps=tuple(
            overlap
            for name in sorted(truly)
            for overlap in overlaps(
                [in_pixels(box, side_px, side_px) for box in current.boxes(name)],
                [_edges(box) for box in (said[name].boxes if name in said else ())],
            )
        ),
        has_prior=prior is not None,
        compares=comparison_words(reading.report),
        problem_count=len(reading.problems),
        seconds=seconds,
        scores=reading.scores,
    )


def changes_between(prior: SyntheticExam, current: SyntheticExam) -> dict[str, Change]:
    """Tells the true change of each finding name that is in either exam, where a reading can tell it."""
    before = {finding.identity: finding for finding in prior.findings}
    now = {finding.identity: finding for finding in current.findings}
    changes: dict[str, set[Change]] = {}
    for identity in before | now:
        changes.setdefault(identity[0], set()).add(change_between(before.get(identity), now.get(identity)))
    told = {name: kinds.pop() for name, kinds in changes.items() if len(kinds) == 1}
    if told.get("support devices") is Change.RESOLVED:
        del told["support devices"]
    return told


def overlaps(drawn: Sequence[PixelBox], said: Sequence[PixelBox]) -> tuple[float, ...]:
    """Pairs boxes by their greatest intersection over union; a box without counterpart gives 0.0."""
    pairs = sorted(((iou(d, s), i, j) for i, d in enumerate(drawn) for j, s in enumerate(said)), reverse=True)
    found: dict[int, float] = {}
    used: set[int] = set()
    for overlap, i, j in pairs:
        if i not in found and j not in used:
            found[i] = overlap
            used.add(j)
    alone = max(len(drawn), len(said)) - len(found)
    return (*found.values(), *[0.0] * alone)


def iou(one: PixelBox, other: PixelBox) -> float:
    """Gives the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Sums up outcomes to figures; a share of nothing is None."""
    alone = [outcome for outcome in outcomes if not outcome.has_prior]
    with_prior = [outcome for outcome in outcomes if outcome.has_prior]
    return {
        "cases": len(outcomes),
        "cases_with_prior": len(with_prior),
        "findings_micro_f1": f1(outcomes, NAMES),
        "f1_by_finding": {name: f1(outcomes, (name,)) for name in NAMES},
        "never_drawn_but_said": sum(len(outcome.said - set(NAMES)) for outcome in outcomes),
        "change_correct": _mean(right for outcome in outcomes for right in outcome.changes),
        "changes": sum(len(outcome.changes) for outcome in outcomes),
        "side_correct": _mean(right for outcome in outcomes for right in outcome.sides),
        "mean_box_iou": _mean(overlap for outcome in outcomes for overlap in outcome.overlaps),
        "boxes": sum(len(outcome.overlaps) for outcome in outcomes),
        "comparison_wording_without_prior": sum(bool(outcome.compares) for outcome in alone),
        "cases_with_problems": sum(bool(outcome.problem_count) for outcome in outcomes),
        "seconds_a_case_with_prior": _mean(outcome.seconds for outcome in with_prior),
        "seconds_a_case_without_prior": _mean(outcome.seconds for outcome in alone),
    }


def f1(outcomes: Sequence[Outcome], names: Iterable[str]) -> float | None:
    """Gives the micro F1 over these names, or None if none of them is there or said."""
    asked = frozenset(names)
    right = sum(len(outcome.truly & outcome.said & asked) for outcome in outcomes)
    either = sum(len(outcome.truly & asked) + len(outcome.said & asked) for outcome in outcomes)
    return 2 * right / either if either else None


def table(figures: dict[str, Any]) -> str:
    """Writes the figures for reading."""
    lines: list[str] = []
    for name, figure in figures.items():
        rows = figure.items() if isinstance(figure, dict) else ((name, figure),)
        for row, number in rows:
            shown = "-" if number is None else f"{number:.4f}" if isinstance(number, float) else str(number)
            lines.append(f"{row.replace('_', ' '):<34} {shown:>10}\n")
    return "".join(lines)


def scores_csv(outcomes: Iterable[Outcome]) -> str:
    """Writes each score with whether its finding was drawn, as `preread calibrate` takes them."""
    lines = [
        f"{score.name},{score.value!r},{int(score.name in outcome.truly)}\n"
        for outcome in outcomes
        for score in outcome.scores
    ]
    return "".join(["finding,score,truth\n", *lines])


def _outcome_of(engine: Engine, seed: int, side_px: int) -> Outcome:
    prior, current = case(seed)
    drawn = drawn_case(prior, current, side_px)
    began = perf_counter()
    reading = engine.read(drawn)
    seconds = perf_counter() - began
    return outcome(prior, current, reading, side_px, seconds)


def _exam(exam: SyntheticExam, key: str, side_px: int, report: str | None) -> Exam:
    images = (Image(f"{key} {view}", exam.draw(view, side_px, side_px), View(view)) for view in exam.views)
    return Exam(tuple(images), report, exam.days_before_last)


def _edges(box: Box) -> PixelBox:
    return box.left, box.top, box.right, box.bottom


def _mean(numbers: Iterable[float]) -> float | None:
    every = list(numbers)
    return sum(every) / len(every) if every else None


if __name__ == "__main__":
    main()
