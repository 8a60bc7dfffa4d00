"""The order of the tests when xdist gives them to several workers, one group after the other (--dist loadgroup).

Tests that start Locust, a command or a browser mostly wait. If they came last, cores would be idle: they end before the
others do, and run beside them, each on the next free worker. Tests that share a fixture of their module stay together, so
that it is made once; so do the tests of a module that computes, which take no time worth spreading.
"""

from types import ModuleType

import pytest

_STARTING = {"tests.chromium", "tests.command", "tests.hosts", "tests.locusts"}
"""Modules from which a test takes what starts such a process."""
_LAST_WAIT = 0.8
"""Share of all tests after which no test that waits is left."""


def arrange(tests: list[pytest.Item]) -> None:
    """Give each test that must not be alone its group, and sort the tests in place."""
    modules = {test: _module_of(test) for test in tests}
    waiting = {module: starts_processes(module) for module in set(modules.values())}
    together = {test: _has_fixture_of_module(test) for test in tests}
    for test, module in modules.items():
        if together[test] or not waiting[module]:
            test.add_marker(pytest.mark.xdist_group(module.__name__))
    those_that_wait = sorted((test for test in tests if waiting[modules[test]]), key=lambda test: not together[test])
    others = [test for test in tests if not waiting[modules[test]]]
    places = _places(those_that_wait, _LAST_WAIT) | _places(others, 1.0)
    tests.sort(key=places.__getitem__)


def _places(tests: list[pytest.Item], end: float) -> dict[pytest.Item, float]:
    """Return the place of each test in the whole order: 0 for the first one of all, `end` for the last of these."""
    return {test: end * place / len(tests) for place, test in enumerate(tests)}


def _module_of(test: pytest.Item) -> ModuleType:
    module = test.getparent(pytest.Module)
    assert module is not None
    assert isinstance(module.obj, ModuleType)
    return module.obj


def _has_fixture_of_module(test: pytest.Item) -> bool:
    assert isinstance(test, pytest.Function)
    definitions = test._fixtureinfo.name2fixturedefs.values()
    return any(definition.scope == "module" for same_name in definitions for definition in same_name)


def starts_processes(module: ModuleType) -> bool:
    """Return whether a module of tests uses anything that starts Locust, a command or a browser."""
    return any(_origin(value) in _STARTING for value in vars(module).values())


def _origin(value: object) -> str | None:
    return value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
