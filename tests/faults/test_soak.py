"""A day of turned clock; `make soak` lets ten days pass."""

from pathlib import Path

import pytest

from tests.crash.effects import Cut
from tests.crash.hospital import a_hospital
from tests.faults.soak import STUDIES_AN_HOUR, growth, has_grown, soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOURS = 24


def test_a_day_of_studies_leaves_memory_descriptors_and_threads_as_they_were(tmp_path: Path):
    with a_hospital(tmp_path, "", Cut()) as hospital:
        usages = list(soak(hospital, HOURS))
        hospital.stop()

    assert len(hospital.acknowledged) == HOURS * STUDIES_AN_HOUR
    assert hospital.results("pacs").total() == 2 * HOURS * STUDIES_AN_HOUR
    assert not has_grown(growth(usages), HOURS), usages
