"""`Sums`: the long lists of a record, counted into histograms."""

from __future__ import annotations

from operator import attrgetter

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.metric import METRICS
from llmlocust.stream.record import Record

POOLED = {key: metric.values for key, metric in METRICS.items() if metric.values}
"""Metrics that pool the values of all requests, with the Record's field of these values."""
_pooled_of = attrgetter(*POOLED.values())
_PIECE = 2000
"""So many values are counted in well under a millisecond."""


class Sums:
    """A record's long lists, counted. Piece by piece where they are long: nothing may hold the event loop."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.histograms = {metric: Histogram() for metric in POOLED}
        """By metric, of those that pool the values of all requests."""
        self._values = _pooled_of(record)
        self._length = max(map(len, self._values))
        self._counted = 0

    def take(self) -> bool:
        """Count a piece. False when that was the last."""
        end = self._counted + _PIECE
        for histogram, values in zip(self.histograms.values(), self._values, strict=True):
            histogram.extend(values if end >= len(values) and not self._counted else values[self._counted : end])
        self._counted = end
        return end < self._length
