"""Two workers share an engine: one prepares while the other's case is read; what may end the process is done alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from agent.demo.pacs import MiniPacs
from agent.pairing import Pair
from agent.worker import Worker, stop_all
from storage.records import Stage
from tests.agent.line import PATIENCE, Line
from tests.builders import a_radiograph
from tests.end_to_end.conftest import wait_for
from tests.scripted_engine import ScriptedEngine, an_effusion

SECONDS = 20.0
"""Longer than anything here takes; what waits so long has failed."""


class Card(ScriptedEngine):
    """An engine that is in use until it is told to go on, and knows how many cases have come to it."""

    def __init__(self) -> None:
        super().__init__(self.in_use)
        self.is_on_card = True
        self.may_go_on = threading.Semaphore(0)
        self.came = threading.Semaphore(0)

    def in_use(self, case):
        self.came.release()
        assert self.may_go_on.acquire(timeout=SECONDS)
        return an_effusion(case)


@pytest.fixture
def card() -> Card:
    return Card()


@pytest.fixture
def studies(tmp_path, card) -> Iterator[tuple[Line, list[str]]]:
    """Two studies that are ready to be read, the first one first."""
    line = Line(tmp_path, MiniPacs("TESTPACS", tmp_path / "pacs"), engine=card)
    arrived = [line.arrive(a_radiograph(patient_id=name)) for name in ("first", "second")]
    line.wait(100)
    line.gather()
    yield line, arrived
    line.pacs.close()


@contextmanager
def both(line: Line) -> Iterator[tuple[Worker, Worker]]:
    """The leader, who begins, and the one who works ahead, not yet started."""
    pair = Pair()
    leader, ahead = (
        Worker(
            name,
            line.tools,
            PATIENCE,
            stages=(Stage.COMPOSE, Stage.READ),
            pair=pair,
            is_ahead=name == "ahead",
            poll_seconds=0.01,
        )
        for name in ("leader", "ahead")
    )
    leader.start()
    try:
        yield leader, ahead
    finally:
        line.engine.may_go_on.release(100)
        with suppress(RuntimeError):  # started in the test
            ahead.start()
        stop_all((leader, ahead), SECONDS)


def owner(line: Line, study: str) -> str | None:
    return line.job(study).lease_owner


def tried_before(line: Line, study: str) -> None:
    """Has a worker die with a job in hand, whose lease runs out."""
    claimed = line.tools.jobs.claim((Stage.READ,), "one that died", line.now, 1.0)
    assert claimed is not None
    assert claimed.study_instance_uid == study
    line.wait(2)


def test_while_one_case_is_read_the_next_one_comes_to_the_engine(studies, card):
    line, (first, second) = studies
    with both(line) as (_, ahead):
        assert card.came.acquire(timeout=SECONDS)
        ahead.start()

        assert card.came.acquire(timeout=SECONDS)
        assert (owner(line, first), owner(line, second)) == ("leader", "ahead")


def test_while_a_study_that_was_tried_before_is_read_nobody_else_begins(studies, card):
    line, (first, second) = studies
    tried_before(line, first)
    with both(line) as (_, ahead):
        assert card.came.acquire(timeout=SECONDS)
        ahead.start()

        assert not card.came.acquire(timeout=0.3)
        assert (owner(line, first), owner(line, second)) == ("leader", None)

        card.may_go_on.release()
        assert card.came.acquire(timeout=SECONDS)


def test_a_study_that_was_tried_before_waits_until_the_others_case_is_done(studies, card):
    line, (first, second) = studies
    pair = Pair()
    tried_before(line, first)
    ahead = pair.claim_ahead(
        lambda: line.tools.jobs.claim((Stage.READ,), "ahead", line.now, 60.0, only_untried=True)
    )
    assert ahead is not None
    assert ahead.study_instance_uid == second
    leader = Worker("leader", line.tools, PATIENCE, stages=(Stage.READ,), pair=pair, poll_seconds=0.01)
    leader.start()
    try:
        assert not card.came.acquire(timeout=0.3)
        assert owner(line, first) == "leader"

        pair.done_ahead()
        assert card.came.acquire(timeout=SECONDS)
    finally:
        card.may_go_on.release(100)
        stop_all((leader,), SECONDS)


def test_who_works_ahead_takes_nothing_that_was_tried_before(studies, card):
    line, (first, second) = studies
    tried_before(line, first)
    ahead = Worker("ahead", line.tools, PATIENCE, stages=(Stage.READ,), pair=Pair(), is_ahead=True)
    card.may_go_on.release(2)

    assert ahead.work_once()
    assert not ahead.work_once()
    assert [line.job(study).stage for study in (first, second)] == [Stage.READ, Stage.COMPOSE]


def test_an_error_while_claiming_leaves_the_pair_as_it_was(studies):
    pair = Pair()

    def away():
        raise OSError("the database is away")

    with pytest.raises(OSError, match="away"):
        pair.claim_ahead(away)
    with pair.alone():
        assert pair.claim_ahead(away) is None


def test_both_drafts_are_those_of_one_worker(studies, card):
    line, arrived = studies
    card.may_go_on.release(100)
    with both(line) as (_, ahead):
        ahead.start()
        wait_for("drafts", lambda: {line.job(study).stage for study in arrived} == {Stage.DELIVER}, SECONDS)
    line.run()

    assert [line.job(study).stage for study in arrived] == [Stage.DONE, Stage.DONE]
    assert [line.job(study).attempts for study in arrived] == [0, 0]
