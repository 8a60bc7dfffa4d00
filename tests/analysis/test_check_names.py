"""Checks are named in options and files: the table of their names is whole, and a wrong name is said to be one."""

import re

import pytest

from llmlocust.analysis.checks.check import NAMES, accepted_names
from llmlocust.analysis.checks.generator import _UNSENT
from tests.simulators import ROOT

MADE = re.compile(r'Check\(\s*"([^"]+)"|_kept_from_running\("([^"]+)"')


def test_the_table_has_the_name_of_every_check():
    sources = "".join(path.read_text() for path in (ROOT / "llmlocust" / "analysis" / "checks").glob("*.py"))
    made = {first or second for first, second in MADE.findall(sources)}
    computed = {"requests for p95", "requests for p99", *(name for name, *_ in _UNSENT.values())}
    assert made | computed == set(NAMES)


@pytest.mark.parametrize("names", [[], ["prefix cache"], ["drift", "Little's law"]])
def test_names_of_checks_are_accepted(names):
    assert accepted_names(names) == names


@pytest.mark.parametrize(
    "name, hint",
    [("prefix cach", "is it 'prefix cache'?"), ("Drift", "is it 'drift'?"), ("colour", "they are any requests, ")],
)
def test_a_name_that_no_check_has_is_said_to_be_none(name, hint):
    with pytest.raises(ValueError, match=f"no check is called '{name}'") as problem:
        accepted_names(["drift", name])
    assert hint in str(problem.value)
