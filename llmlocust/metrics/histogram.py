"""A mergeable histogram of durations (or any numbers ≥ 0) with a bounded relative error at any size of value.

Each power of two is divided into SUB equal buckets (log-linear, as in HdrHistogram). A bucket is at most 1/SUB = 0.8 %
wide, so two values of one bucket differ by at most 0.8 %. Buckets are numbered by integers. Messages between processes
and files contain only these numbers and their counts:

    bucket = exponent * SUB + floor(SUB * (mantissa - 1))      with value = mantissa * 2**exponent, 1 <= mantissa < 2

Counts, count, total, min and max are exact. Percentiles are read from the buckets.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from typing import Any

SUB = 128
ZERO = -(1 << 20)
"""The bucket of zero, and of positive values below the smallest normal float."""

_Z95 = 1.959964
_DROPPED_BITS = 52 - (SUB.bit_length() - 1)
"""Number of low mantissa bits of a double (of 52) that do not affect its bucket. The high ones give the bucket within its \
power of two."""
_OFFSET = 1023 * SUB
"""Bias of a double's exponent, in buckets."""
_MIN_NORMAL = 1 << 52
"""The bits of the smallest normal float. Those of zero, of subnormal floats and, with their sign, of negative ones are less."""


def bucket_of(value: float) -> int:
    """Return the bucket of a value."""
    if value < sys.float_info.min:
        return ZERO
    mantissa, exponent = math.frexp(value)
    # frexp gives 0.5 <= mantissa < 1; doubled, it is the mantissa of the formula above
    return (exponent - 1) * SUB + int((mantissa * 2.0 - 1.0) * SUB)


def bounds_of(bucket: int) -> tuple[float, float]:
    """Return the half-open range of values of a bucket, in the unit of the values."""
    if bucket == ZERO:
        return 0.0, 0.0
    exponent, sub = divmod(bucket, SUB)
    return math.ldexp(1.0 + sub / SUB, exponent), math.ldexp(1.0 + (sub + 1) / SUB, exponent)


