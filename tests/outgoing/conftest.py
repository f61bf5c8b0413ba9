"""A hospital whose PACS takes everything and whose other systems do what a test says."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.demo.pacs import MiniPacs
from tests.agent.line import Line

OpenLine = Callable[..., Line]


@pytest.fixture
def open_line(tmp_path: Path) -> Iterator[OpenLine]:
    """Opens the line with these receivers, as `PeersSettings` calls them."""
    pacs = MiniPacs("TESTPACS", tmp_path / "pacs")

    def _open(**receivers: Any) -> Line:
        return Line(tmp_path, pacs, receivers=receivers)

    yield _open
    pacs.close()
