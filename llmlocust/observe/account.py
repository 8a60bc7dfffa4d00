"""`Account`: counts what one source reports, by the windows of levels. Pure: the time is an argument.

Counters continue over restarts: their increments are summed over the pieces. At the borders of a window, counters are
interpolated between the scrapes before and after it. The program scrapes at once at each border, but what happened between
the two scrapes may all be on one side of it: an increase has bounds. Gauges are weighted by time, and a value holds until the next scrape.
"""

from __future__ import annotations

import math
from collections import ChainMap, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.telemetry import TelemetrySummary
from llmlocust.observe.bound import Bound, Totals, bind
from llmlocust.observe.exposition import Exposition, Series
from llmlocust.observe.rules import Engine, Rule

_START = "process_start_time_seconds"
_RESTARTED_SHARE = 0.5
"""Share of a source's counters that decrease at once if the process behind it began anew."""
_SHORTEST = 0.5
"""Share of the interval. Rates over a shorter time, at the border of a window, are no extremes: few events decide them."""
MAX_PAUSE = 10.0
"""Seconds between two scrapes. Values of gauges in a longer pause are not known."""
_MAX_OWN = 2000
"""Series of a source that have rows under their own names."""
_SCALE = 1000.0
"""Weights of values per second, as whole numbers for a histogram."""


class Taken(NamedTuple):
    """The result of a scrape."""

    values: dict[str, float]
    """By key of the vocabulary: the values that are new. Counters and rates per second since the last scrape."""
    own: list[tuple[Series, float]]
    """The changed series without buckets, with their values."""
    restarted: bool


@dataclass
class Spread:
    """The values of a metric in a window, weighted by time."""

    weight: float = 0.0
    total: float = 0.0
    samples: int = 0
    values: Histogram = field(default_factory=Histogram)

    def hold(self, value: float, seconds: float) -> None:
        """Add a value that was valid for some seconds."""
        self.weight += seconds
        self.total += value * seconds

    def add(self, value: float, seconds: float) -> None:
        """Add the value of a scrape, with the seconds since the last one."""
        self.samples += 1
        self.values.add(max(0.0, value), max(1, round(seconds * _SCALE)))

    @property
    def mean(self) -> float:
        return self.total / self.weight if self.weight else self.values.mean

    def summary(
        self, mean: float, increase: float = math.nan, bounds: tuple[float, float] | None = None
    ) -> TelemetrySummary:
        values = self.values
        if not values.count:
            return TelemetrySummary(0, mean, increase=increase, increase_bounds=bounds)
        return TelemetrySummary(
            self.samples, mean, values.min, values.max, values.quantile(0.5), values.quantile(0.95), increase, bounds
        )


class _Border(NamedTuple):
    """The totals of counters, and the integrals of gauges, at a border of a window."""

    at: dict[Series, float]
    before: dict[Series, float]
    """The counters that changed between the scrapes around the border: their totals at the first of the two."""
    after: dict[Series, float]
    """The same at the second."""


@dataclass
class _Window:
    """The window of a level."""

    level: int
    begin: float
    end: float = math.inf
    start: _Border | None = None
    """None until the next scrape."""
    stop: _Border | None = None
    spreads: defaultdict[str, Spread] = field(default_factory=lambda: defaultdict(Spread))
    extremes: dict[Series, tuple[float, float]] = field(default_factory=dict)

    def overlap(self, since: float, until: float) -> float:
        return max(0.0, min(until, self.end) - max(since, self.begin))


class Result(NamedTuple):
    """One metric of the vocabulary in a window of one source."""

    rule: Rule
    is_fallback: bool
    summary: TelemetrySummary
    above: float
    below: float
    buckets: dict[float, float]


class Row(NamedTuple):
    """A row of the table of levels."""

    level: int
    metric: str
    labels: str
    kind: str
    summary: TelemetrySummary


