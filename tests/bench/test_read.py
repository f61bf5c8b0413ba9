"""The measurement of a reading runs on any machine, through the code that measures a GPU."""

import pytest

from bench.read import KINDS, main, measure
from tests.inference.small import a_case


@pytest.mark.slow
def test_a_small_model_of_the_published_shape_is_measured_and_says_the_same_both_ways(capsys):
    main(["--shape=small", "--batches", "1", "2", "--rounds=1", "--side-px=140", "--answer-tokens-max=4"])

    said = capsys.readouterr().out
    assert "0 of 6 cases were not said alike" in said
    assert all(f"| {kind} | ours, 2 at once |" in said for kind in KINDS)
    assert "reading the weights at the memory's speed allows" in said
    assert said.count("Peak memory") == 3


def test_a_case_said_otherwise_than_the_plain_way_is_counted():
    edema, nothing = (("findings", "edema.", 3),), (("findings", "Not found.", 3),)
    ways = {"plain": lambda cases: [edema, edema], "ours": lambda cases: [edema, nothing]}

    tallies, differing = measure(ways, [[a_case(), a_case()]], "cpu")

    assert differing == 1
    assert (tallies["ours"].cases, tallies["ours"].tokens) == (2, 6)
