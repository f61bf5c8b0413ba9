"""The bounded part of `make fuzz` at the port: a real listener under attack, and an honest sender after it."""

import pytest

from tests.fuzz.port import besiege
from tests.fuzz.siege import ATTACKS

# What the attacks are made of is wrong on purpose.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_a_listener_under_attack_still_stores_and_has_nothing_left_over() -> None:
    siege = besiege(1000, seed=3)

    assert siege.failures == []
    assert siege.associations == 1000


def test_the_shares_of_the_attacks_are_whole() -> None:
    assert all(share >= 1 for share in ATTACKS.values())
