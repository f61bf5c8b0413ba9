"""Turns a model's leanings into probabilities, where somebody has held its scores against truth. Pure.

Platt scaling: of a score s the logit x = ln(s / (1 - s)), and p = 1 / (1 + exp(-(slope * x + intercept))).
J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999; solved as in H.-T. Lin, C.-J. Lin and
R. C. Weng, "A note on Platt's probabilistic outputs for support vector machines", Machine Learning 68, 2007.
A score of these models is a softmax over two answers, so its logit is the difference of their logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.reading import Reading, Score

CASES_OF_EACH_MIN = 20
"""Fewer cases with a finding, or without it, and the two numbers say more about chance than about the model."""

HELD_OUT_SHARE = 1 / 3
_SPLIT_SEED = 0
_SCORE_MIN = 1e-6
"""Scores nearer to 0 or 1 are taken for this: float32 rounds them to 0 and 1, whose logits are infinite."""

_BINS = 10
_STEPS_MAX = 100
_GRADIENT_MAX = 1e-9
"""Largest slope of the mean loss at which a fit has ended."""

_SPREAD_MIN = 1e-6
"""Of logits, as standard deviation; what differs less is float32's rounding of equal scores."""

_LOSS_ROUNDING = 1e-14
"""Of a loss; near the minimum a step gains less than that, and the loss can no longer tell a good one."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes the scores of one finding, by one set of weights, probabilities.

    Attributes:
        finding: as in Score.name.
        slope, intercept: of the score's logit.
        fitted_on: on which cases, in words; stands beside every number that comes of it.
        weights_digest: of the weights whose scores were fitted; those of others mean something else.
    """

    finding: str
    slope: float
    intercept: float
    fitted_on: str
    weights_digest: str


@dataclass(frozen=True, slots=True)
class Quality:
    """How well probabilities (or scores taken for such) agree with truth; 0 is best in both.

    Attributes:
        brier: mean squared difference, 0..1.
        calibration_error: expected calibration error: mean difference between what was said and how often it
            was true, over ten bins of equal width, each by its share of the cases.
    """

    brier: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """Slope and intercept from all cases, and what a fit to two thirds of them did for the held-out third."""

    slope: float
    intercept: float
    held_out_count: int
    before: Quality
    after: Quality


def calibrated(reading: Reading, calibrations: Sequence[Calibration]) -> Reading:
    """Puts calibrated values beside the scores of a reading; scores without a calibration stay as they are.

    A calibration of other weights, or of a finding without a score, becomes a problem of the reading.
    """
    digest = reading.engine.weights_digest
    own = {one.finding: one for one in calibrations if one.weights_digest == digest}
    foreign = [one for one in calibrations if one.weights_digest != digest]
    problems = list(reading.problems)
    if foreign:
        names = ", ".join(one.finding for one in foreign)
        problems.append(
            f"The calibration of {names} was fitted to weights {_short(foreign[0].weights_digest)} and these are "
            f"{_short(digest)}; it was not used."
        )
    unscored = set(own) - {score.name for score in reading.scores}
    if unscored:
        problems.append(
            f"There is a calibration of {', '.join(sorted(unscored))}, and no score to use it on."
        )
    scores = tuple(_with_calibration(score, own.get(score.name)) for score in reading.scores)
    return replace(reading, scores=scores, problems=tuple(problems))


def fit(scores: Numbers, truths: NDArray[np.bool_]) -> tuple[float, float]:
    """Finds slope and intercept by Newton's method with backtracking.

    Args:
        scores: (N,), 0..1.
        truths: (N,), whether the finding is there.

    Raises:
        ValueError: if all truths are alike, or no minimum is found.
    """
    present, absent = int(truths.sum()), int((~truths).sum())
    if not (present and absent):
        raise ValueError(f"{present} cases with the finding and {absent} without it: both kinds are needed")
    # Platt's targets: not quite 1 and 0, or scores that divide the cases perfectly would want an infinite slope.
    targets = np.where(truths, (present + 1) / (present + 2), 1 / (absent + 2))
    logits = _logit(scores)
    middle, spread = logits.mean(), logits.std()
    if spread < _SPREAD_MIN:
        logits, spread = np.full_like(logits, middle), 1.0
    # Standardized, or scores that hardly differ make a valley too narrow for steps of float64.
    design = np.stack([(logits - middle) / spread, np.ones(len(scores))], axis=1)  # (N, 2)
    line = np.array([0.0, np.log((present + 1) / (absent + 1))])  # slope, intercept
    for _ in range(_STEPS_MAX):
        chances = _chance(design @ line)  # (N,)
        gradient = design.T @ (chances - targets) / len(scores)  # (2,)
        if np.abs(gradient).max() < _GRADIENT_MAX:
            slope = line[0] / spread
            return float(slope), float(line[1] - slope * middle)
        curvature = (design * (chances * (1 - chances))[:, None]).T @ design / len(scores)  # (2, 2)
        # Where the scores are equal the slope is free: a trace of ridge leaves it where it is.
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        line = _stepped(line, step, gradient, design, targets)
    raise ValueError(f"no minimum was found in {_STEPS_MAX} steps")


