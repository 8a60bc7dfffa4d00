"""What a long run at the same load would show of a latency, as far as levels of half a minute tell it. Pure.

Two things are known beside what was measured. A figure that lies off the line between its neighbours is off by chance
as often as not, unless the curve bends there. And where requests come at a rate near what the server can answer, queues
come and go over minutes: the waits of a short level are too few of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, Step, spread
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import QUANTILES
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

BESIDE = 0.5
"""Weight of what the neighbours say. On the virtual servers of bench/systems.py the best one, whatever the distance."""
BENT = 0.3
"""ln of the line over the figure, above which the curve bends there, or the level is odd. So it does above `BEYOND`
times the figure's spread."""
BEYOND = 3.0
BUSY = 0.85
"""Share of the answered rate above which queues are slow to come."""
VARIABILITY = 0.5
"""(Ca² + Cs²) / 2 of Allen and Cunneen: users come by chance (1), a batch takes turns and so evens out lengths (0)."""
WAITS = tuple(key for key, metric in METRICS.items() if metric.grows_with_backlog)
"""What a backlog makes longer, and what a request that failed never had."""


@dataclass(frozen=True)
class LongRun:
    """The figures of a run's levels, as a long run would show them."""

    steps: Sequence[Step]
    answered: float = math.inf
    """Requests a second that the server answers when more are sent; infinite where that is not known, or users load it."""

    def factor(self, step: Step, metric: str, statistic: str) -> float:
        """By what the figure that was measured is multiplied."""
        return max(self._in_line(step, metric, statistic), self._queued(step, metric, statistic))

    def because(self, step: Step, metric: str, statistic: str) -> Message:
        """What tells so, in words."""
        if self._queued(step, metric, statistic) > self._in_line(step, metric, statistic):
            share = words.share(step.offered / self.answered)
            return message("as queues are slow to come at {share} of what is answered", share=share)
        return message("as the levels beside it tell")

    def _in_line(self, step: Step, metric: str, statistic: str) -> float:
        """Half-way to the line between the neighbours. Waiting for a slot grows in a line, as does a batch's step."""
        place = self.steps.index(step)
        beside = self.steps[max(0, place - 1) : place + 2]
        figures = [step.figure(metric, statistic) for step in beside]
        if place == 0 or len(beside) < 3 or any(step.errors > ERROR_LIMIT for step in beside):
            return 1.0
        if not all(0.0 < each < math.inf for each in figures):
            return 1.0
        part = (beside[1].load - beside[0].load) / (beside[2].load - beside[0].load)
        off = math.log((figures[0] * (1.0 - part) + figures[2] * part) / figures[1])
        bent = abs(off) > min(BENT, BEYOND * spread(self.steps, place, metric, statistic))
        return 1.0 if bent else math.exp(BESIDE * off)

    def _queued(self, step: Step, metric: str, statistic: str) -> float:
        """Where the server is nearly full: the level below, and the wait that queueing for its slots comes to."""
        below = self.steps[max(0, self.steps.index(step) - 1)]
        here = step.figure(metric, statistic)
        if metric not in WAITS or statistic not in QUANTILES or not BUSY * self.answered < step.offered < self.answered:
            return 0.0
        if not 0.0 < here < math.inf:
            return 0.0
        slots = self.answered * (step.figure("e2e", "mean") - step.figure("ttft", "mean"))
        wait = queue_wait(step.offered, self.answered, slots, QUANTILES[statistic])
        return (min(here, below.figure(metric, statistic)) + wait) / here


def queue_wait(rate: float, answered: float, slots: float, quantile: float) -> float:
    """Seconds that a quantile of requests wait for a slot, at a rate below what is answered; 0 for unknown slots.

    Who waits at all: Halfin and Whitt (1981), whose limit of Erlang's C needs no factorials. How long: exponentially,
    Allen and Cunneen's approximation for G/G/c.
    """
    beta = (1.0 - rate / answered) * math.sqrt(slots) if slots > 0.0 else math.nan
    normal, density = 0.5 * math.erfc(-beta / math.sqrt(2.0)), math.exp(-beta * beta / 2.0) / math.sqrt(2.0 * math.pi)
    waits = 1.0 / (1.0 + beta * normal / density) if density > 0.0 else 0.0
    return VARIABILITY / (answered - rate) * math.log(max(1.0, waits / (1.0 - quantile)))
