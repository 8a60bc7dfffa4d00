"""For all tests."""

import sys

import pytest
from hypothesis import HealthCheck, settings

from tests.order import arrange

# machines that run them are shared: how long an example took says nothing
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    arrange(items)


def pytest_collection_finish() -> None:
    """Locust patches threads where it is imported, and pytest's own processes then wait for each other for ever."""
    assert "locust" not in sys.modules, "a test imports locust: have it do so in a process of its own"
