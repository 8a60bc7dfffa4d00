"""The order of the tests for several workers."""

from tests import order

pytest_plugins = ["pytester"]

MODULES = {
    "test_a": "def test_1(): ...\ndef test_2(): ...\n",
    "test_b": """
import pytest
from tests.locusts import run

@pytest.fixture(scope="module")
def shared(): ...

def test_alone(): ...
def test_shared(shared): ...
def test_shared_too(shared): ...
""",
}


def test_tests_that_wait_come_first_and_those_that_share_a_fixture_stay_together(pytester):
    pytester.makepyfile(**MODULES)
    items, _ = pytester.inline_genitems()
    order.arrange(items)
    groups = [(item.name, mark.args[0] if (mark := item.get_closest_marker("xdist_group")) else None) for item in items]
    assert groups == [
        ("test_shared", "test_b"),
        ("test_shared_too", "test_b"),
        ("test_alone", None),
        ("test_1", "test_a"),
        ("test_2", "test_a"),
    ]
