"""The line as a table."""

import pytest

from storage.jobs import ENDS, NEXT, STAGES
from storage.records import Stage


def test_every_stage_stands_in_the_table():
    assert tuple(NEXT) == STAGES == tuple(Stage)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ENDS])
def test_a_job_moves_one_step_right_or_sideways_to_an_end(stage: Stage):
    right = STAGES[STAGES.index(stage) + 1]

    assert NEXT[stage][0] == right
    assert {after for after in NEXT[stage] if STAGES.index(after) > STAGES.index(stage)} <= {right, *ENDS}


def test_only_a_refused_form_and_a_replay_lead_back():
    back = {
        (stage, after)
        for stage in STAGES
        for after in NEXT[stage]
        if STAGES.index(after) < STAGES.index(stage)
    }

    assert back == {(Stage.DELIVER, Stage.COMPOSE), (Stage.FAILED, Stage.DELIVER)}


def test_only_a_job_with_nothing_to_send_is_done_without_delivering():
    assert {stage for stage in STAGES if Stage.DONE in NEXT[stage]} == {Stage.COMPOSE, Stage.DELIVER}
