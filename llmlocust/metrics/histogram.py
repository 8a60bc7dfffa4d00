"""A mergeable histogram of durations (or any numbers ≥ 0) with a bounded relative error at any size of value.

Each power of two is cut into SUB equal buckets (log-linear, as HdrHistogram does it), so a bucket is at most
1/SUB = 0.8 % wide, and so far at most is any value of it from any other. Buckets are named by integers, which is all
that has to travel between processes and all that a file needs:

    bucket = exponent * SUB + floor(SUB * (mantissa - 1))      with value = mantissa * 2**exponent, 1 <= mantissa < 2

Counts, count, total, least and most are exact; percentiles are read from the buckets.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from typing import Any

SUB = 128
ZERO = -(1 << 20)
"""The bucket of values that are zero (or below what a float can hold)."""

_Z95 = 1.959964
_BITS_OF_REST = 52 - (SUB.bit_length() - 1)
"""Of a double's 52 bits of mantissa, the first tell its bucket within its power of two; these are the others."""
_OFFSET = 1023 * SUB
"""Of a double's exponent, in buckets."""


def bucket_of(value: float) -> int:
    if value < sys.float_info.min:
        return ZERO
    mantissa, exponent = math.frexp(value)
    # frexp gives 0.5 <= mantissa < 1; doubled, it is the mantissa of the formula above
    return (exponent - 1) * SUB + int((mantissa * 2.0 - 1.0) * SUB)


def bounds_of(bucket: int) -> tuple[float, float]:
    """The half-open range of values that fall into a bucket, in the unit of the values."""
    if bucket == ZERO:
        return 0.0, 0.0
    exponent, sub = divmod(bucket, SUB)
    return math.ldexp(1.0 + sub / SUB, exponent), math.ldexp(1.0 + (sub + 1) / SUB, exponent)


class Histogram:
    """Counts of values by bucket. `add` and `merge` are all that changes it; merging is associative and commutative."""

    __slots__ = ("_order", "count", "counts", "least", "most", "total")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.most = -math.inf
        self._order: tuple[int, list[int], list[int]] = (0, [], [])
        self.extend(values)

    def add(self, value: float, times: int = 1) -> None:
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + times
        self.count += times
        self.total += value * times
        self.least = min(self.least, value)
        self.most = max(self.most, value)

    def extend(self, values: Iterable[float]) -> None:
        """Add many values: the same as `add` for each, and cheaper.

        A double's exponent and the beginning of its mantissa, as they stand in memory, are its bucket's number.
        """
        added = array("d", values)
        if not added:
            return
        counts = self.counts
        of_bits = Counter([bits >> _BITS_OF_REST for bits in memoryview(added).cast("B").cast("q")])
        for bits, count in of_bits.items():
            bucket = bits - _OFFSET if bits >= SUB else ZERO  # negative, zero, or without an exponent
            counts[bucket] = counts.get(bucket, 0) + count
        self.count += len(added)
        self.total += math.fsum(added)
        self.least = min(self.least, min(added))
        self.most = max(self.most, max(added))

    def merge(self, other: Histogram) -> None:
        self._merge(other.total, other.least, other.most, other.counts.keys(), other.counts.values())

    def merge_packed(self, packed: list[Any]) -> None:
        """`merge` for what `pack` gave: a master with many workers does little else."""
        self._merge(*packed)

    def _merge(self, total: float, least: float, most: float, buckets: Iterable[int], counts: Collection[int]) -> None:
        merged, get = self.counts, self.counts.get
        for bucket, count in zip(buckets, counts, strict=True):
            merged[bucket] = get(bucket, 0) + count
        self.count += sum(counts)
        self.total += total
        self.least = min(self.least, least)
        self.most = max(self.most, most)

    @classmethod
    def sum(cls, histograms: Iterable[Histogram]) -> Histogram:
        total = cls()
        for histogram in histograms:
            total.merge(histogram)
        return total

    @property
    def mean(self) -> float:
        """The exact mean; NaN when nothing was counted."""
        return self.total / self.count if self.count else math.nan

    def value_at(self, rank: int) -> float:
        """The rank-th smallest value (from 1), to within its bucket. Infinite beyond the last one."""
        if rank > self.count:
            return math.inf
        if rank <= 1:
            return self.least
        if rank == self.count:
            return self.most
        buckets, reached = self.cumulated()
        place = bisect_left(reached, rank)
        count = self.counts[buckets[place]]
        low, high = bounds_of(buckets[place])
        # the values of a bucket are taken as spread evenly over it
        value = low + (high - low) * (rank - reached[place] + count - 0.5) / count
        return min(max(value, self.least), self.most)

    def cumulated(self) -> tuple[list[int], list[int]]:
        """The buckets, smallest values first, and how many values each and all before it hold."""
        if self._order[0] != self.count:  # counts only ever grow
            buckets = sorted(self.counts)
            self._order = (self.count, buckets, list(accumulate(self.counts[bucket] for bucket in buckets)))
        return self._order[1:]

    def quantile(self, q: float, infinite: int = 0) -> float:
        """The q-quantile by nearest rank, with `infinite` further values beyond every finite one.

        Requests that failed are such values: counted so, time-outs cannot improve a p99. NaN when empty.
        """
        population = self.count + infinite
        if not population:
            return math.nan
        return self.value_at(max(1, math.ceil(q * population - 1e-9)))

    def up_to(self, value: float) -> int:
        """How many values are not above this one, to within its bucket."""
        if not self.count or value < self.least:
            return 0
        buckets, reached = self.cumulated()
        place = bisect_right(buckets, bucket_of(value))
        return self.count if value >= self.most else reached[place - 1]

    def interval(self, q: float) -> tuple[float, float]:
        """A 95 % interval for the q-quantile of what the values were drawn from.

        Order statistics: the number of values below the true quantile is binomial(n, q), taken as normal; the
        interval runs between the values at those two ranks. Where there are too few values for a rank to exist, the
        least or the greatest value stands in for it and the interval is narrower than it should be.
        """
        if not self.count:
            return math.nan, math.nan
        spread = _Z95 * math.sqrt(self.count * q * (1.0 - q))
        low = max(1, math.floor(self.count * q - spread))
        high = min(self.count, math.ceil(self.count * q + spread) + 1)
        return self.value_at(low), self.value_at(high)

    def items(self) -> Iterator[tuple[int, int]]:
        """Buckets and their counts, smallest values first."""
        return iter(sorted(self.counts.items()))

    def __len__(self) -> int:
        return self.count

    def __eq__(self, other: object) -> bool:
        # the total is a float sum, so two orders of merging may differ in its last bits
        return (
            isinstance(other, Histogram)
            and self.counts == other.counts
            and (self.least, self.most) == (other.least, other.most)
            and math.isclose(self.total, other.total, rel_tol=1e-9, abs_tol=1e-12)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, mean={self.mean:.6g}, least={self.least:.6g}, most={self.most:.6g})"

    def pack(self) -> list[Any]:
        """Plain lists and numbers, for a message."""
        return [self.total, self.least, self.most, list(self.counts), list(self.counts.values())]

    @classmethod
    def from_counts(cls, counts: dict[int, int]) -> Histogram:
        """From what a file keeps. The mean, least and most are then those of the buckets' middles: within 0.4 %."""
        made = cls()
        for bucket, count in counts.items():
            low, high = bounds_of(bucket)
            made.add((low + high) / 2.0, count)
        return made
