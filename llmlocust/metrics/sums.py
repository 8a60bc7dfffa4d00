"""`Sums`: the long lists of a record, counted into histograms."""

from __future__ import annotations

from llmlocust.metrics.histogram import Histogram
from llmlocust.stream.record import Record

_PIECE = 2000
"""So many values are counted in well under a millisecond."""


class Sums:
    """A record's long lists, counted. Piece by piece where they are long: nothing may hold the event loop."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.gaps, self.lags = Histogram(), Histogram()
        self._left = [(self.gaps, record.gaps), (self.lags, record.lags)]
        self._counted = 0

    def take(self) -> bool:
        """Count a piece. False when that was the last."""
        end = self._counted + _PIECE
        for histogram, values in self._left:
            histogram.extend(values if end >= len(values) and not self._counted else values[self._counted : end])
        self._counted = end
        return any(end < len(values) for _, values in self._left)
