"""The films that the demo model learns from: drawn once by several processes, kept in memory with their truth."""

import pickle
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.engines.m4cxr.preprocess import grey_levels, model_square
from inference.geometry import MODEL_UNITS
from inference.phantom.cases import EXAMS_MAX, HELD_OUT_SEED_MIN, SyntheticExam, exams
from inference.phantom.findings import TrueFinding

PATIENTS_PER_CHUNK = 100

UnitBox = tuple[int, int, int, int]
"""Left, top, right, bottom of a box in 0..100 of the film's centre square, as M4CXR writes it."""


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """A drawn finding and its boxes on the PA film."""

    truth: TrueFinding
    boxes: tuple[UnitBox, ...]


@dataclass(frozen=True, slots=True)
class KnownExam:
    """What training knows of one exam.

    Attributes:
        films: places of its films in the pool's `films`, the PA one first.
        report: its findings text without a comparison.
        compared_report: its findings text against the exam before, or None for the patient's first one.
        previous: place of the exam before in the pool's `exams`, or None.
    """

    films: tuple[int, ...]
    findings: tuple[KnownFinding, ...]
    report: str
    compared_report: str | None
    previous: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Films uint8 (count, side, side), 0 = darkest, and the exams they belong to."""

    films: NDArray[np.uint8]
    exams: tuple[KnownExam, ...]

    def frontal_films(self) -> NDArray[np.int64]:
        """Returns the place of each exam's PA film, in the order of `exams`."""
        return np.array([exam.films[0] for exam in self.exams])


def draw_pool(seeds: Sequence[int], film_px: int, side_px: int, processes: int) -> Pool:
    """Draws every patient's exams on square films of `film_px`, and brings them to the model's `side_px`.

    Raises:
        ValueError: if a seed is among those kept for evaluation.
    """
    if max(seeds) >= HELD_OUT_SEED_MIN:
        raise ValueError(f"seed {max(seeds)} is held out for evaluation; train below {HELD_OUT_SEED_MIN}")
    chunks = [seeds[start : start + PATIENTS_PER_CHUNK] for start in range(0, len(seeds), PATIENTS_PER_CHUNK)]
    # Spawned, not forked: a fork after torch has started its threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        return join(executor.map(_draw_chunk, chunks, [film_px] * len(chunks), [side_px] * len(chunks)))


def cached_pool(path: Path, seeds: Sequence[int], film_px: int, side_px: int, processes: int) -> Pool:
    """Draws the pool, or reads it back from `path` where an earlier run of the same recipe left it."""
    if path.is_file():
        with path.open("rb") as stored:
            films, known = pickle.load(stored)
        return Pool(films, known)
    pool = draw_pool(seeds, film_px, side_px, processes)
    part = path.with_suffix(".part")
    with part.open("wb") as stored:
        pickle.dump((pool.films, pool.exams), stored, protocol=pickle.HIGHEST_PROTOCOL)
    part.rename(path)
    return pool


def join(pools: Iterable[Pool]) -> Pool:
    """Puts pools behind one another."""
    films: list[NDArray[np.uint8]] = []
    known: list[KnownExam] = []
    film_count = 0
    for pool in pools:
        exam_count = len(known)
        known += [_moved(exam, film_count, exam_count) for exam in pool.exams]
        films.append(pool.films)
        film_count += len(pool.films)
    return Pool(np.concatenate(films), tuple(known))


def _moved(exam: KnownExam, films_before: int, exams_before: int) -> KnownExam:
    return KnownExam(
        films=tuple(film + films_before for film in exam.films),
        findings=exam.findings,
        report=exam.report,
        compared_report=exam.compared_report,
        previous=None if exam.previous is None else exam.previous + exams_before,
    )


def _draw_chunk(seeds: Sequence[int], film_px: int, side_px: int) -> Pool:
    films: list[NDArray[np.uint8]] = []
    known: list[KnownExam] = []
    for seed in seeds:
        drawn = exams(seed, EXAMS_MAX)
        for before, exam in zip((None, *drawn), drawn, strict=False):
            places = range(len(films), len(films) + len(exam.views))
            drawings = (grey_levels(exam.draw(view, film_px, film_px)) for view in exam.views)
            films += [model_square(drawing, side_px) for drawing in drawings]
            known.append(_known(exam, before, tuple(places), len(known) - 1))
    return Pool(np.stack(films), tuple(known))


def _known(
    exam: SyntheticExam, before: SyntheticExam | None, films: tuple[int, ...], previous: int
) -> KnownExam:
    return KnownExam(
        films=films,
        findings=tuple(KnownFinding(finding, _unit_boxes(exam, finding)) for finding in exam.findings),
        report=exam.report(None),
        compared_report=None if before is None else exam.report(before),
        previous=None if before is None else previous,
    )


def _unit_boxes(exam: SyntheticExam, finding: TrueFinding) -> tuple[UnitBox, ...]:
    return tuple(
        tuple(round(MODEL_UNITS * edge) for edge in box)  # type: ignore[misc]
        for box in exam.boxes_of(finding, "PA")
    )
