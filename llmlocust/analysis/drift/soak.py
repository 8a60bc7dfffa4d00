"""`SoakDrift`: what drifted while one load was held for long, and the hours until a limit is reached. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmlocust.analysis.drift.drift import PER_1000_REQUESTS, Drift
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

MIN_SECONDS = 300.0
"""Length of a level from which on its drift is computed, unless it is a soak of the plan."""


@dataclass(frozen=True)
class SoakDrift:
    """The drifts of one level."""

    level: LevelFigures
    drifts: Mapping[str, Drift] = field(default_factory=dict)
    """By key: ttft, tpot, e2e (p95), memory, threads, files, machine_memory, container_memory."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """By key, the known limit of a figure, in its unit."""
    requests_per_hour: float = 0.0
    restarts: int = 0
    """Restarts of the server during the level. Memory, threads and files are those after the last one."""
    is_observed: bool = False
    """Whether telemetry was recorded."""

    def hours_to_limit(self, key: str) -> tuple[float, float, float | None] | None:
        """Return the hours until a drifting figure reaches its limit: the estimate, and both ends of the 95 % interval.

        None: it does not drift towards a known limit. The last end is None if it may never reach the limit.
        """
        drift, limit = self.drifts.get(key), self.limits.get(key)
        if drift is None or limit is None or not drift.is_drifting:
            return None
        scale = 1000.0 / self.requests_per_hour if drift.per == PER_1000_REQUESTS and self.requests_per_hour else 1.0
        middle, first, last = drift.to_limit(limit)
        if middle is None or first is None or middle < 0.0:
            return None
        return middle * scale, first * scale, None if last is None else last * scale

    @property
    def says(self) -> list[Message]:
        """A sentence on each figure, and on the restarts."""
        texts: list[Message] = []
        for key, drift in self.drifts.items():
            texts.append(drift.says)
            if (hours := self.hours_to_limit(key)) is not None:
                texts.append(_to_limit(drift, self.limits[key], hours))
        if self.restarts:
            texts.append(
                message(
                    "Restarts of the server: {count}. Its memory, threads and open files are those after the last one.",
                    count=str(self.restarts),
                )
            )
        return texts


def _to_limit(drift: Drift, limit: float, hours: tuple[float, float, float | None]) -> Message:
    middle, first, last = hours
    end = words.digits(last) if last is not None else "\N{INFINITY}"
    return message(
        "At this rate it reaches {limit} in {hours} hours (95 % CI {low} to {high}).",
        limit=words.amount(limit, drift.unit),
        hours=words.digits(middle),
        low=words.digits(first),
        high=end,
    )