class Account:
    """The figures of one source."""

    def __init__(self, engines: Sequence[Engine], interval: float = 1.0) -> None:
        """`interval`: seconds between two scrapes, apart from those at the borders of windows."""
        self._engines = engines
        self._shortest = interval * _SHORTEST
        self._exposition = Exposition()
        self._version = -1
        self._rules: list[Bound] = []
        self._windows: list[_Window] = []
        self._finished: list[_Window] = []
        self._held: dict[str, float] = {}
        """The newest values of gauges."""
        self.engines: list[Engine] = []
        """The engines that were recognised."""
        self.time = math.nan
        """The moment of the last scrape."""
        self.first = math.nan
        self.restarts = 0

    # ── scrapes ──

    def take(self, time: float, text: bytes) -> Taken | None:
        """Take a scrape. Returns None for one that is not newer than the last. Raises ValueError in one line if the text has
        no metric.
        """
        if time <= self.time:
            return None
        changed = self._exposition.feed(text)
        is_first = math.isnan(self.time)
        restarted = not is_first and self._has_restarted(changed)
        self.restarts += restarted
        last = {series: series.total for series, _ in changed}
        if restarted:
            last |= self._begin_anew({series for series, _ in changed})
        self._store(time, changed)
        if self._version != self._exposition.version:
            self._bind(time)
        if is_first:
            self.first = time
        values = {} if is_first else self._values(time, changed, last)
        self._hold(time, values)
        self._pass_borders(time, last)
        for series, value in changed:
            series.low, series.high = min(series.low, value), max(series.high, value)
        own = [(series, value) for series, value in changed if series.kind in ("counter", "gauge")]
        self.time = time
        return Taken(values, own, restarted)

    def _has_restarted(self, changed: Iterable[tuple[Series, float]]) -> bool:
        """Whether the process behind the source began anew since the last scrape."""
        decreased = 0
        for series, value in changed:
            if math.isnan(series.raw):
                continue
            if (series.name == _START and value > series.raw + 1.0) or (
                series.kind == "created" and value > series.raw
            ):
                return True
            decreased += series.is_counter and value < series.raw
        if not decreased:
            return False
        counters = sum(
            series.is_counter and series.raw > 0.0 and series.epoch == self.restarts
            for series in self._exposition.series.values()
        )
        return decreased >= _RESTARTED_SHARE * counters

    def _begin_anew(self, changed: Collection[Series]) -> dict[Series, float]:
        """Let all counters of the scrape continue from their totals. Returns these totals.

        A counter whose number did not change has counted from 0 to the same number again.
        """
        counters = [series for series in self._exposition.present() if series.is_counter and series.raw > 0.0]
        totals = {series: series.total for series in counters}
        for series in counters:
            series.base, series.epoch = series.total, self.restarts
            if series in changed:
                series.raw = 0.0
        return totals

    def _store(self, time: float, changed: Iterable[tuple[Series, float]]) -> None:
        for series, value in changed:
            if series.kind == "gauge":
                if not math.isnan(series.since):
                    series.integral += series.raw * (time - series.since)
                series.since = time
            elif series.is_counter and series.raw > 0.0 and self._is_reset(series, value):
                series.base += series.raw
            series.epoch = self.restarts
            series.raw = value

    def _is_reset(self, series: Series, value: float) -> bool:
        """Whether a counter began anew on its own, or was missing in the scrape after a restart."""
        return value < series.raw or series.epoch < self.restarts

    def _bind(self, time: float) -> None:
        """Find the series of each rule again, because new series have appeared."""
        self._version = self._exposition.version
        names = {series.name for series in self._exposition.series.values()}
        self.engines = [
            engine for engine in self._engines if any(engine.renamed(name).startswith(engine.signs) for name in names)
        ]
        bound: dict[str, Bound] = {}
        for engine in self.engines:
            by_name: defaultdict[str, list[Series]] = defaultdict(list)
            for series in self._exposition.series.values():
                by_name[engine.renamed(series.name)].append(series)
            for rule in engine.rules:
                if rule.key not in bound and (new := bind(rule, engine, by_name, self._scrape)) is not None:
                    bound[rule.key] = new
        earlier = {old.rule.key: old for old in self._rules}
        for key, known in bound.items():
            known.follow(earlier.get(key), time if math.isnan(self.time) else self.time)
        self._rules = list(bound.values())

    @property
    def _scrape(self) -> int:
        """The number of the last scrape."""
        return self._exposition.scrapes - 1

    def _values(self, time: float, changed: Iterable[tuple[Series, float]], last: Totals) -> dict[str, float]:
        """Return the values since the last scrape. An exporter that updates slowly has values only at its updates."""
        moved = {series for series, _ in changed}
        values = {}
        for bound in self._rules:
            if bound.is_slow and not any(series in moved for series in bound.series()):
                continue
            if bound.rule.kind == "changes":
                value: float | None = bound.note_changes(time, self._scrape) / (time - self.time)
            else:
                value = bound.since(last, time - bound.updated, self._scrape)
            bound.updated = time
            if value is not None:
                values[bound.rule.key] = value
        return values

    def _hold(self, time: float, values: Mapping[str, float]) -> None:
        """Add the time since the last scrape to the windows."""
        seconds = time - self.time
        for window in self._windows:
            overlap = window.overlap(self.time, time) if not math.isnan(self.time) and seconds <= MAX_PAUSE else 0.0
            for bound in self._rules:
                key, value = bound.rule.key, values.get(bound.rule.key, math.nan)
                is_gauge = bound.rule.kind == "gauge"
                held = self._held.get(key, math.nan) if is_gauge else value
                if overlap and not math.isnan(held):
                    window.spreads[key].hold(held, overlap)
                inside = window.begin <= time <= window.end if is_gauge else overlap > 0.0 and seconds >= self._shortest
                if inside and not math.isnan(value):
                    window.spreads[key].add(value, overlap or seconds)
        for bound in self._rules:
            if bound.rule.kind == "gauge":
                new = bound.gauge(self._scrape)
                if new is None:
                    self._held.pop(bound.rule.key, None)
                else:
                    self._held[bound.rule.key] = new

    def latest(self) -> dict[str, float]:
        """Return the newest values of gauges."""
        return self._held

    # ── windows ──

    def begin(self, level: int, time: float) -> None:
        """Begin the window of a level."""
        self._windows.append(_Window(level, time))

    def end(self, level: int, time: float) -> None:
        """End the window of a level. Its figures are complete after the next scrape."""
        for window in self._windows:
            if window.level == level and window.end == math.inf:
                window.end = time

    def is_complete(self, level: int) -> bool:
        """Whether the source has answered since the window of a level ended."""
        return all(window.level != level for window in self._windows)

    def _pass_borders(self, time: float, moved: Mapping[Series, float]) -> None:
        """Note the totals at the borders of windows that lie between the last scrape and this one."""
        for window in list(self._windows):
            if window.start is None and window.begin <= time:
                window.start = self._border(window.begin, time, moved)
                self._reset_extremes()
            if window.end <= time:
                self._close(window, self._border(window.end, time, moved))

    def _close(self, window: _Window, stop: _Border) -> None:
        window.stop = stop
        window.extremes = {
            series: (series.low, series.high) for series in self._exposition.series.values() if series.kind == "gauge"
        }
        self._windows.remove(window)
        self._finished = [*(old for old in self._finished if old.level != window.level), window]

    def _reset_extremes(self) -> None:
        for series in self._exposition.series.values():
            series.low = series.high = series.raw

    def _border(self, border: float, time: float, moved: Mapping[Series, float]) -> _Border:
        counters = {series: before for series, before in moved.items() if series.is_counter}
        return _Border(
            self._snapshot(border, time, moved),
            {series: 0.0 if math.isnan(before) else before for series, before in counters.items()},
            {series: series.total for series in counters},
        )

    def _snapshot(self, border: float, time: float, moved: Mapping[Series, float]) -> dict[Series, float]:
        """Return the totals of counters and the integrals of gauges at a moment between the last scrape and this one."""
        share = 1.0
        if not math.isnan(self.time) and time > self.time:
            share = min(1.0, max(0.0, (border - self.time) / (time - self.time)))
        snapshot = {}
        for series in self._exposition.series.values():
            if series.is_counter:
                total = series.total
                before = moved.get(series, total)
                # a series that has appeared counts from 0
                snapshot[series] = total - (1.0 - share) * (total - (0.0 if math.isnan(before) else before))
            elif series.kind == "gauge" and not math.isnan(series.since):
                # until this scrape, the value of the last one held
                held = moved.get(series, math.nan)
                snapshot[series] = series.integral + (border - series.since) * (
                    series.raw if math.isnan(held) else held
                )
        return snapshot

    def finish(self) -> None:
        """Complete the windows with the last scrape: there will be no further one."""
        for window in list(self._windows):
            if window.start is not None:
                window.end = min(window.end, self.time)
                at = self._snapshot(window.end, self.time, {})
                # the window may have lasted longer
                after = {series: math.inf for series in at if series.is_counter}
                self._close(window, _Border(at, {}, after))

    def results(self, level: int) -> list[Result]:
        """Return the metrics of the vocabulary in the window of a level."""
        window = next((window for window in self._finished if window.level == level), None)
        if window is None:
            return []
        return [result for bound in self._rules if (result := _result(bound, window)) is not None]

    def own_rows(self, level: int) -> list[Row]:
        """Return the rows of the source's own metrics in the window of a level, without buckets."""
        window = next((window for window in self._finished if window.level == level), None)
        if window is None or window.start is None or window.stop is None:
            return []
        rows: list[Row] = []
        seconds = window.end - window.begin
        for series, stop in window.stop.at.items():
            if series.kind not in ("counter", "gauge") or len(rows) >= _MAX_OWN:
                continue
            if series.kind == "counter":
                increase = stop - window.start.at.get(series, 0.0)
                summary = TelemetrySummary(0, increase / seconds if seconds else math.nan, increase=increase)
            else:
                start = window.start.at.get(series, math.nan)
                low, high = window.extremes.get(series, (math.nan, math.nan))
                summary = TelemetrySummary(
                    0, (stop - start) / seconds if seconds and not math.isnan(start) else series.raw, low, high
                )
            rows.append(Row(level, series.name, series.labels_text, series.kind, summary))
        return rows

    def setting(self, place: str) -> str | None:
        """Return the value of a metric, or of one of its labels: `METRIC{label}`."""
        name, _, label = place.removesuffix("}").partition("{")
        for series in self._exposition.series.values():
            is_named = any(engine.renamed(series.name) == name for engine in self.engines)
            if is_named and (not label or label in series.labels):
                return series.labels[label] if label else f"{series.raw:g}"
        return None

    def is_fallback(self, key: str) -> bool:
        """Whether the metric of this source is used only if no other source has it."""
        return any(bound.is_fallback for bound in self._rules if bound.rule.key == key)

    @property
    def step(self) -> float:
        """The step in which the largest counter moves, if the exporter rounds it; 0 if it does not."""
        digits = max((engine.digits for engine in self.engines), default=0)
        largest = max(
            (series.raw for series in self._exposition.series.values() if series.kind == "counter"), default=0
        )
        return 10.0 ** max(0, len(f"{largest:.0f}") - digits) if digits and largest >= 10.0**digits else 0.0

    @property
    def exposes(self) -> list[str]:
        """The keys of the vocabulary that the source reports."""
        return [bound.rule.key for bound in self._rules]

    @property
    def is_cut(self) -> bool:
        return self._exposition.is_cut


