"""How a figure went inside a level, and whether it stood still. Pure.

A level's window is cut into slices. Their scatter is the noise that a change has to stand out from: a step somewhere,
or a slope all the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.metrics.metric import METRICS

SLICES = 10
LEAST = 6
"""With fewer slices nothing can be said."""
EACH = 3
"""Requests that a slice should have on average."""
CHANGE = 1.2
"""A figure that changes by less than this factor inside a level has stood still, however surely it changed."""
SURE, SURE_OF_TPOT = 8.0, 7.0
"""How many standard errors a change must have. Neighbouring slices are not quite independent, and waits less so than \
the time per token; these are what bench/spoiled.py and its virtual runs found right."""


@dataclass(frozen=True)
class Course:
    """One figure of one level, over its window."""

    metric: str
    slice: float
    """Seconds."""
    means: tuple[float, ...]
    """The geometric means of the slices, in their order; seconds."""


@dataclass(frozen=True)
class Change:
    """That a figure did not stand still."""

    metric: str
    before: float
    after: float
    """Seconds: at the beginning and at the end; or of the part that differs, and of the rest."""
    until: float
    """Seconds from the window's beginning after which it stood still; infinite where it did not."""

    @property
    def size(self) -> float:
        return abs(math.log(self.after / self.before))


def change_of(course: Course) -> Change | None:
    """How a figure changed inside its level; None where it stood still, or nobody can tell."""
    logs = [math.log(each) for each in course.means]
    if len(logs) < LEAST:
        return None
    split = max(range(1, len(logs)), key=lambda at: _t_of_split(logs, at))
    sure = SURE_OF_TPOT if course.metric == "tpot" else SURE
    if max(_t_of_split(logs, split), _t_of_slope(logs)) <= sure:
        return None
    before, after = _mean(logs[:split]), _mean(logs[split:])
    until = course.slice * split
    # who is cold begins slowly; who begins fast and slows down does not warm up
    if split > len(logs) / 2 or after > before or _goes_on(logs[split:], after - before):
        slope, middle = _slope(logs), _mean(logs)
        half = slope * (len(logs) - 1) / 2.0
        before, after, until = middle - half, middle + half, math.inf
    found = Change(course.metric, math.exp(before), math.exp(after), until)
    felt = found.size > math.log(CHANGE) and abs(found.after - found.before) > METRICS[course.metric].floor
    return found if felt else None


def _goes_on(rest: Sequence[float], change: float) -> bool:
    """Whether what comes after a change goes on in its direction, by a third of it or more."""
    return len(rest) > 2 and _slope(rest) * (len(rest) - 1) / change > 1.0 / 3.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _slope(values: Sequence[float]) -> float:
    """Of the straight line through the values; by slice."""
    middle = (len(values) - 1) / 2.0
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * value for place, value in enumerate(values)) / spread


def _t_of_slope(values: Sequence[float]) -> float:
    slope, mean, middle = _slope(values), _mean(values), (len(values) - 1) / 2.0
    left = sum((value - mean - slope * (place - middle)) ** 2 for place, value in enumerate(values))
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return _ratio(abs(slope), math.sqrt(left / (len(values) - 2) / spread))


def _t_of_split(values: Sequence[float], at: int) -> float:
    """Of the difference between what comes before a place and what comes from there on."""
    parts = (values[:at], values[at:])
    left = sum((value - _mean(part)) ** 2 for part in parts for value in part)
    noise = math.sqrt(left / (len(values) - 2) * (1.0 / at + 1.0 / (len(values) - at)))
    return _ratio(abs(_mean(parts[0]) - _mean(parts[1])), noise)


def _ratio(change: float, noise: float) -> float:
    # where nothing scatters, rounding is the noise
    return change / max(noise, 1e-9)
