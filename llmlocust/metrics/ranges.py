"""Ranges of percentiles of values that are partly known only as sums. Pure.

Tokens that waited for the load generator are read together. Only the sum of the ITLs between them is known; each ITL may
be anything that the sum allows. A quantile then lies in a range that covers every distribution of the sums:

    upper bound    the largest x such that enough values can be x or more for the quantile to be one of them:
                   of n ITLs with the sum S, min(n, ⌊S/x⌋) can be
    lower bound    the smallest x such that enough values can be x or less:
                   all n if S ≤ n·x, otherwise n − 1
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llmlocust.metrics.histogram import SUB, ZERO, Histogram, bounds_of

_LOWEST = -40 * SUB
"""The bucket of 1e-12: all measured values are zero or larger than that."""


@dataclass
class Uncertain:
    """Values of which some are known only as sums."""

    known: Histogram
    """Values that are known individually."""
    sums: Mapping[int, Histogram] = field(default_factory=dict)
    """Exact sums of values, by the number of values in a sum."""
    limits: Mapping[int, Histogram] = field(default_factory=dict)
    """Upper bounds of sums of values, by the number of values in a sum."""

    @property
    def count(self) -> int:
        """Total number of values."""
        groups = (*self.sums.items(), *self.limits.items())
        return self.known.count + sum(size * histogram.count for size, histogram in groups)

    def quantile(self, q: float) -> tuple[float, float]:
        """Return the bounds of the q-quantile (nearest rank) in the unit of the values, rounded outwards to a bucket."""
        if not self.count:
            return math.nan, math.nan
        rank = max(1, math.ceil(q * self.count - 1e-9))
        highest = max(_top(histogram) for histogram in (self.known, *self.sums.values(), *self.limits.values()))
        ranks_above = self.count - rank + 1
        # both searches find a bucket; the bound is its outer edge
        lowest = _first_bucket(lambda bucket: self._at_most(bucket) >= rank, highest)
        beyond_highest = _first_bucket(lambda bucket: self._at_least(bucket) < ranks_above, highest + 1)
        return bounds_of(lowest)[0], bounds_of(_below(beyond_highest))[1]

    def _at_most(self, bucket: int) -> int:
        """Return the maximum number of values that can be in this bucket or below."""
        top = bounds_of(bucket)[1]
        count = _up_to(self.known, bucket)
        for size, histogram in self.sums.items():
            complete = sum(n for place, n in histogram.counts.items() if bounds_of(place)[0] <= size * top)
            count += (size - 1) * histogram.count + complete
        return count + sum(size * histogram.count for size, histogram in self.limits.items())

    def _at_least(self, bucket: int) -> int:
        """Return the maximum number of values that can be in this bucket or above."""
        bottom = bounds_of(bucket)[0]
        count = self.known.count - _up_to(self.known, _below(bucket))
        for size, histogram in (*self.sums.items(), *self.limits.items()):
            if bottom <= 0.0:
                count += size * histogram.count
            else:
                count += sum(min(size, int(bounds_of(place)[1] / bottom)) * n for place, n in histogram.counts.items())
        return count


def without(histogram: Histogram, removed: Histogram) -> Histogram:
    """Return a histogram without some of its values. Its min and max are then accurate to a bucket."""
    left = Histogram()
    counts = {bucket: n - removed.counts.get(bucket, 0) for bucket, n in histogram.counts.items()}
    left.counts = {bucket: n for bucket, n in counts.items() if n > 0}
    left.count = sum(left.counts.values())
    left.total = histogram.total - removed.total
    if left.counts:
        left.min = max(histogram.min, bounds_of(min(left.counts))[0])
        left.max = min(histogram.max, bounds_of(max(left.counts))[1])
    return left


def _first_bucket(condition: Callable[[int], bool], highest: int) -> int:
    """Return the lowest bucket that meets a condition, which all buckets above it meet, too. At most `highest`."""
    if condition(ZERO):
        return ZERO
    return bisect_left(range(_LOWEST, highest), True, key=condition) + _LOWEST


def _below(bucket: int) -> int:
    return ZERO if bucket <= _LOWEST else bucket - 1


def _top(histogram: Histogram) -> int:
    return max(histogram.counts, default=_LOWEST)


def _up_to(histogram: Histogram, bucket: int) -> int:
    buckets, reached = histogram.cumulated()
    place = bisect_right(buckets, bucket)
    return reached[place - 1] if place else 0
