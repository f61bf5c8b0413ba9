"""The bounded part of `make fuzz`: each parser gets some thousand damaged inputs and answers all of them."""

from random import Random

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import shares
from tests.fuzz.campaign import run
from tests.fuzz.mutation import damaged_bytes, damaged_dataset

INPUTS = 15_000

# What the inputs are made of is wrong on purpose.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", sorted(shares()))
def test_a_parser_answers_every_damaged_input_in_time_and_memory(name: str) -> None:
    figures = run(name, seed=7, first=0, inputs=INPUTS * shares()[name] // 1000)

    assert figures.failures == []
    assert figures.inputs == INPUTS * shares()[name] // 1000
    assert figures.answers.total() == figures.inputs
    assert len(figures.answers) > 1 or name == "file meta", (
        "damage that always ends the same way tests little"
    )


def test_the_same_seed_makes_the_same_input() -> None:
    whole = corpus.files_of_reports()[0]

    first, again = (
        damaged_dataset(Random("x"), whole.content, whole.elements, is_implicit=False) for _ in range(2)
    )

    assert first == again != whole.content
    assert damaged_bytes(Random("y"), whole.content) == damaged_bytes(Random("y"), whole.content)
