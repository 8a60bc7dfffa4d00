"""Options accept the keys of checks: the table of their names is complete, and a wrong key is rejected."""

import re

import pytest

from llmlocust.analysis.checks.check import NAMES, accepted_keys
from llmlocust.analysis.checks.generator import _UNSENT
from tests.simulators import ROOT

CONSTRUCTED = re.compile(r'Check\(\s*"([^"]+)"')


def test_the_table_has_the_name_of_every_check():
    sources = "".join(path.read_text() for path in (ROOT / "llmlocust" / "analysis" / "checks").glob("*.py"))
    keys = set(CONSTRUCTED.findall(sources))
    computed = {"requests_for_p95", "requests_for_p99", *(key for key, *_ in _UNSENT.values())}
    assert keys | computed == set(NAMES)


@pytest.mark.parametrize("keys", [[], ["prefix_cache"], ["drift", "littles_law"]])
def test_keys_of_checks_are_accepted(keys):
    assert accepted_keys(keys) == keys


@pytest.mark.parametrize(
    "key, hint",
    [
        ("prefix cache", "did you mean 'prefix_cache'?"),
        ("Drift", "did you mean 'drift'?"),
        ("colour", "the checks are any_requests, "),
    ],
)
def test_a_key_that_no_check_has_is_rejected(key, hint):
    with pytest.raises(ValueError, match=f"no check is called '{key}'") as problem:
        accepted_keys(["drift", key])
    assert hint in str(problem.value)
