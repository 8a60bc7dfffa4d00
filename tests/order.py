"""The order of the tests when xdist gives them to several workers, one group after the other (--dist loadgroup).

Tests that start Locust, a command or a browser mostly wait. If they came last, cores would be idle: they come first, and
each of them goes to the next free worker. Tests that share a fixture of their module stay together, so that it is made
once; so do the tests of a module that computes, which take no time worth spreading.
"""

from types import ModuleType

import pytest

_STARTING = {"tests.chromium", "tests.command", "tests.hosts", "tests.locusts"}
"""Modules from which a test takes what starts such a process."""


def arrange(tests: list[pytest.Item]) -> None:
    """Give each test that must not be alone its group, and sort the tests in place."""
    modules = {test: _module_of(test) for test in tests}
    waiting = {module: starts_processes(module) for module in set(modules.values())}
    together = {test: _has_fixture_of_module(test) for test in tests}
    for test, module in modules.items():
        if together[test] or not waiting[module]:
            test.add_marker(pytest.mark.xdist_group(module.__name__))
    tests.sort(key=lambda test: (not waiting[modules[test]], not together[test]))


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
