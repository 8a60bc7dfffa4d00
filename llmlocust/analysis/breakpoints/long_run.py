"""Estimates of the latency that a long run at the same load would show, from levels of about half a minute. Pure.

Two facts correct a measured figure. A figure off the line between its neighbours is often off by chance, unless the
curve bends there. And if requests arrive at nearly the rate that the server can answer, queues build up and drain over
minutes: a short level sees too few of these waits.
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

NEIGHBOUR_WEIGHT = 0.5
"""Weight of the neighbours. On the virtual servers of bench/systems.py it is the best one at any distance."""
MAX_BEND = 0.3
"""ln(line / figure). Above it, the curve bends at this level, or the level is an outlier."""
MAX_SPREADS = 3.0
"""Multiple of the figure's spread that has the same meaning as BENT."""
BUSY_SHARE = 0.85
"""Share of the answered rate above which queues build up slowly."""
VARIABILITY = 0.5
"""(Ca² + Cs²) / 2 of Allen and Cunneen: users arrive at random (1), a batch takes turns and so evens out lengths (0)."""
WAITS = tuple(key for key, metric in METRICS.items() if metric.grows_with_backlog)
"""Metrics that a backlog increases, and that a failed request does not have."""


@dataclass(frozen=True)
class LongRun:
    """Estimates what a long run would show at each level of a run."""

    steps: Sequence[Step]
    answered: float = math.inf
    """Requests per second that the server answers when more are sent. Infinite if it is not known, or in closed load."""

    def factor(self, step: Step, metric: str, statistic: str) -> float:
        """Return the factor from the measured figure to the estimate."""
        return max(self._in_line(step, metric, statistic), self._queued(step, metric, statistic))

    def reason(self, step: Step, metric: str, statistic: str) -> Message:
        """Return a clause that gives the reason for the factor."""
        if self._queued(step, metric, statistic) > self._in_line(step, metric, statistic):
            share = words.share(step.offered / self.answered)
            return message("as queues build up slowly at {share} of the answered rate", share=share)
        return message("estimated from the neighbouring levels")

    def _in_line(self, step: Step, metric: str, statistic: str) -> float:
        """The factor half-way to the line between the neighbours: the wait for a slot and a batch's step both grow linearly."""
        place = self.steps.index(step)
        neighbours = self.steps[max(0, place - 1) : place + 2]
        figures = [step.figure(metric, statistic) for step in neighbours]
        if place == 0 or len(neighbours) < 3 or any(step.errors > ERROR_LIMIT for step in neighbours):
            return 1.0
        if not all(0.0 < figure < math.inf for figure in figures):
            return 1.0
        position = (neighbours[1].load - neighbours[0].load) / (neighbours[2].load - neighbours[0].load)
        deviation = math.log((figures[0] * (1.0 - position) + figures[2] * position) / figures[1])
        bends = abs(deviation) > min(MAX_BEND, MAX_SPREADS * spread(self.steps, place, metric, statistic))
        return 1.0 if bends else math.exp(NEIGHBOUR_WEIGHT * deviation)

    def _queued(self, step: Step, metric: str, statistic: str) -> float:
        """The factor to the level below plus the wait for a slot, if the server is nearly full; 0 otherwise."""
        below = self.steps[max(0, self.steps.index(step) - 1)]
        measured = step.figure(metric, statistic)
        if (
            metric not in WAITS
            or statistic not in QUANTILES
            or not BUSY_SHARE * self.answered < step.offered < self.answered
        ):
            return 0.0
        if not 0.0 < measured < math.inf:
            return 0.0
        slots = self.answered * (step.figure("e2e", "mean") - step.figure("ttft", "mean"))
        wait = queue_wait(step.offered, self.answered, slots, QUANTILES[statistic])
        return (min(measured, below.figure(metric, statistic)) + wait) / measured


def queue_wait(rate: float, answered: float, slots: float, quantile: float) -> float:
    """A quantile of the wait for a slot in seconds, at a rate below the answered one; 0 if the slots are not known.

    The share of requests that wait is that of Halfin and Whitt (1981), whose limit of Erlang's C needs no factorials. The
    wait is exponential, with Allen and Cunneen's approximation for G/G/c.
    """
    beta = (1.0 - rate / answered) * math.sqrt(slots) if slots > 0.0 else math.nan
    normal, density = 0.5 * math.erfc(-beta / math.sqrt(2.0)), math.exp(-beta * beta / 2.0) / math.sqrt(2.0 * math.pi)
    wait_share = 1.0 / (1.0 + beta * normal / density) if density > 0.0 else 0.0
    return VARIABILITY / (answered - rate) * math.log(max(1.0, wait_share / (1.0 - quantile)))
