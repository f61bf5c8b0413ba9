"""One browser for the tests of a viewer."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.viewers.chromium import CHROMIUM, CHROMIUM_OPTIONS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield opened
        opened.close()
