"""The straight line, with a PACS that takes everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.demo.pacs import MiniPacs
from tests.agent.line import Line


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path, MiniPacs("TESTPACS", tmp_path / "pacs"))
    yield line
    line.pacs.close()