class Histogram:
    """Counts of values by bucket. Values are only ever added. Merging is associative and commutative."""

    __slots__ = ("_order", "count", "counts", "max", "min", "total")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.min = math.inf
        self.max = -math.inf
        self._order: tuple[int, list[int], list[int]] = (0, [], [])
        self.extend(values)

    def add(self, value: float, times: int = 1) -> None:
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + times
        self.count += times
        self.total += value * times
        # comparisons are faster than calls, and a request adds to about twenty histograms
        if value < self.min:  # noqa: PLR1730
            self.min = value
        if value > self.max:  # noqa: PLR1730
            self.max = value

    def extend(self, values: Iterable[float]) -> None:
        """Add many values. The result is that of `add` for each value, at a lower cost.

        The exponent and the high mantissa bits of a double, as they are in memory, are the number of its bucket.
        """
        doubles = array("d", values)
        if not doubles:
            return
        counts, get = self.counts, self.counts.get
        for bits in memoryview(doubles).cast("B").cast("q"):
            bucket = (bits >> _DROPPED_BITS) - _OFFSET if bits >= _MIN_NORMAL else ZERO
            counts[bucket] = get(bucket, 0) + 1
        new_values = doubles.tolist()  # faster than three passes over the array
        self.count += len(new_values)
        self.total += math.fsum(new_values)
        self.min = min(self.min, min(new_values))
        self.max = max(self.max, max(new_values))

    def merge(self, other: Histogram) -> None:
        self._merge(other.total, other.min, other.max, other.counts.keys(), other.counts.values())

    def merge_packed(self, packed: list[Any]) -> None:
        """Merge the output of `pack` without building a Histogram: a master with many workers spends most of its time here."""
        self._merge(*packed)

    def _merge(self, total: float, low: float, high: float, buckets: Iterable[int], counts: Collection[int]) -> None:
        merged, get = self.counts, self.counts.get
        for bucket, count in zip(buckets, counts, strict=True):
            merged[bucket] = get(bucket, 0) + count
        self.count += sum(counts)
        self.total += total
        if low < self.min:  # noqa: PLR1730  # as in `add`
            self.min = low
        if high > self.max:  # noqa: PLR1730
            self.max = high

    @classmethod
    def sum(cls, histograms: Iterable[Histogram]) -> Histogram:
        total = cls()
        for histogram in histograms:
            total.merge(histogram)
        return total

    @property
    def mean(self) -> float:
        """The exact mean; NaN if the histogram is empty."""
        return self.total / self.count if self.count else math.nan

    def value_at(self, rank: int) -> float:
        """Return the rank-th smallest value (rank 1 is the smallest), accurate to its bucket; infinity above the last rank."""
        if rank > self.count:
            return math.inf
        if rank <= 1:
            return self.min
        if rank == self.count:
            return self.max
        buckets, reached = self.cumulated()
        place = bisect_left(reached, rank)
        count = self.counts[buckets[place]]
        low, high = bounds_of(buckets[place])
        # assumes that the values of a bucket are evenly spread
        value = low + (high - low) * (rank - reached[place] + count - 0.5) / count
        return min(max(value, self.min), self.max)

    def cumulated(self) -> tuple[list[int], list[int]]:
        """Return the buckets in ascending order, and the cumulative count of values up to each of them."""
        if self._order[0] != self.count:  # counts only ever grow
            buckets = sorted(self.counts)
            self._order = (self.count, buckets, list(accumulate(self.counts[bucket] for bucket in buckets)))
        return self._order[1:]

    def quantile(self, q: float, infinite: int = 0) -> float:
        """Return the q-quantile by nearest rank, with `infinite` additional infinite values. NaN if there are no values.

        Failed requests are counted as infinite, so that time-outs cannot improve a p99.
        """
        population = self.count + infinite
        if not population:
            return math.nan
        return self.value_at(max(1, math.ceil(q * population - 1e-9)))

    def up_to(self, value: float) -> int:
        """Return the number of values up to this one, accurate to its bucket."""
        if not self.count or value < self.min:
            return 0
        buckets, reached = self.cumulated()
        place = bisect_right(buckets, bucket_of(value))
        return self.count if value >= self.max else reached[place - 1]

    def interval(self, q: float) -> tuple[float, float]:
        """Return a 95 % confidence interval of the q-quantile of the distribution that the values are a sample of.

        The number of values below the true quantile is binomial(n, q), approximated as normal. The interval lies between
        the values at its two ranks (order statistics). If there are too few values for a rank, the smallest or largest
        value replaces it, and the interval is too narrow.
        """
        if not self.count:
            return math.nan, math.nan
        spread = _Z95 * math.sqrt(self.count * q * (1.0 - q))
        low = max(1, math.floor(self.count * q - spread))
        high = min(self.count, math.ceil(self.count * q + spread) + 1)
        return self.value_at(low), self.value_at(high)

    def items(self) -> Iterator[tuple[int, int]]:
        """Iterate over the buckets in ascending order, with their counts."""
        return iter(sorted(self.counts.items()))

    def __len__(self) -> int:
        return self.count

    def __eq__(self, other: object) -> bool:
        # the total is a sum of floats: its last bits depend on the order of merging
        return (
            isinstance(other, Histogram)
            and self.counts == other.counts
            and (self.min, self.max) == (other.min, other.max)
            and math.isclose(self.total, other.total, rel_tol=1e-9, abs_tol=1e-12)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, mean={self.mean:.6g}, min={self.min:.6g}, max={self.max:.6g})"

    def pack(self) -> list[Any]:
        """Return plain lists and numbers for a message between processes."""
        return [self.total, self.min, self.max, list(self.counts), list(self.counts.values())]

    @classmethod
    def from_counts(cls, counts: dict[int, int]) -> Histogram:
        """Build a histogram from the counts in a file. Mean, min and max are those of the bucket centres, within 0.4 %."""
        histogram = cls()
        for bucket, count in counts.items():
            low, high = bounds_of(bucket)
            histogram.add((low + high) / 2.0, count)
        return histogram
