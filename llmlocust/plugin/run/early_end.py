"""`EarlyEnd`: ends a run as soon as a level is certain to violate a gate (--llm-abort-on-breach). Without Locust."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from llmlocust.analysis.gates import Breach, breach
from llmlocust.metrics.levels import Level
from llmlocust.metrics.thresholds import Gate
from llmlocust.plugin import console
from llmlocust.plugin.run.companion import Companion


class EarlyEnd(Companion):
    """Ends a run early. `grace`: seconds for which a level is measured before a violation may end the run. `end` starts
    the end of the run, and returns at once.
    """

    def __init__(self, gates: Sequence[Gate], grace: float, end: Callable[[], None]) -> None:
        self._gates, self._grace, self._end = gates, grace, end

    def tick(self, moment: float) -> None:
        if self.run.ended_by or not self._may_end_early():
            return
        violation = next(self._breaches(moment), None)
        if violation is None:
            return
        self.run.ended_by = violation.name
        console.say(f"  {violation}: the run ends here (--llm-abort-on-breach)")
        self._end()

    def _may_end_early(self) -> bool:
        """Whether the run can still end early: it is not ending already, and the last level of its ramp is not over."""
        level, plan = self.run.level, self.run.plan
        if level is None or not self.run.cluster.is_on:
            return False
        return level.ended is None or plan is None or level.index + 1 < len(plan["levels"])

    def _breaches(self, moment: float) -> Iterator[Breach]:
        ledger = self.run.ledger
        # requests in flight at the end of a level may still violate one of its gates
        for level in ledger.levels[-2:]:
            if self._may_be_judged(level, moment):
                tally = ledger.tally(level.index)
                outcomes = (breach(gate, level, tally, self.run.in_flight) for gate in self._gates)
                yield from (violation for violation in outcomes if violation is not None)

    def _may_be_judged(self, level: Level, moment: float) -> bool:
        over = level.warmed_up is not None and level.ended is not None
        return over or level.window(moment) >= max(1e-9, self._grace)
