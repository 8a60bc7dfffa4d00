"""What the preflight found out about the server: one entry beside the options that were given.

Locust sends its options with each message to spawn users. So what the master found reaches a worker together with the
users that need it, also a worker that joins late; a message of our own could come after them.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Protocol, TypedDict

_ENTRY = "llm_found"


class HasOptions(Protocol):
    """Locust's Environment, or what stands for one with other options."""

    @property
    def parsed_options(self) -> Namespace | None: ...


class Findings(TypedDict):
    """It travels between processes, so it is made of plain values."""

    values: dict[str, Any]
    """Values of options, by their names, which replace those that were given."""
    targets: dict[str, dict[str, str]]
    """Where each host answers, by the dialects' paths, where that is not where it was expected to."""


_NOTHING = Findings(values={}, targets={})


def findings(environment: HasOptions) -> Findings:
    """Return what was found out; nothing before the preflight, or without one."""
    return getattr(environment.parsed_options, _ENTRY, None) or _NOTHING


def forget(environment: HasOptions) -> None:
    """Forget what was found out: the next run may be of another host."""
    if environment.parsed_options is not None:
        setattr(environment.parsed_options, _ENTRY, None)


def note_values(environment: HasOptions, **values: Any) -> None:
    """Note values of options. Without a parser, as in a script, there is no place for them."""
    _note(environment, Findings(values=values, targets={}))


def note_target(environment: HasOptions, host: str, path: str, target: str) -> None:
    """Note where a host answers to requests for a path."""
    _note(environment, Findings(values={}, targets={host: {path: target}}))


def _note(environment: HasOptions, new: Findings) -> None:
    if environment.parsed_options is None:
        return
    known = findings(environment)
    targets = {host: known["targets"].get(host, {}) | paths for host, paths in new["targets"].items()}
    noted = Findings(values=known["values"] | new["values"], targets=known["targets"] | targets)
    setattr(environment.parsed_options, _ENTRY, noted)
