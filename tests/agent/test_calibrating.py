"""`preread calibrate`: a table of scores and truths becomes what reading.toml takes, or a sentence."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from agent.casework import calibrations_of
from agent.cli import app
from config.loading import load
from inference.calibration import probability

DIGEST = f"sha256:{'ab' * 32}"


def a_table(folder: Path, *lines: str, header: str = "study,finding,score,truth") -> Path:
    path = folder / "scores.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def boasting(finding: str, count: int = 300) -> list[str]:
    """Lines of a model that leans too far: what it gives 0.97 is there in two of three cases."""
    random = np.random.default_rng(3)
    scores = random.choice([0.03, 0.97], count)
    truths = random.random(count) < np.where(scores > 0.5, 0.65, 0.3)
    pairs = zip(scores, truths, strict=True)
    return [f"1.2.{number},{finding},{score},{int(truth)}" for number, (score, truth) in enumerate(pairs)]


def run(table: Path, *, fitted_on: str = "300 cases", weights: str = DIGEST) -> tuple[int, str]:
    words = ["calibrate", str(table), "--fitted-on", fitted_on, "--weights", weights]
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output


def test_what_is_printed_is_taken_by_reading_toml(tmp_path: Path):
    code, said = run(a_table(tmp_path, *boasting("Edema"), *boasting("pleural effusion")))
    (tmp_path / "reading.toml").write_text(said)

    edema, effusion = calibrations_of(load(tmp_path))

    assert code == 0
    assert (edema.finding, effusion.finding) == ("edema", "pleural effusion")
    assert (edema.fitted_on, edema.weights_digest) == ("300 cases", DIGEST)
    assert probability(np.array([0.97]), edema.slope, edema.intercept)[0] == pytest.approx(0.65, abs=0.06)


def test_what_the_fit_is_worth_on_cases_it_has_not_seen_stands_above_it(tmp_path: Path):
    _, said = run(a_table(tmp_path, *boasting("edema")))

    comment = said.splitlines()[0]
    assert comment.startswith("# edema: ")
    assert "On 100 held-out cases: Brier score 0." in comment
    assert "expected calibration error 0." in comment


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["1,edema,0.9,1"] * 19 + ["1,edema,0.1,0"] * 30, "19 present, 30 absent. Left out: at least 20"),
        (["1,edema,0.9,0"] * 60 + ["1,edema,0.1,1"] * 60, "higher scores mean the finding less often"),
        (["1,edema,1,1"] * 60 + ["1,edema,0,0"] * 60, "it is no better than the scores themselves"),
    ],
)
def test_a_finding_that_cannot_be_calibrated_is_a_comment_that_says_why(
    tmp_path: Path, lines: list[str], why: str
):
    code, said = run(a_table(tmp_path, *lines))

    assert code == 0
    assert why in said
    assert "[[calibration]]" not in said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1,edema,1.2,1", 'line 2: score is "1.2", expected a number from 0 to 1'),
        ("1,edema,nan,1", 'line 2: score is "nan", expected a number from 0 to 1'),
        ("1,edema,0.5,yes", 'line 2: truth is "yes", expected 0 or 1'),
        ("1,,0.5,1", "line 2: no finding is named"),
    ],
)
def test_a_line_that_is_not_understood_is_one_sentence(tmp_path: Path, line: str, sentence: str):
    code, said = run(a_table(tmp_path, line))

    assert code == 1
    assert sentence in said


def test_cases_of_other_weights_or_without_a_truth_are_not_counted(tmp_path: Path):
    lines = [
        *(f"{DIGEST},{line.partition(',')[2]}" for line in boasting("edema")),
        *[f"sha256:{'0' * 64},edema,0.97,0"] * 500,
        *[f"{DIGEST},edema,0.97,"] * 500,
    ]

    _, said = run(a_table(tmp_path, *lines, header="weights_digest,finding,score,truth"))

    assert said == run(a_table(tmp_path, *boasting("edema")))[1]


def test_a_table_without_the_columns_or_without_cases_is_one_sentence(tmp_path: Path):
    assert "has no column truth" in run(a_table(tmp_path, header="finding,score"))[1]
    assert "holds no case" in run(a_table(tmp_path))[1]
    assert "cannot be read" in run(tmp_path / "nowhere.csv")[1]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"weights": "sha256:1"}, 'weights_digest does not fit reading.toml, which expects "sha256:" and 64'),
        ({"fitted_on": ""}, "fitted_on does not fit reading.toml, which expects one line of text"),
    ],
)
def test_what_reading_toml_would_not_take_is_refused(tmp_path: Path, wrong: dict[str, str], sentence: str):
    code, said = run(a_table(tmp_path, *boasting("edema")), **wrong)

    assert code == 1
    assert sentence in said
