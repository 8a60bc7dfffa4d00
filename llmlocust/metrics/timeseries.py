"""Durations over time, for charts of a whole run: one histogram per time span, in a limited number of spans. Pure.

Spans are one second long at first. At the maximum number of spans, neighbours are merged and the length doubles.
Percentiles of a merged span are computed from its merged histogram, not averaged. A day has 338 spans.
"""

from __future__ import annotations

from typing import Any

from llmlocust.metrics.histogram import Histogram

MAX_SPANS = 600
"""Default maximum number of spans."""


class Spans:
    """Histograms of durations by time span and metric."""

    def __init__(self, start: float = 0.0, max_spans: int = MAX_SPANS) -> None:
        """`start` is the beginning of the first span, in seconds of the run. Earlier values are ignored."""
        self.start = int(start)
        self.width = 1
        """Length of a span in seconds."""
        self.changes = 0
        """Number of changes so far. A caller that remembers it can ask for the spans that changed since."""
        self._max_spans = max_spans
        self._changed: dict[int, int] = {}
        self._histograms: dict[tuple[int, str], Histogram] = {}

    def touch(self, second: int) -> int | None:
        """Mark the span of a second as changed. Returns the number of the span, or None for a second before the start."""
        if second < self.start:
            return None
        while (second - self.start) // self.width >= self._max_spans:
            self._double()
        span = (second - self.start) // self.width
        self.changes += 1
        self._changed[span] = self.changes
        return span

    def merge(self, second: int, metric: str, packed: list[Any]) -> None:
        """Add the packed histogram (`Histogram.pack`) of a second's values, in seconds."""
        span = self.touch(second)
        if span is not None:
            self._histogram(span, metric).merge_packed(packed)

    def changed_since(self, changes: int) -> list[int]:
        """Return the numbers of the spans that changed after the change with this number, in order of time."""
        return sorted(span for span, change in self._changed.items() if change > changes)

    def changed(self, span: int) -> int:
        """Return the number of the last change of a span; 0 if it never changed."""
        return self._changed.get(span, 0)

    def seconds(self, span: int) -> range:
        """Return the seconds of the run that a span covers."""
        begin = self.start + span * self.width
        return range(begin, begin + self.width)

    def quantile(self, span: int, metric: str, q: float) -> float:
        """Return the q-quantile of a metric in a span, in seconds; NaN if it has no values."""
        return self._histograms.get((span, metric), _EMPTY).quantile(q)

    def _histogram(self, span: int, metric: str) -> Histogram:
        return self._histograms.setdefault((span, metric), Histogram())

    def _double(self) -> None:
        for span, metric in sorted(self._histograms):  # in order and in place, so that no second copy is needed
            histogram = self._histograms.pop((span, metric))
            if span % 2 and (span // 2, metric) in self._histograms:
                self._histograms[span // 2, metric].merge(histogram)
            else:
                self._histograms[span // 2, metric] = histogram
        self.width *= 2
        self.changes += 1
        self._changed = {span // 2: self.changes for span in self._changed}


_EMPTY = Histogram()
