"""`EarlyEnd`: ends a run where a level surely breaks a gate (--llm-abort-on-breach). Without Locust."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from llmlocust.analysis.gates import Breach, breach
from llmlocust.metrics.levels import Level
from llmlocust.metrics.thresholds import Gate
from llmlocust.plugin import console
from llmlocust.plugin.run.companion import Companion


class EarlyEnd(Companion):
    """`grace`: seconds for which a level is measured before a breach may end the run. `end` ends it, and returns at once."""

    def __init__(self, gates: Sequence[Gate], grace: float, end: Callable[[], None]) -> None:
        self._gates, self._grace, self._end = gates, grace, end

    def tick(self, moment: float) -> None:
        if self.run.ended_by or not self._goes_on():
            return
        found = next(self._breaches(moment), None)
        if found is None:
            return
        self.run.ended_by = found.name
        console.say(f"  {found}: the run ends here (--llm-abort-on-breach)")
        self._end()

    def _goes_on(self) -> bool:
        """Whether there is something to end early: no run that ends already, nor a ramp whose last level is over."""
        level, plan = self.run.level, self.run.plan
        if level is None or not self.run.cluster.is_on:
            return False
        return level.ended is None or plan is None or level.index + 1 < len(plan["levels"])

    def _breaches(self, moment: float) -> Iterator[Breach]:
        ledger = self.run.ledger
        for level in ledger.levels[-2:]:  # what was in flight when a level ended may break it yet
            if self._may_be_judged(level, moment):
                tally = ledger.tally(level.index)
                found = (breach(gate, level, tally, self.run.in_flight) for gate in self._gates)
                yield from (each for each in found if each is not None)

    def _may_be_judged(self, level: Level, moment: float) -> bool:
        over = level.warmed_up is not None and level.ended is not None
        return over or level.window(moment) >= max(1e-9, self._grace)
