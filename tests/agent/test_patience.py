"""Waits grow, and never beyond what is set."""

from hypothesis import given
from hypothesis import strategies as st

from agent.patience import Patience, pause_seconds

PATIENCE = Patience(
    attempts_max=3, retry_seconds_min=5, retry_seconds_max=600, lease_seconds=60, wait_seconds={}
)


@given(waited=st.floats(0, 1e7), jitter=st.floats(0, 1))
def test_a_pause_stays_between_the_shortest_and_the_longest_give_or_take_a_quarter(waited, jitter):
    assert 5 * 0.75 <= pause_seconds(waited, PATIENCE, jitter) <= 600 * 1.25


def test_waiting_doubles_until_the_longest_pause():
    waited, pauses = 0.0, []
    for _ in range(9):
        pauses.append(pause_seconds(waited, PATIENCE, 0.5))
        waited += pauses[-1]

    assert pauses == [5, 5, 10, 20, 40, 80, 160, 320, 600]
