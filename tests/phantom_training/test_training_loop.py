"""The whole training, scaled down: it learns, it can be taken up again, and the engine opens what it saved."""

from pathlib import Path

import pytest

from inference.engine import open_engine
from inference.phantom.cases import HELD_OUT_SEED_MIN, case
from inference.phantom.train.__main__ import train
from inference.phantom.train.evaluate import drawn_case
from inference.phantom.train.recipe import TINY


@pytest.mark.slow
def test_a_tiny_training_learns_and_its_folder_opens_in_the_engine(tmp_path: Path) -> None:
    trained = train(TINY, tmp_path / "weights", tmp_path / "work", processes=1)

    for losses in (trained.losses["eye"], trained.losses["tongue"]):
        assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    engine = open_engine("m4cxr", model_folder=tmp_path / "weights", answer_tokens_max=40)
    reading = engine.read(drawn_case(*case(HELD_OUT_SEED_MIN), side_px=140))
    assert reading.engine.is_demo
    again = train(TINY, tmp_path / "weights", tmp_path / "work", processes=1)
    assert again.losses == {"eye": [], "tongue": [], "together": []}
    assert all(
        (weight == other).all()
        for weight, other in zip(trained.model.parameters(), again.model.parameters(), strict=True)
    )
