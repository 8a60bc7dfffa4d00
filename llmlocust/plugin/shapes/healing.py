"""`Healing`: ends a plan as soon as the service has recovered from its faults (--llm-fault-heal).

The plan's last phase lowers the load in steps (load.plans.healing). It is left out if the service is as before the first
fault when the phase begins, and it ends with the step at which the service has recovered. The report judges single
requests; here, their number decides: as many successful requests per second as before the fault for this load, and as few in
flight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmlocust.load.curves import HOLD, Staircase
from llmlocust.metrics.levels import Level
from llmlocust.plugin.run.state import RunState

LOOKBACK = 10.0
"""Seconds before now that are compared with those before the first fault."""
MIN_RATE = 0.9
"""Successful requests per second, as a share of those before the fault at the same load."""
MAX_IN_FLIGHT = 1.5
"""Requests in flight, as a multiple of those before the fault at the same load."""
_NEAR_END = 1.5
"""Seconds before the end of a level at which it is judged: shapes advance once per second."""


@dataclass(frozen=True)
class Healing:
    """Judges the service at the end of levels."""

    run: RunState
    stairs: Staircase
    first: int
    """The index of the first level of the phase."""

    def judge(self, now: float) -> None:
        """Remove the levels that are left if the level that ends now needs none. `now`: by the clock of the staircase."""
        stairs = self.stairs
        ends_now = stairs.state == HOLD and now >= stairs.since + stairs.hold - _NEAR_END
        if ends_now and stairs.level >= self.first - 1 and (not self._is_lifted() or self.has_recovered()):
            self._end_after(stairs.level + 1)

    def _end_after(self, count: int) -> None:
        """Remove all levels of the plan after this number of them."""
        self.stairs.levels = self.stairs.levels[:count]
        plan = self.run.plan or {}
        *phases, last = plan["phases"]
        left = count - self.first
        phases += [last | {"levels": left}] if left > 0 else []
        self.run.plan = plan | {"levels": plan["levels"][:count], "phases": phases}

    def _is_lifted(self) -> bool:
        """Whether faults were injected, and all of them were lifted."""
        return bool(self.run.faults) and all(fault["lifted"] is not None for fault in self.run.faults or ())

    def has_recovered(self) -> bool:
        """Return whether the last seconds are as those before the first fault; False if they are not known."""
        until = self.run.moment() - self.run.lag
        usual, level = self._usual(), self.run.level
        if usual is None or level is None:
            return False
        before, load = usual
        after, factor = self._figures(until - LOOKBACK, until), level.load / load
        return after[0] >= MIN_RATE * before[0] * factor and after[1] <= max(MAX_IN_FLIGHT * before[1] * factor, 1.0)

    def _usual(self) -> tuple[tuple[float, float], float] | None:
        """Return the figures of the level of the first fault before that fault, and its load; None if it has none."""
        moments = [fault["began"] - self.run.began for fault in self.run.faults or () if fault["began"] is not None]
        level = self._level_at(min(moments)) if moments else None
        if level is None or level.warmed_up is None or min(moments) < level.warmed_up + 1.0:
            return None
        return self._figures(level.warmed_up, min(moments)), level.load

    def _level_at(self, moment: float) -> Level | None:
        levels = [level for level in self.run.ledger.levels if level.began <= moment]
        return levels[-1] if levels else None

    def _figures(self, begin: float, end: float) -> tuple[float, float]:
        """Return the successful requests per second, and those in flight."""
        first, last = math.ceil(begin), int(end)
        seconds, length = self.run.ledger.seconds, max(1, last - first)
        ended, failed = (sum(seconds.reported(name, first, last)) for name in ("ended", "failed"))
        return (ended - failed) / length, sum(seconds.reported("in_flight", first, last)) / length
