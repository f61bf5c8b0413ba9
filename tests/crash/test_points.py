"""A life cut at some of its effects, on both databases; `make crash` cuts at all of them."""

from pathlib import Path

import pytest

from tests.crash.effects import Cut
from tests.crash.hospital import Hospital, a_hospital, live_through
from tests.crash.observer import broken_promises
from tests.crash.points import points, wards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EVERY = 64


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_life_that_is_cut_anywhere_keeps_every_promise(kind: str, tmp_path: Path):
    with wards(kind, 1, tmp_path) as (ward,):
        lives = list(points(ward, EVERY))

    assert sum(life.was_cut for life in lives) > 10
    assert sum(not life.was_cut for life in lives) == 4, "each way ends with a life that came through uncut"
    assert [(str(life.cut), life.problems) for life in lives if life.problems] == []


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    with a_hospital(tmp_path_factory.mktemp("life"), "", Cut()) as hospital:
        live_through(hospital)
    return hospital


def stored(hospital: Hospital, folder: str) -> Path:
    files = hospital.settings.agent.storage.folder / "files"
    return next(path for path in sorted((files / folder).rglob("*.dcm")))


def test_a_life_without_a_cut_keeps_every_promise(lived: Hospital):
    assert broken_promises(lived) == []


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("received", "is not what its row says"), ("results", "is not what its row says")],
)
def test_the_observer_sees_a_file_that_has_changed(lived: Hospital, folder: str, expected: str):
    path = stored(lived, folder)
    before = path.read_bytes()

    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    problems = broken_promises(lived)
    path.write_bytes(before)

    assert any(expected in problem for problem in problems)


def test_the_observer_sees_a_result_too_many(lived: Hospital):
    received = lived.destinations["pacs"].received
    received.append(received[0].__class__(received[0].study_instance_uid, "report_sr", "1.2.3", "0"))

    problems = broken_promises(lived)
    received.pop()

    assert any(problem.startswith("pacs has") for problem in problems)


def test_the_observer_sees_an_image_that_was_acknowledged_and_is_not_there(lived: Hospital):
    lived.acknowledged["1.2.3"] = "0"

    problems = broken_promises(lived)
    del lived.acknowledged["1.2.3"]

    assert problems == ["1.2.3 was acknowledged and is not in the index"]
