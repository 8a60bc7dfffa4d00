"""Durations by time, for charts of a whole run: a histogram for each span, in so many spans at most. Pure.

Spans begin one second long. When there get too many, neighbours are put together and all are twice as long from then
on: histograms merge, so the percentiles of a longer span are its own and no mean of others. A day is 338 spans.
"""

from __future__ import annotations

from typing import Any

from llmlocust.metrics.histogram import Histogram

MOST = 600


class Spans:
    def __init__(self, start: float = 0.0, most: int = MOST) -> None:
        """`start` is the moment of the run, in seconds, that the first span begins at: what was before is not kept."""
        self.start = int(start)
        self.width = 1
        """Seconds of a span."""
        self.changes = 0
        """How many changes there were. Who knows how many it has seen can ask for what changed since."""
        self._most = most
        self._changed: dict[int, int] = {}
        self._histograms: dict[tuple[int, str], Histogram] = {}

    def touch(self, second: int) -> int | None:
        """Something that is known of a second changed; the number of its span, None where it is not kept."""
        if second < self.start:
            return None
        while (second - self.start) // self.width >= self._most:
            self._double()
        span = (second - self.start) // self.width
        self.changes += 1
        self._changed[span] = self.changes
        return span

    def merge(self, second: int, metric: str, packed: list[Any]) -> None:
        """Add values of a second, in seconds, as Histogram.pack gives them."""
        span = self.touch(second)
        if span is not None:
            self._histogram(span, metric).merge_packed(packed)

    def changed_since(self, changes: int) -> list[int]:
        """Numbers of the spans that changed after so many changes, in order of time."""
        return sorted(span for span, change in self._changed.items() if change > changes)

    def changed(self, span: int) -> int:
        """How many changes there were when the span changed last; 0 where it never did."""
        return self._changed.get(span, 0)

    def seconds(self, span: int) -> range:
        begin = self.start + span * self.width
        return range(begin, begin + self.width)

    def quantile(self, span: int, metric: str, q: float) -> float:
        """In seconds; NaN where the span has no value."""
        return self._histograms.get((span, metric), _EMPTY).quantile(q)

    def _histogram(self, span: int, metric: str) -> Histogram:
        return self._histograms.setdefault((span, metric), Histogram())

    def _double(self) -> None:
        for span, metric in sorted(self._histograms):  # in order, and in place: there is never more than there was
            histogram = self._histograms.pop((span, metric))
            if span % 2 and (span // 2, metric) in self._histograms:
                self._histograms[span // 2, metric].merge(histogram)
            else:
                self._histograms[span // 2, metric] = histogram
        self.width *= 2
        self.changes += 1
        self._changed = {span // 2: self.changes for span in self._changed}


_EMPTY = Histogram()
