"""Scores become probabilities by numbers that can be checked by hand, and only those of the right weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.calibration import Calibration, calibrated, fit, fitted, probability, quality
from inference.reading import EngineIdentity, Reading, Score

OWN, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def a_reading(*scores: Score) -> Reading:
    return Reading((), "", (), EngineIdentity("m4cxr", "1", "M4CXR", OWN), ("before",), scores=scores)


def a_calibration(finding: str = "edema", digest: str = OWN, **line: float) -> Calibration:
    return Calibration(
        finding, **{"slope": 1.0, "intercept": 0.0, **line}, fitted_on="9 cases", weights_digest=digest
    )


def drawn(count: int, slope: float, intercept: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and truths that occur as often as this line says."""
    random = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-random.normal(0, 2, count)))
    return scores, random.random(count) < probability(scores, slope, intercept)


def test_the_line_that_made_the_truths_is_found_again():
    slope, intercept = fit(*drawn(100_000, slope=0.6, intercept=-0.8))

    assert slope == pytest.approx(0.6, abs=0.02)
    assert intercept == pytest.approx(-0.8, abs=0.02)


def test_two_scores_get_the_shares_of_their_cases_but_for_platts_caution():
    scores = np.array([0.2] * 10 + [0.8] * 10)
    truths = np.array([True] * 2 + [False] * 8 + [True] * 9 + [False])

    low, high = probability(np.array([0.2, 0.8]), *fit(scores, truths))

    present, absent = 12 / 13, 1 / 11  # 11 cases are present, 9 absent
    assert low == pytest.approx((2 * present + 8 * absent) / 10)
    assert high == pytest.approx((9 * present + 1 * absent) / 10)


def test_scores_that_divide_the_cases_perfectly_get_a_line_that_ends():
    slope, intercept = fit(np.array([0.0] * 30 + [1.0] * 10), np.array([False] * 30 + [True] * 10))

    low, high = probability(np.array([0.0, 1.0]), slope, intercept)
    assert (low, high) == (pytest.approx(1 / 32), pytest.approx(11 / 12))


def test_scores_that_say_nothing_get_the_share_of_all_cases():
    line = fit(np.full(40, 0.7), np.array([True] * 10 + [False] * 30))

    assert probability(np.array([0.7]), *line)[0] == pytest.approx((10 * 11 / 12 + 30 / 32) / 40)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60))
def test_every_table_with_both_kinds_of_case_has_a_fit(rows):
    scores, truths = np.array([score for score, _ in rows]), np.array([truth for _, truth in rows])
    if truths.all() or not truths.any():
        with pytest.raises(ValueError, match="both kinds are needed"):
            fit(scores, truths)
        return

    fitted_probabilities = probability(scores, *fit(scores, truths))

    assert ((fitted_probabilities > 0) & (fitted_probabilities < 1)).all()


def test_a_thousand_tables_with_scores_at_the_ends_have_a_fit_where_the_loss_is_lowest():
    random = np.random.default_rng(7)
    for _ in range(1_000):
        scores = random.random(count := int(random.integers(2, 60)))
        scores = np.where(random.random(count) < 0.3, random.integers(0, 2, count), scores)
        truths = random.random(count) < 0.7
        truths[:2] = [True, False]

        said = probability(scores, *fit(scores, truths))

        present, absent = truths.sum(), (~truths).sum()
        wanted = present * (present + 1) / (present + 2) + absent / (absent + 2)
        assert said.sum() == pytest.approx(wanted, abs=1e-6)  # the loss has no slope along the intercept


def test_scores_equal_but_for_rounding_are_equal():
    truths = np.array([True] * 10 + [False] * 30)
    scores = 0.7 + np.random.default_rng(1).normal(0, 1e-8, 40)

    slope, intercept = fit(scores, truths)

    assert slope == 0
    assert probability(np.array([0.2]), slope, intercept)[0] == pytest.approx((10 * 11 / 12 + 30 / 32) / 40)


def test_quality_is_what_a_hand_computes():
    measured = quality(np.array([0.95, 0.95, 0.05]), np.array([True, False, False]))

    assert measured.brier == pytest.approx((0.05**2 + 0.95**2 + 0.05**2) / 3)
    assert measured.calibration_error == pytest.approx((abs(1.9 - 1) + abs(0.05 - 0)) / 3)


def test_on_cases_it_has_not_seen_a_fit_is_nearer_to_truth_than_scores_that_boast():
    result = fitted(*drawn(3_000, slope=0.3, intercept=-1.0))

    assert result.held_out_count == 1_000
    assert result.after.brier < result.before.brier - 0.02
    assert result.after.calibration_error < result.before.calibration_error / 2


def test_too_few_cases_are_refused_with_their_number():
    scores = np.full(40, 0.5)

    with pytest.raises(ValueError, match="19 present and 21 absent, at least 20 of each"):
        fitted(scores, np.arange(40) < 19)


def test_a_score_keeps_its_raw_value_beside_the_calibrated_one():
    reading = calibrated(
        a_reading(Score("edema", 0.8), Score("fracture", 0.3)), [a_calibration(intercept=np.log(2))]
    )

    edema, fracture = reading.scores
    assert (edema.value, edema.calibrated_on) == (0.8, "9 cases")
    assert edema.calibrated == pytest.approx(8 / 9)
    assert fracture == Score("fracture", 0.3)
    assert reading.problems == ("before",)


def test_a_calibration_of_other_weights_is_not_used_and_that_is_said():
    reading = calibrated(a_reading(Score("edema", 0.8)), [a_calibration(digest=OTHER)])

    assert reading.scores == (Score("edema", 0.8),)
    assert reading.problems[1:] == (
        "The calibration of edema was fitted to weights sha256:222222222222... and these are "
        "sha256:111111111111...; it was not used.",
    )


def test_a_calibration_without_a_score_is_told():
    reading = calibrated(a_reading(), [a_calibration("oedema")])

    assert reading.problems[1:] == ("There is a calibration of oedema, and no score to use it on.",)


def test_without_calibrations_a_reading_is_left_as_it_is():
    assert calibrated(a_reading(Score("edema", 0.8)), []) == a_reading(Score("edema", 0.8))
