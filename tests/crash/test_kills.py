"""Real kills at random moments under load; `make crash` kills hundreds of times."""

import random
from pathlib import Path

import pytest

from tests.crash.kills import Night, spend

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_processes_killed_under_load_lose_nothing_and_double_nothing(tmp_path: Path):
    night = Night(tmp_path, None, random.Random(7))

    problems = spend(night, kills=8)

    assert problems == []
    assert night.kills.total() == 8
    assert night.studies > 0