def fitted(scores: Numbers, truths: NDArray[np.bool_]) -> Fitted:
    """Fits to all cases, and measures on a third of them what a fit to the other two thirds is worth.

    The third is drawn at random with a fixed seed, of cases with and without the finding alike.

    Raises:
        ValueError: if there are fewer than CASES_OF_EACH_MIN cases with or without the finding.
    """
    present, absent = int(truths.sum()), int((~truths).sum())
    if min(present, absent) < CASES_OF_EACH_MIN:
        raise ValueError(
            f"{present} present and {absent} absent, at least {CASES_OF_EACH_MIN} of each are needed"
        )
    is_held_out = _held_out(truths)
    line = fit(scores[~is_held_out], truths[~is_held_out])
    seen, true = scores[is_held_out], truths[is_held_out]
    return Fitted(
        *fit(scores, truths), len(seen), quality(seen, true), quality(probability(seen, *line), true)
    )


def probability(scores: Numbers, slope: float, intercept: float) -> Numbers:
    """Calibrates scores (N,) to probabilities (N,)."""
    return _chance(slope * _logit(scores) + intercept)


def quality(probabilities: Numbers, truths: NDArray[np.bool_]) -> Quality:
    """Measures probabilities (N,) against truth (N,)."""
    brier = float(np.mean((probabilities - truths) ** 2))
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)  # (N,)
    said = np.bincount(bins, probabilities, _BINS)  # (_BINS,), sums
    true = np.bincount(bins, truths, _BINS)
    return Quality(brier, float(np.abs(said - true).sum() / len(truths)))


def _with_calibration(score: Score, calibration: Calibration | None) -> Score:
    if calibration is None:
        return score
    (value,) = probability(np.array([score.value]), calibration.slope, calibration.intercept)
    return replace(score, calibrated=float(value), calibrated_on=calibration.fitted_on)


def _held_out(truths: NDArray[np.bool_]) -> NDArray[np.bool_]:
    random = np.random.default_rng(_SPLIT_SEED)
    is_held_out = np.zeros(len(truths), np.bool_)
    for kind in (truths, ~truths):
        places = np.flatnonzero(kind)
        is_held_out[random.permutation(places)[: round(len(places) * HELD_OUT_SHARE)]] = True
    return is_held_out


def _stepped(
    line: Numbers, step: NDArray[np.floating], gradient: Numbers, design: Numbers, targets: Numbers
) -> Numbers:
    """Takes a Newton step, halved until it lowers the loss as it should (Armijo), or as far as rounding tells."""
    loss, size = _loss(line, design, targets), 1.0
    loss += _LOSS_ROUNDING * max(1.0, loss)
    while size > 1e-10 and _loss(line - size * step, design, targets) > loss - 1e-4 * size * gradient @ step:
        size /= 2
    return line - size * step


def _loss(line: Numbers, design: Numbers, targets: Numbers) -> float:
    """Gives the mean cross-entropy."""
    logits = design @ line
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def _logit(scores: Numbers) -> Numbers:
    clipped = np.clip(scores, _SCORE_MIN, 1 - _SCORE_MIN)
    return np.log(clipped / (1 - clipped))


def _chance(logits: Numbers) -> Numbers:
    return np.exp(-np.logaddexp(0, -logits))


def _short(digest: str) -> str:
    return f"{digest[:19]}..." if len(digest) > 19 else digest
