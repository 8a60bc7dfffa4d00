"""Standard errors of figures made of dependent values: requests that wait, wait together. Pure.

Errors follow from the scatter of sums over chunks of time. docs/compare.md defines the chunks. Times are seconds.
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
CHUNKS, MAX_CHUNKS = 12, 30
"""Usual and maximum number of chunks of a window."""
MIN_CHUNKS = 6
"""Minimum number of chunks for a standard error."""
ANSWERS = 4.0
"""Length of a chunk in open load, in durations of an answer, if the window is long enough."""
MAX_CORRELATION = 0.98
Z95 = 1.959964
"""Two-sided."""
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Values:
    """One value per request or per second, with its time and its weight."""

    at: Array
    """Seconds since the level's window began."""
    value: Array
    weight: Array
    """Number of values that one represents."""

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
        """The share of the weight of values up to this one."""
        values, reached = self._sorted
        place = bisect_right(values, value)
        return reached[place - 1] if place else 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        values, _ = self._sorted
        return values[0], values[-1]


class Times:
    """The times of the values of a window, for the effect of their dependence on a sum of them."""

    def __init__(
        self, at: Array, window: float, cycle: float = math.inf, answer: float = math.nan, *, lockstep: bool = False
    ) -> None:
        """Assign values to chunks.

        `cycle`: seconds from one request of a user to its next, infinite in open load. `answer`: duration of a request,
        NaN if not known. `lockstep`: whether users keep the order in which they began.
        """
        self.chunk, self.chunks = _chunks(at, window, cycle, answer)
        """The chunk of each value, −1 for none; and the number of chunks."""
        self._cycles = window / cycle
        self._part = (at / cycle * PARTS).astype(int) if self._cycles >= 2.0 else None
        self._lockstep = lockstep

    def sums(self, values: Array) -> Array:
        """The sums of values over each chunk."""
        within = self.chunk >= 0
        return np.bincount(self.chunk[within], values[within], self.chunks)

    def error(self, residuals: Array, alone: float) -> tuple[float, float]:
        """Standard error of the sum of `residuals`, and its degrees of freedom.

        `alone`: its variance if all requests were independent. Of the kinds of dependence, the one with the largest error
        counts.
        """
        candidates = [scatter(self.sums(residuals))]
        if self._part is None:
            candidates.append((alone, self.chunks - 1.0))
        else:
            candidates.append(scatter(np.bincount(self._part % PARTS, residuals, PARTS)))
            repeated = inflation(_correlation(np.bincount(self._part, residuals), PARTS))
            repeated = self._cycles if self._lockstep else min(self._cycles, repeated)
            candidates.append((alone * repeated, max(1.0, min(self.chunks, len(residuals) / repeated) - 1.0)))
        variance, freedom = max(candidates)
        return math.sqrt(variance), freedom


def _chunks(at: Array, window: float, cycle: float, answer: float) -> tuple[Array, int]:
    """The chunk of each time, and the number of chunks.

    A chunk consists of whole cycles, because users that wait together do so again in every cycle. In open load it is a few
    answers long, if the window is long enough. The remainder at the end belongs to no chunk.
    """
    length = window / CHUNKS
    if window >= MIN_CHUNKS * cycle:
        length = cycle * max(1, int(window / cycle / MAX_CHUNKS))
    elif answer > 0.0:
        length = min(length, max(ANSWERS * answer, window / MAX_CHUNKS))
    count = int(window / length + 1e-9)
    places = (at / length).astype(int)
    return np.where(places < count, places, -1), count


def scatter(sums: Array) -> tuple[float, float]:
    """Variance of the sum of all chunks, and its degrees of freedom, from their scatter. If neighbouring chunks are
    correlated, fewer are independent.
    """
    count = len(sums)
    clumped = inflation(_correlation(sums, 1) + 1.0 / count)
    return float((sums**2).sum()) * count / (count - 1) * clumped, max(1.0, (count - 1) / clumped)


def _correlation(sums: Array, lag: int) -> float:
    """The correlation of sums with this lag."""
    size = math.sqrt(float((sums[:-lag] ** 2).sum()) * float((sums[lag:] ** 2).sum())) if len(sums) > lag else 0.0
    return float((sums[:-lag] * sums[lag:]).sum()) / size if size > 0.0 else 0.0


def inflation(correlation: float) -> float:
    """The factor by which a correlation of neighbours increases the variance of a mean, by a first-order autoregression."""
    limited = min(max(correlation, 0.0), MAX_CORRELATION)
    return (1.0 + limited) / (1.0 - limited)


def share(values: Values, times: Times, border: float, q: float) -> tuple[float, float, float]:
    """The share of the values up to a border, its standard error, and the degrees of freedom."""
    below, total = values.value <= border, float(values.weight.sum())
    measured = float(values.weight[below].sum()) / total
    alone = q * (1.0 - q) * float((values.weight**2).sum())
    error, freedom = times.error(values.weight * (below - measured), alone)
    return measured, error / total, freedom


def welch(errors: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a difference (Welch and Satterthwaite)."""
    whole = math.fsum(error**2 for error in errors) ** 2
    parts = math.fsum(error**4 / freedom for error, freedom in zip(errors, freedoms, strict=True))
    return whole / parts if parts > 0.0 else math.inf


def normal(t: float, freedom: float) -> float:
    """Convert a t into the equally improbable z (Wallace 1959). It is exact to 0.02 from 3 degrees of freedom on."""
    if math.isinf(freedom) or not math.isfinite(t):
        return t
    size = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return math.copysign(size, t)


def student(z: float, freedom: float) -> float:
    """Convert a z into the equally improbable t: the inverse of `normal`."""
    if math.isinf(freedom):
        return z
    size = z * (8.0 * freedom + 3.0) / (8.0 * freedom + 1.0)
    return math.sqrt(freedom * math.expm1(size * size / freedom))
