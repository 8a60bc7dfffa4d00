"""The order of the tests for several workers."""

from tests import order
from tests.simulators import ROOT

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


def test_tests_that_wait_are_spread_and_tests_that_share_a_fixture_stay_together(pytester):
    pytester.makepyfile(**MODULES)
    items, _ = pytester.inline_genitems()
    order.arrange(items)
    groups = [(item.name, mark.args[0] if (mark := item.get_closest_marker("xdist_group")) else None) for item in items]
    assert groups == [
        ("test_1", "test_a"),
        ("test_shared", "test_b"),
        ("test_shared_too", "test_b"),
        ("test_2", "test_a"),
        ("test_alone", None),
    ]


def test_xdist_knows_the_groups(pytester, monkeypatch):
    """pytest 9.2 has no node ids that xdist 3.8 could change: each test of a module then made its fixtures anew."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(**MODULES)
    done = pytester.runpytest_subprocess("-n1", "--dist=loadgroup", "-v")
    done.stdout.fnmatch_lines(["*test_1@test_a*", "*test_shared@test_b*", "*test_alone *"])
