"""`Drift`: the growth of a figure in a long run, with the smallest growth that the run could have found. Pure.

Latency drifts per hour. Memory drifts per 1,000 requests: on a server that leaks with each request, idle hours do not count.
A run without drift shows that its drift is below the smallest one that it could have found, never that there is none.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from llmlocust.analysis.arrays import Floats
from llmlocust.analysis.drift.slope import MIN_POINTS, slope_of, theil_sen
from llmlocust.text import figures as words
from llmlocust.text.message import Message, capitalised, message, term

HOUR = 3600.0
PER_HOUR, PER_1000_REQUESTS = term("hour"), term("1,000 requests")
WARMUP = 0.2
"""Share of the run that is left out by default: caches, allocators and compiled graphs fill up."""
POWER = 0.8
"""Probability with which the smallest detectable drift is found."""
MAX_POINTS = 200
"""Values above which neighbours are averaged: the number of pairs grows with the square."""
_LASTS = 1.0 / 3.0
"""Share of the drift that must remain in the second half. A cache that fills up grows fast at first, and stops."""


@dataclass(frozen=True)
class Drift:
    """The growth of a figure per unit of `per`, after the warm-up."""

    figure: str
    per: str
    slope: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    smallest: float
    """The smallest drift that a run like this one finds with a probability of 80 %."""
    is_drifting: bool
    """Whether the interval excludes zero, and the growth goes on in the second half."""
    slows_down: bool
    """Whether the interval excludes zero, but the growth ends: a warm-up that is longer than the one that was left out."""
    now: float
    """The value at the end of the line."""
    points: int
    correlation: float
    """Correlation of neighbouring values."""
    unit: str = ""
    """The unit of the figure: "s", "bytes", "share", or empty for a number."""

    def to_limit(self, limit: float) -> tuple[float | None, float | None, float | None]:
        """Return how many units of `per` it takes to reach a limit, and the ends of the 95 % interval. None: never.

        The first end is that of the fastest growth.
        """
        towards = 1.0 if limit >= self.now else -1.0
        fastest, slowest = (self.high, self.low) if towards > 0.0 else (self.low, self.high)
        distance = limit - self.now
        return tuple(  # type: ignore[return-value]
            distance / slope if slope * towards > 0.0 else None for slope in (self.slope, fastest, slowest)
        )

    @property
    def says(self) -> Message:
        """One sentence. It never says that there is no drift."""
        figure, per = capitalised(self.figure), self.per
        if not self.smallest > 0.0:
            return message("{figure} did not change.", figure=figure)
        if self.is_drifting:
            return message(
                "{figure} drifts by {slope} per {per} (95 % CI {low} to {high}).",
                figure=figure,
                per=per,
                slope=self.text(self.slope),
                low=self.text(self.low),
                high=self.text(self.high),
            )
        if self.slows_down:
            return message(
                "{figure} grew at first and then stopped: the warm-up was longer than the part left out.", figure=figure
            )
        return message(
            "{figure}: no drift above {smallest} per {per}, the smallest that this run could have found.",
            figure=figure,
            per=per,
            smallest=words.amount(self.smallest, self.unit),
        )

    def text(self, change: float) -> str:
        """Return a change of the figure in words, with its sign."""
        return words.signed(change, lambda size: words.amount(size, self.unit))


def drift_of(figure: str, x: Floats, y: Floats, per: str, warm_up: float = WARMUP, unit: str = "") -> Drift | None:
    """Return the drift of a series; None with too few values. `x` are hours, or thousands of requests, in rising order.

    `warm_up` is the share of x that is left out at the beginning.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    is_known = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[is_known], y[is_known]
    if len(x) < MIN_POINTS:
        return None
    is_warm = x >= x[0] + warm_up * (x[-1] - x[0])
    x, y = thinned(x[is_warm], y[is_warm])
    if len(x) < MIN_POINTS or not x[-1] > x[0]:
        return None
    line = slope_of(x, y)
    low, high = line.interval
    is_certain = low > 0.0 or high < 0.0
    lasts = _late_slope(x, y) * line.slope >= _LASTS * line.slope**2
    return Drift(
        figure=figure,
        per=per,
        slope=line.slope,
        low=low,
        high=high,
        smallest=(line.quantile + NormalDist().inv_cdf(POWER)) * line.error,
        is_drifting=is_certain and lasts,
        slows_down=is_certain and not lasts,
        now=line.intercept + line.slope * float(x[-1]),
        points=len(x),
        correlation=line.correlation,
        unit=unit,
    )


def _late_slope(x: Floats, y: Floats) -> float:
    half = len(x) // 2
    return theil_sen(x[half:], y[half:])[0]


def thinned(x: Floats, y: Floats, most: int = MAX_POINTS) -> tuple[Floats, Floats]:
    """Return at most `most` means of neighbours."""
    if len(x) <= most:
        return x, y
    places = (np.arange(len(x)) * most) // len(x)
    counts = np.bincount(places)
    return np.bincount(places, x) / counts, np.bincount(places, y) / counts


def latency_by_time(due: Floats, seconds: Floats, quantile: float, points: int = MAX_POINTS) -> tuple[Floats, Floats]:
    """Return hours since the first request, and a quantile of the durations in each of equal spans of time.

    A span has at least 1 / (1 - quantile) requests on average. Failed requests have no duration (NaN) and are left out.
    """
    is_known = ~np.isnan(due) & ~np.isnan(seconds)
    due, seconds = due[is_known], seconds[is_known]
    if not len(due):
        return np.array([]), np.array([])
    count = max(1, min(points, int(len(due) * (1.0 - quantile) / 1.0)))
    width = max(float(due.max() - due.min()) / count, 1e-9)
    places = np.minimum(((due - due.min()) / width).astype(int), count - 1)
    order = np.argsort(places, kind="stable")
    edges = np.searchsorted(places[order], np.arange(count + 1))
    values = [
        float(np.quantile(seconds[order[begin:end]], quantile)) if end > begin else math.nan
        for begin, end in itertools.pairwise(edges)
    ]
    hours = np.asarray((np.arange(count) + 0.5) * width / HOUR, dtype=np.float64)
    return hours, np.array(values)


def memory_by_requests(
    moments: Floats, values: Floats, ended: Floats, weight: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return thousands of requests that had ended at each moment, and the values of the memory at these moments.

    The memory should be RssAnon and swap together: RSS alone falls when the system swaps a leak out. The values should be of
    one process: a restart frees its memory.
    """
    order, by_end = np.argsort(moments), np.argsort(ended)
    weights = np.ones(len(ended)) if weight is None else weight[by_end]
    cumulated = np.concatenate(([0.0], np.cumsum(weights)))
    served = cumulated[np.searchsorted(ended[by_end], moments[order], side="right")]
    return np.asarray(served / 1000.0, dtype=np.float64), values[order]
