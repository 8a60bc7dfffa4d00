"""The curve of a run, and its SLO limit on it: users, throughput and response time, by the interactive response time law.

For users in a closed loop, N = X·(R + Z): N users that wait Z between the end of an answer and their next request send X
requests per second, each of which takes R (Lazowska et al. 1984). It is exact for any stable system over a long window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.breakpoints.steps import Finding, Status, Step, mean_of
from llmlocust.metrics.levels import RATE

NEGLIGIBLE = 0.02
"""Share of a user's cycle below which a think time is none."""


@dataclass(frozen=True)
class Point:
    """A load of the curve: measured, or on the straight line between two measured ones. NaN: not known."""

    load: float
    """Users, or requests per second that were due."""
    throughput: float
    """X: successful requests per second. In open load, the rate itself."""
    response: float
    """R: mean seconds of a request."""
    tokens: float = math.nan
    """Mean output tokens of a request."""


@dataclass(frozen=True)
class Limit:
    """The SLO limit of a run on its curve, with the 95 % interval. None: not known, or no bound."""

    value: Point | None
    low: Point | None
    high: Point | None
    unit: str
    top: float
    """The highest measured load."""
    at_least: bool
    """Whether the limit was not reached: `value` and `low` are then the highest measured load."""
    think: float | None
    """Z of the run's users in seconds. None: not known, or open load."""
    is_think_implied: bool
    """Whether Z follows from the figures, so that they cannot be checked by it."""
    deviation: float | None
    """The largest of |X·(R + Z) / N − 1| at the measured levels up to the limit. None: cannot be checked."""

    @property
    def is_open(self) -> bool:
        return self.unit == RATE

    @property
    def measured_think(self) -> float | None:
        """Z if the users of the run had a think time that is known."""
        if self.think is None or self.value is None:
            return None
        cycle = self.think + self.value.response
        return self.think if self.think > NEGLIGIBLE * cycle else None


def limit_of(
    finding: Finding, steps: Sequence[Step], unit: str, busy: Mapping[int, float], think: float | None = None
) -> Limit | None:
    """Return the SLO limit on the curve of a run; None if the run does not show one.

    `busy` has the mean seconds of a request by level, where they are known; `think` is Z of the run's users.
    """
    curve = [_point(step, unit, busy) for step in steps]
    if finding.status is Status.UNKNOWN or not curve:
        return None
    top = curve[-1].load
    at_least = not finding.reached
    loads = (top, top, None) if at_least else (finding.load, finding.low, finding.high)
    value, low, high = (None if load is None else _at(curve, load) for load in loads)
    think, implied = (None, False) if unit == RATE else _think(value, think)
    deviation = None if implied else _deviation(curve, think, math.inf if value is None else value.load)
    return Limit(value, low, high, unit, top, at_least, think, implied, deviation)


def _point(step: Step, unit: str, busy: Mapping[int, float]) -> Point:
    response = mean_of((busy.get(level.level, level.metric("e2e").mean), max(1, level.ok)) for level in step.levels)
    tokens = mean_of((level.output_tokens, max(1, level.ok)) for level in step.levels)
    throughput = step.offered if unit == RATE else step.throughput
    return Point(step.load, *(value if math.isfinite(value) else math.nan for value in (throughput, response, tokens)))


def _at(curve: Sequence[Point], load: float) -> Point:
    """Return the point at a load within the curve. A figure that is not known at a level is that of the line across it."""

    def figure(of: Callable[[Point], float]) -> float:
        return _interpolated([(point.load, of(point)) for point in curve if not math.isnan(of(point))], load)

    return Point(
        load,
        figure(lambda point: point.throughput),
        figure(lambda point: point.response),
        figure(lambda point: point.tokens),
    )


def _interpolated(known: Sequence[tuple[float, float]], at: float) -> float:
    """Return the value on the lines between known points; that of the nearest one outside; NaN without any."""
    if not known:
        return math.nan
    below = [point for point in known if point[0] <= at]
    above = [point for point in known if point[0] >= at]
    if not below or not above:
        return (below[-1] if below else above[0])[1]
    (first, before), (second, after) = below[-1], above[0]
    return before if first == second else before + (after - before) * (at - first) / (second - first)


def _think(value: Point | None, think: float | None) -> tuple[float | None, bool]:
    """Return Z of the run's users, and whether it follows from the figures at the limit."""
    if think is not None or value is None:
        return think, False
    between = value.load / value.throughput - value.response if value.throughput else math.nan
    return (None, False) if math.isnan(between) else (max(0.0, between), True)


def _deviation(curve: Sequence[Point], think: float | None, until: float) -> float | None:
    if think is None:
        return None
    ratios = [point.throughput * (point.response + think) / point.load for point in curve if point.load <= until]
    known = [abs(ratio - 1.0) for ratio in ratios if not math.isnan(ratio)]
    return max(known, default=None)
