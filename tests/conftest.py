"""Settings of all tests."""

import sys

import pytest
from hypothesis import HealthCheck, settings

from tests.order import arrange

# tests run on shared machines, so the duration of an example has no meaning
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    arrange(items)


def pytest_collection_finish() -> None:
    """Check that no test imports Locust, which patches threads: pytest's processes would then wait for each other forever."""
    assert "locust" not in sys.modules, "a test imports locust; import it in a child process instead"