def _result(bound: Bound, window: _Window) -> Result | None:
    """Return the figures of a rule in a window; None if they are not known."""
    rule, spread, start, stop = bound.rule, window.spreads[bound.rule.key], window.start, window.stop
    if start is None or stop is None:
        return None
    seconds = window.end - window.begin
    if rule.kind in ("gauge", "rate"):
        return (
            Result(rule, bound.is_fallback, spread.summary(spread.mean), math.nan, math.nan, {})
            if spread.weight
            else None
        )
    if rule.kind == "changes":
        changes = float(sum(window.begin < time <= window.end for time in bound.change_times))
        return Result(
            rule,
            bound.is_fallback,
            spread.summary(changes / seconds if seconds else math.nan, changes),
            changes,
            math.nan,
            {},
        )
    growths = bound.growths(start.at, stop.at)
    above, below = (math.fsum(values) for values in zip(*growths, strict=True)) if growths else (0.0, 0.0)
    if rule.kind == "counter":
        above *= rule.scale
        return Result(
            rule,
            bound.is_fallback,
            spread.summary(above / seconds if seconds else math.nan, above, _bounds(bound, start, stop)),
            above,
            math.nan,
            {},
        )
    buckets = bound.bucket_growths(start.at, stop.at)
    return Result(
        rule, bound.is_fallback, pooled(rule, spread, bound.quotient(growths), below, buckets), above, below, buckets
    )


