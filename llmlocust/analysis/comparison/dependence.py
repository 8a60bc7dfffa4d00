"""How sure a figure is that is made of values which are not independent: who waits, waits with others. Pure.

Errors come from how sums of whole chunks of time scatter; docs/compare.md says which chunks, and why. Times are seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

PARTS = 12
"""Parts of a cycle."""
CHUNKS, MOST_CHUNKS = 12, 30
FEWEST_CHUNKS = 6
ANSWERS = 4.0
"""Answers' lengths that a chunk is long in open load, where the window holds so many."""
MOST_ALIKE = 0.98
Z95 = 1.959964
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Values:
    """One value a request (or a second), with when it was and how many it stands for."""

    at: Array
    """Seconds since the level's window began."""
    value: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.value)

    @cached_property
    def _sorted(self) -> tuple[list[float], list[float]]:
        """The values, smallest first, and the share of the weight up to each."""
        order = np.argsort(self.value, kind="stable")
        reached = np.cumsum(self.weight[order])
        return self.value[order].tolist(), (reached / reached[-1]).tolist()

    def quantile(self, q: float) -> float:
        values, reached = self._sorted
        return values[min(bisect_left(reached, q - 1e-9), len(values) - 1)]

    @cached_property
    def mean(self) -> float:
        return float((self.value * self.weight).sum() / self.weight.sum())

    def share_up_to(self, value: float) -> float:
        values, reached = self._sorted
        place = bisect_right(values, value)
        return reached[place - 1] if place else 0.0

    @property
    def ends(self) -> tuple[float, float]:
        values, _ = self._sorted
        return values[0], values[-1]


class Times:
    """When the values of a window were, for what their dependence does to a sum of them."""

    def __init__(
        self, at: Array, window: float, cycle: float = math.inf, answer: float = math.nan, *, lockstep: bool = False
    ) -> None:
        """`cycle`: from one request of a user to its next, infinite in open load. `answer`: what a request takes, NaN where
        that is not known. `lockstep`: whether users stay as they began.
        """
        self.chunk, self.chunks = _chunks(at, window, cycle, answer)
        """Which chunk each value is in, −1 for none; and how many chunks there are."""
        self._cycles = window / cycle
        self._part = (at / cycle * PARTS).astype(int) if self._cycles >= 2.0 else None
        self._lockstep = lockstep

    def sums(self, values: Array) -> Array:
        """The sums of the chunks."""
        within = self.chunk >= 0
        return np.bincount(self.chunk[within], values[within], self.chunks)

    def error(self, residuals: Array, alone: float) -> tuple[float, float]:
        """Standard error of the sum of `residuals`, and its degrees of freedom. `alone`: its variance if all requests were
        independent. Of the three ways in which they may not be, the one with the largest error counts.
        """
        found = [scatter(self.sums(residuals))]
        if self._part is None:
            found.append((alone, self.chunks - 1.0))
        else:
            found.append(scatter(np.bincount(self._part % PARTS, residuals, PARTS)))
            again = inflation(_correlation(np.bincount(self._part, residuals), PARTS))
            again = self._cycles if self._lockstep else min(self._cycles, again)
            found.append((alone * again, max(1.0, min(self.chunks, len(residuals) / again) - 1.0)))
        variance, freedom = max(found)
        return math.sqrt(variance), freedom


def _chunks(at: Array, window: float, cycle: float, answer: float) -> tuple[Array, int]:
    """A chunk is as many whole cycles as fit: users who wait together come again in every cycle. In open load it is some
    answers long, where the window is. What is left over at the end is in no chunk.
    """
    length = window / CHUNKS
    if window >= FEWEST_CHUNKS * cycle:
        length = cycle * max(1, int(window / cycle / MOST_CHUNKS))
    elif answer > 0.0:
        length = min(length, max(ANSWERS * answer, window / MOST_CHUNKS))
    count = int(window / length + 1e-9)
    places = (at / length).astype(int)
    return np.where(places < count, places, -1), count


def scatter(sums: Array) -> tuple[float, float]:
    """Variance of the sum of all chunks, and its degrees of freedom, from how they scatter. Where a chunk is like the one
    before it, there are fewer that are independent.
    """
    count = len(sums)
    clumped = inflation(_correlation(sums, 1) + 1.0 / count)
    return float((sums**2).sum()) * count / (count - 1) * clumped, max(1.0, (count - 1) / clumped)


def _correlation(sums: Array, lag: int) -> float:
    """How alike sums are that lie so far apart."""
    size = math.sqrt(float((sums[:-lag] ** 2).sum()) * float((sums[lag:] ** 2).sum())) if len(sums) > lag else 0.0
    return float((sums[:-lag] * sums[lag:]).sum()) / size if size > 0.0 else 0.0


def inflation(correlation: float) -> float:
    """By how much the variance of a mean grows where neighbours are so alike, as those of a first-order autoregression."""
    alike = min(max(correlation, 0.0), MOST_ALIKE)
    return (1.0 + alike) / (1.0 - alike)


def share(values: Values, times: Times, border: float, q: float) -> tuple[float, float, float]:
    """The share of the values up to a border, its standard error and the degrees of freedom of that."""
    below, total = values.value <= border, float(values.weight.sum())
    found = float(values.weight[below].sum()) / total
    alone = q * (1.0 - q) * float((values.weight**2).sum())
    error, freedom = times.error(values.weight * (below - found), alone)
    return found, error / total, freedom


def welch(errors: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a difference (Welch and Satterthwaite)."""
    whole = math.fsum(error**2 for error in errors) ** 2
    parts = math.fsum(error**4 / freedom for error, freedom in zip(errors, freedoms, strict=True))
    return whole / parts if parts > 0.0 else math.inf


def normal(t: float, freedom: float) -> float:
    """The z that is as improbable as a t (Wallace 1959): to within 0.02 from 3 degrees of freedom on."""
    if math.isinf(freedom) or not math.isfinite(t):
        return t
    size = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return math.copysign(size, t)


def student(z: float, freedom: float) -> float:
    """The inverse of `normal`."""
    if math.isinf(freedom):
        return z
    size = z * (8.0 * freedom + 3.0) / (8.0 * freedom + 1.0)
    return math.sqrt(freedom * math.expm1(size * size / freedom))
