"""`Sums`: histograms of the long lists of a record."""

from __future__ import annotations

from operator import attrgetter

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.metric import METRICS
from llmlocust.stream.record import Record

POOLED = {key: metric.values for key, metric in METRICS.items() if metric.values}
"""Metrics that pool the values of all requests, with the Record's field of these values."""
_pooled_of = attrgetter(*POOLED.values())
_PIECE = 2000
"""Number of values that are counted in well under a millisecond."""


class Sums:
    """Histograms of a record's long lists. Long lists are counted in pieces, so that the event loop is not blocked."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.histograms = {metric: Histogram() for metric in POOLED}
        """By metric of POOLED."""
        self._values = _pooled_of(record)
        self._length = max(map(len, self._values))
        self._counted = 0

    def take(self) -> bool:
        """Count the next piece. Returns False after the last one."""
        end = self._counted + _PIECE
        for histogram, values in zip(self.histograms.values(), self._values, strict=True):
            histogram.extend(values if end >= len(values) and not self._counted else values[self._counted : end])
        self._counted = end
        return end < self._length
