"""The trend of a figure inside a level: whether it was stable. Pure.

A level's window is cut into slices. A change is a step between two slices, or a slope over all of them. It has to be
larger than the noise, which is the scatter of the slices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.metrics.metric import METRICS

SLICES = 10
"""Slices of a window."""
LEAST = 6
"""Minimum number of slices to find a change."""
EACH = 3
"""Minimum number of requests per slice, on average."""
CHANGE = 1.2
"""Factor. A figure that changes by less inside a level is stable, even if the change is certain."""
SURE, SURE_OF_TPOT = 8.0, 7.0
"""Standard errors that a change must have. Neighbouring slices are not independent, and waits are less independent than
the time per token. Both values come from bench/spoiled.py and its virtual runs."""


@dataclass(frozen=True)
class Course:
    """One figure of one level, over its window."""

    metric: str
    slice: float
    """Length of a slice in seconds."""
    means: tuple[float, ...]
    """The geometric means of the slices in the order of time, in seconds."""


@dataclass(frozen=True)
class Change:
    """A change of a figure inside a level."""

    metric: str
    before: float
    """Seconds: the mean before the step, or the value at the beginning of the slope."""
    after: float
    """Seconds: the mean after the step, or the value at the end of the slope."""
    until: float
    """Seconds from the window's beginning after which the figure was stable; infinite if it never was."""

    @property
    def size(self) -> float:
        """|ln(after / before)|."""
        return abs(math.log(self.after / self.before))


def change_of(course: Course) -> Change | None:
    """The change of a figure inside its level; None if it was stable, or if it has too few slices."""
    logs = [math.log(mean) for mean in course.means]
    if len(logs) < LEAST:
        return None
    split = max(range(1, len(logs)), key=lambda at: _t_of_split(logs, at))
    sure = SURE_OF_TPOT if course.metric == "tpot" else SURE
    if max(_t_of_split(logs, split), _t_of_slope(logs)) <= sure:
        return None
    before, after = _mean(logs[:split]), _mean(logs[split:])
    until = course.slice * split
    # a cold server begins slowly; one that begins fast and slows down does not warm up
    if split > len(logs) / 2 or after > before or _continues(logs[split:], after - before):
        slope, middle = _slope(logs), _mean(logs)
        half = slope * (len(logs) - 1) / 2.0
        before, after, until = middle - half, middle + half, math.inf
    change = Change(course.metric, math.exp(before), math.exp(after), until)
    relevant = change.size > math.log(CHANGE) and abs(change.after - change.before) > METRICS[course.metric].floor
    return change if relevant else None


def _continues(rest: Sequence[float], change: float) -> bool:
    """Whether the values after a change continue in its direction, by a third of it or more."""
    return len(rest) > 2 and _slope(rest) * (len(rest) - 1) / change > 1.0 / 3.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _slope(values: Sequence[float]) -> float:
    """The slope of the straight line through the values, per slice."""
    middle = (len(values) - 1) / 2.0
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * value for place, value in enumerate(values)) / spread


def _t_of_slope(values: Sequence[float]) -> float:
    """The t statistic of the slope."""
    slope, mean, middle = _slope(values), _mean(values), (len(values) - 1) / 2.0
    left = sum((value - mean - slope * (place - middle)) ** 2 for place, value in enumerate(values))
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return _ratio(abs(slope), math.sqrt(left / (len(values) - 2) / spread))


def _t_of_split(values: Sequence[float], at: int) -> float:
    """The t statistic of the difference between the values before a place and those from it on."""
    sides = (values[:at], values[at:])
    left = sum((value - _mean(side)) ** 2 for side in sides for value in side)
    noise = math.sqrt(left / (len(values) - 2) * (1.0 / at + 1.0 / (len(values) - at)))
    return _ratio(abs(_mean(sides[0]) - _mean(sides[1])), noise)


def _ratio(change: float, noise: float) -> float:
    # without any scatter, rounding is the noise
    return change / max(noise, 1e-9)
