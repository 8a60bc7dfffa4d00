"""`Context`: the facts of a run that the causes need besides its levels and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.metrics.telemetry import TelemetryEvent, TelemetrySource


@dataclass(frozen=True)
class FailureAges:
    """The ages at which the failed requests of a level ended, in seconds."""

    count: int
    low: float
    """5th percentile."""
    median: float
    high: float
    """95th percentile."""


@dataclass(frozen=True)
class Context:
    """The facts of a run."""

    facts: Facts = field(default_factory=Facts)
    checks: Sequence[Check] = ()
    sources: Sequence[TelemetrySource] = ()
    events: Sequence[TelemetryEvent] = ()
    ages: Mapping[int, FailureAges] = field(default_factory=dict)
    """By level."""
    unreachable: Mapping[int, float] = field(default_factory=dict)
    """The levels in which nothing could connect from some second on, with that second."""
    server: str = ""
    """The name that the server gave itself, such as the owner of its models; empty if it gave none."""

    @property
    def settings(self) -> dict[str, str]:
        """The settings that the sources reported, by the name of the server's option."""
        return {name: value for source in self.sources for name, value in source.settings.items()}
