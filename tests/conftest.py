"""What all tests share."""

import pytest
from hypothesis import settings

# A busy machine is no error: hypothesis would otherwise fail an example that takes over 200 ms.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files; review them as a diff"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """True if the golden files are to be rewritten rather than compared."""
    return bool(request.config.getoption("--update-golden"))