def _bounds(bound: Bound, start: _Border, stop: _Border) -> tuple[float, float]:
    """Return the bounds of the increase of a counter: what changed at a border may all have been inside, or outside."""
    least, most = (
        math.fsum(above for above, _ in bound.growths(ChainMap(first, start.at), ChainMap(last, stop.at)))
        for first, last in ((start.after, stop.before), (start.before, stop.after))
    )
    return max(0.0, least) * bound.rule.scale, most * bound.rule.scale


def pooled(rule: Rule, spread: Spread, mean: float, below: float, buckets: Mapping[float, float]) -> TelemetrySummary:
    """Return the summary of a ratio or a histogram. `mean`, `below`: its value and the increase of its denominator."""
    if rule.kind != "histogram":
        return spread.summary(mean)
    (p50, p50_bounds), (p95, p95_bounds) = (percentile(buckets, q, mean) for q in (0.5, 0.95))
    return TelemetrySummary(
        spread.samples, mean, math.nan, math.nan, p50, p95, below, p50_bounds=p50_bounds, p95_bounds=p95_bounds
    )


def percentile(
    buckets: Mapping[float, float], q: float, mean: float = math.inf
) -> tuple[float, tuple[float, float] | None]:
    """Return a percentile of a histogram's window by linear interpolation, and the bounds between which it is.

    `buckets`: cumulative counts by upper bound, as Prometheus has them. The last bucket has no upper bound: the value is
    then its lower bound. `mean` limits a percentile, too (Markov's inequality): a first bucket of 0.3 s says little about
    a queue of microseconds.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total > 0.0:
        return math.nan, None
    rank, low, below = q * total, 0.0, 0.0
    for high in bounds:
        count = buckets[high]
        if count >= rank and count > below:
            cap = mean / (1.0 - q)
            top = cap if low <= cap < high else high
            if math.isinf(high):
                return low, (low, top)
            return low + (top - low) * (rank - below) / (count - below), (low, top)
        low, below = high, max(below, count)
    return math.nan, None
