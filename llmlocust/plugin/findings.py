"""Findings of the preflight about the server, as one entry beside the given options.

Locust sends its options with each message to spawn users. The master's findings therefore reach a worker together with
the users that need them, even if the worker joins late. A message of our own could arrive after the users.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Protocol, TypedDict

_ENTRY = "llm_found"


class HasOptions(Protocol):
    """Locust's Environment, or a substitute with other options."""

    @property
    def parsed_options(self) -> Namespace | None: ...


class Findings(TypedDict):
    """Findings of the preflight. Processes send it to each other, so it consists of plain values."""

    values: dict[str, Any]
    """Values of options, by their names. They replace those that were given."""
    targets: dict[str, dict[str, str]]
    """Unexpected targets at which servers answered, by host and by the dialect's path."""
    proxies: dict[str, str]
    """The proxy through which a host is loaded, by host."""


_NOTHING = Findings(values={}, targets={}, proxies={})


def findings(environment: HasOptions) -> Findings:
    """Return the findings; none before the preflight, or without one."""
    return getattr(environment.parsed_options, _ENTRY, None) or _NOTHING


def forget(environment: HasOptions) -> None:
    """Delete the findings: the next run may use another host."""
    if environment.parsed_options is not None:
        setattr(environment.parsed_options, _ENTRY, None)


def note_values(environment: HasOptions, **values: Any) -> None:
    """Note values of options. Does nothing without parsed options, as in a script."""
    _note(environment, Findings(values=values, targets={}, proxies={}))


def note_target(environment: HasOptions, host: str, path: str, target: str) -> None:
    """Note the target at which a host answers requests for a path."""
    _note(environment, Findings(values={}, targets={host: {path: target}}, proxies={}))


def note_proxy(environment: HasOptions, host: str, url: str) -> None:
    """Note the proxy through which the users reach a host."""
    _note(environment, Findings(values={}, targets={}, proxies={host: url}))


def _note(environment: HasOptions, new: Findings) -> None:
    if environment.parsed_options is None:
        return
    known = findings(environment)
    targets = {host: known["targets"].get(host, {}) | paths for host, paths in new["targets"].items()}
    noted = Findings(
        values=known["values"] | new["values"],
        targets=known["targets"] | targets,
        proxies=known["proxies"] | new["proxies"],
    )
    setattr(environment.parsed_options, _ENTRY, noted)
