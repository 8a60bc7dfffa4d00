"""`Healing`: the load at which a service heals that has not recovered from a fault. Pure.

After the constant load, a run may lower the load in steps. A metastable service needs a lower load to get rid of the work that
keeps it bad (hysteresis). It heals in the first of these levels in which its requests are like those of the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.analysis.faults import recovery as recovering
from llmlocust.analysis.faults.baseline import Baseline
from llmlocust.analysis.faults.requests import Requests
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message


@dataclass(frozen=True)
class Healing:
    """The search for the load at which a service heals."""

    tried: tuple[float, ...]
    """The loads in the order of time."""
    unit: str
    load: float | None = None
    """None: at none of them."""
    after: float | None = None
    """Seconds from the lift of the fault."""

    @property
    def says(self) -> Message:
        """One sentence."""
        if self.load is None or self.after is None:
            return message(
                "It did not heal at {load} either, the lowest load that was tried.",
                load=words.with_unit(min(self.tried), self.unit),
            )
        return message(
            "It healed when the load was lowered to {load}, {time} after the lift.",
            load=words.with_unit(self.load, self.unit),
            time=words.duration(self.after),
        )


def healing_of(requests: Requests, baseline: Baseline, lifted: float, levels: Sequence[LevelFigures]) -> Healing | None:
    """Return the first of the levels at which the service is like the baseline; None without levels."""
    if not levels:
        return None
    tried = tuple(level.load for level in levels)
    for level in levels:
        watched = recovering.watch(requests, baseline, level.began, level.ended)
        seconds = recovering.time_to_recover(watched, baseline.off).seconds
        if seconds is not None:
            return Healing(tried, level.unit, level.load, level.began + seconds - lifted)
    return Healing(tried, levels[0].unit)
