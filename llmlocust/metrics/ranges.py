"""Percentiles of values of which some are not known one by one: then they are a range. Pure.

Tokens that waited for a load generator are read together. Of the gaps between them only the sum is known, and each
may be anything that the sum allows. A quantile is then not a number but lies between two, and every way to share the
sums out is between them:

    the most    the largest x for which so many values may be x or more that the quantile is one of them:
                of n gaps with the sum S, min(n, ⌊S/x⌋) may be
    the least   the smallest x for which so many values may be x or less:
                all n where S ≤ n·x, else n − 1
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llmlocust.metrics.histogram import SUB, ZERO, Histogram, bounds_of

_LOWEST = -40 * SUB
"""The bucket of 1e-12: nothing that is measured is less and not zero."""


@dataclass
class Uncertain:
    """Values, some of which are known only within their sums."""

    known: Histogram
    """Those known one by one."""
    sums: Mapping[int, Histogram] = field(default_factory=dict)
    """Of so many values each: the sums of those known within an exact sum,"""
    limits: Mapping[int, Histogram] = field(default_factory=dict)
    """and of those whose sum is only known not to be more."""

    @property
    def count(self) -> int:
        groups = (*self.sums.items(), *self.limits.items())
        return self.known.count + sum(size * histogram.count for size, histogram in groups)

    def quantile(self, q: float) -> tuple[float, float]:
        """Between what the q-quantile (nearest rank) must lie, in the unit of the values, to a bucket outwards."""
        if not self.count:
            return math.nan, math.nan
        rank = max(1, math.ceil(q * self.count - 1e-9))
        highest = max(_top(histogram) for histogram in (self.known, *self.sums.values(), *self.limits.values()))
        beyond = self.count - rank + 1
        # both searches are over whole buckets, and rounded to the outer edge of the one that they find
        least = _first(lambda bucket: self._at_most(bucket) >= rank, highest)
        after = _first(lambda bucket: self._at_least(bucket) < beyond, highest + 1)
        return bounds_of(least)[0], bounds_of(_below(after))[1]

    def _at_most(self, bucket: int) -> int:
        """How many values may lie in this bucket or below."""
        top = bounds_of(bucket)[1]
        found = _up_to(self.known, bucket)
        for size, histogram in self.sums.items():
            together = sum(n for each, n in histogram.counts.items() if bounds_of(each)[0] <= size * top)
            found += (size - 1) * histogram.count + together
        return found + sum(size * histogram.count for size, histogram in self.limits.items())

    def _at_least(self, bucket: int) -> int:
        """How many values may lie in this bucket or above."""
        bottom = bounds_of(bucket)[0]
        found = self.known.count - _up_to(self.known, _below(bucket))
        for size, histogram in (*self.sums.items(), *self.limits.items()):
            if bottom <= 0.0:
                found += size * histogram.count
            else:
                found += sum(min(size, int(bounds_of(each)[1] / bottom)) * n for each, n in histogram.counts.items())
        return found


def without(histogram: Histogram, some: Histogram) -> Histogram:
    """A histogram less some of its values. Its least and most are then known to a bucket."""
    left = Histogram()
    counts = {bucket: n - some.counts.get(bucket, 0) for bucket, n in histogram.counts.items()}
    left.counts = {bucket: n for bucket, n in counts.items() if n > 0}
    left.count = sum(left.counts.values())
    left.total = histogram.total - some.total
    if left.counts:
        left.least = max(histogram.least, bounds_of(min(left.counts))[0])
        left.most = min(histogram.most, bounds_of(max(left.counts))[1])
    return left


def _first(holds: Callable[[int], bool], highest: int) -> int:
    """The lowest bucket for which something holds, that holds for all above it; `highest` where there is no lower."""
    if holds(ZERO):
        return ZERO
    return bisect_left(range(_LOWEST, highest), True, key=holds) + _LOWEST


def _below(bucket: int) -> int:
    return ZERO if bucket <= _LOWEST else bucket - 1


def _top(histogram: Histogram) -> int:
    return max(histogram.counts, default=_LOWEST)


def _up_to(histogram: Histogram, bucket: int) -> int:
    buckets, reached = histogram.cumulated()
    place = bisect_right(buckets, bucket)
    return reached[place - 1] if place else 0
