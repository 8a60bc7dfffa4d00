"""`Account`: counts what one source reports, by the windows of levels. Pure: the time is an argument.

Counters continue over restarts: their increments are summed over the pieces. At the borders of a window, counters are
interpolated between the scrapes before and after it; the program scrapes at once at each border, so that the two are
close together. Gauges are weighted by time, and a value holds until the next scrape.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.telemetry import MAX, SUM, VOCABULARY, TelemetrySummary
from llmlocust.observe.exposition import Exposition, Series
from llmlocust.observe.rules import Engine, Rule

_START = "process_start_time_seconds"
_SLOW_UPDATES = 2.0
"""Seconds between two updates of an exporter from which on a repeated value is not a new value."""
_RESTARTED_SHARE = 0.5
"""Share of a source's counters that decrease at once if the process behind it began anew."""
MAX_PAUSE = 10.0
"""Seconds between two scrapes. Values of gauges in a longer pause are not known."""
_MAX_OWN = 2000
"""Series of a source that have rows under their own names."""
_SCALE = 1000.0
"""Weights of values per second, as whole numbers for a histogram."""


class Value(NamedTuple):
    """The value of a rule between two scrapes."""

    value: float
    """NaN: exposed, and no event between the scrapes, such as a mean duration without a request."""
    above: float = math.nan
    """The increase of the numerator (of a counter: its own)."""
    below: float = math.nan
    """The increase of the denominator."""


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

    def summary(self, mean: float, increase: float = math.nan) -> TelemetrySummary:
        values = self.values
        if not values.count:
            return TelemetrySummary(0, mean, increase=increase)
        return TelemetrySummary(
            self.samples, mean, values.min, values.max, values.quantile(0.5), values.quantile(0.95), increase
        )


@dataclass
class _Window:
    """The window of a level."""

    level: int
    begin: float
    end: float = math.inf
    start: dict[Series, float] | None = None
    """The totals of counters, and the integrals of gauges, at the begin; None until the next scrape."""
    stop: dict[Series, float] | None = None
    spreads: defaultdict[str, Spread] = field(default_factory=lambda: defaultdict(Spread))
    extremes: dict[Series, tuple[float, float]] = field(default_factory=dict)

    def overlap(self, since: float, until: float) -> float:
        return max(0.0, min(until, self.end) - max(since, self.begin))


class Result(NamedTuple):
    """One metric of the vocabulary in a window of one source."""

    rule: Rule
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

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._exposition = Exposition()
        self._version = -1
        self._rules: list[_Bound] = []
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
        own = [(series, value) for series, value in changed if series.kind in ("counter", "gauge")]
        self.time = time
        return Taken({key: value.value for key, value in values.items()}, own, restarted)

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
                series.low, series.high = min(series.low, value), max(series.high, value)
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
        series = list(self._exposition.series.values())
        names = {one.name for one in series}
        self.engines = [
            engine for engine in self._engines if any(name.startswith(sign) for sign in engine.signs for name in names)
        ]
        by_name: defaultdict[str, list[Series]] = defaultdict(list)
        for one in series:
            by_name[one.name].append(one)
        bound: dict[str, _Bound] = {}
        for engine in self.engines:
            for rule in engine.rules:
                if rule.key not in bound and (new := _Bound.of(rule, engine, by_name)) is not None:
                    bound[rule.key] = new
        updated = {old.rule.key: old.updated for old in self._rules}
        for key, known in bound.items():
            known.updated = updated.get(key, time if math.isnan(self.time) else self.time)
        self._rules = list(bound.values())

    def _values(
        self, time: float, changed: Iterable[tuple[Series, float]], last: Mapping[Series, float]
    ) -> dict[str, Value]:
        """Return the values since the last scrape. An exporter that updates slowly has values only at its updates."""
        moved = {series for series, _ in changed}
        values = {}
        for bound in self._rules:
            if bound.is_slow and not any(series in moved for series in bound.all()):
                continue
            value = bound.value(last, time - bound.updated, self._exposition.scrapes - 1)
            bound.updated = time
            if value is not None:
                values[bound.rule.key] = value
        return values

    def _hold(self, time: float, values: Mapping[str, Value]) -> None:
        """Add the time since the last scrape to the windows."""
        seconds = time - self.time
        for window in self._windows:
            overlap = window.overlap(self.time, time) if not math.isnan(self.time) and seconds <= MAX_PAUSE else 0.0
            for bound in self._rules:
                key, value = bound.rule.key, values.get(bound.rule.key)
                is_gauge = bound.rule.kind == "gauge"
                held = self._held.get(key, math.nan) if is_gauge else (value.value if value is not None else math.nan)
                if overlap and not math.isnan(held):
                    window.spreads[key].hold(held, overlap)
                inside = window.begin <= time <= window.end if is_gauge else overlap > 0.0
                if inside and value is not None and not math.isnan(value.value):
                    window.spreads[key].add(value.value, overlap or seconds)
        for bound in self._rules:
            if bound.rule.kind == "gauge":
                new = bound.gauge(self._exposition.scrapes - 1)
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

    @property
    def is_waiting(self) -> bool:
        """Whether a window has ended and the scrape after it has not come."""
        return any(window.end < math.inf for window in self._windows)

    def _pass_borders(self, time: float, moved: Mapping[Series, float]) -> None:
        """Note the totals at the borders of windows that lie between the last scrape and this one."""
        for window in list(self._windows):
            if window.start is None and window.begin <= time:
                window.start = self._snapshot(window.begin, time, moved)
                self._reset_extremes()
            if window.end <= time:
                self._close(window, self._snapshot(window.end, time, moved))

    def _close(self, window: _Window, stop: dict[Series, float]) -> None:
        window.stop = stop
        window.extremes = {
            series: (series.low, series.high) for series in self._exposition.series.values() if series.kind == "gauge"
        }
        self._windows.remove(window)
        self._finished = [*(old for old in self._finished if old.level != window.level), window]

    def _reset_extremes(self) -> None:
        for series in self._exposition.series.values():
            series.low = series.high = series.raw

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
                snapshot[series] = series.integral + series.raw * (border - series.since)
        return snapshot

    def finish(self) -> None:
        """Complete the windows with the last scrape: there will be no further one."""
        for window in list(self._windows):
            if window.start is not None:
                window.end = min(window.end, self.time)
                self._close(window, self._snapshot(window.end, self.time, {}))

    def results(self, level: int) -> list[Result]:
        """Return the metrics of the vocabulary in the window of a level."""
        window = next((window for window in self._finished if window.level == level), None)
        if window is None:
            return []
        return [result for bound in self._rules if (result := bound.result(window)) is not None]

    def own_rows(self, level: int) -> list[Row]:
        """Return the rows of the source's own metrics in the window of a level, without buckets."""
        window = next((window for window in self._finished if window.level == level), None)
        if window is None or window.start is None or window.stop is None:
            return []
        rows: list[Row] = []
        seconds = window.end - window.begin
        for series, stop in window.stop.items():
            if series.kind not in ("counter", "gauge") or len(rows) >= _MAX_OWN:
                continue
            if series.kind == "counter":
                increase = stop - window.start.get(series, 0.0)
                summary = TelemetrySummary(0, increase / seconds if seconds else math.nan, increase=increase)
            else:
                start = window.start.get(series, math.nan)
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
            if series.name == name and (not label or label in series.labels):
                return series.labels[label] if label else f"{series.raw:g}"
        return None

    @property
    def exposes(self) -> list[str]:
        """The keys of the vocabulary that the source reports."""
        return [bound.rule.key for bound in self._rules]

    @property
    def is_cut(self) -> bool:
        return self._exposition.is_cut


class _Bound:
    """A rule, and the series of a source that it reads."""

    def __init__(self, rule: Rule, engine: Engine, above: list[Series], below: list[Series]) -> None:
        self.rule = rule
        self._above, self._below = above, below
        self._over = rule.over or VOCABULARY[rule.key].over
        self.is_slow = engine.updates_s > _SLOW_UPDATES
        self.updated = math.nan
        """The moment of the last scrape with a new value."""
        self._buckets: list[Series] = []

    @classmethod
    def of(cls, rule: Rule, engine: Engine, by_name: Mapping[str, list[Series]]) -> _Bound | None:
        """Bind a rule; None if the source does not have its metrics."""
        if rule.kind == "histogram":
            return cls._of_histogram(rule, engine, by_name)
        above = _find(rule.names, rule.where, by_name, adds=rule.adds)
        below = _find(rule.per, rule.per_where, by_name, adds=rule.adds)
        is_missing = not above and not (rule.absent_is_zero and (below or not rule.per))
        if is_missing or (rule.per and not below):
            return None
        if rule.kind != "gauge":
            for series in (*above, *below):
                if series.kind == "gauge":  # an exporter without types, or with the type untyped
                    series.kind = "counter"
        return cls(rule, engine, above, below)

    @classmethod
    def _of_histogram(cls, rule: Rule, engine: Engine, by_name: Mapping[str, list[Series]]) -> _Bound | None:
        for name in rule.names:
            above, below = (_find((f"{name}{end}",), rule.where, by_name) for end in ("_sum", "_count"))
            if above and below:
                bound = cls(rule, engine, above, below)
                bound._buckets = _find((f"{name}_bucket",), rule.where, by_name)
                return bound
        return cls(rule, engine, [], []) if rule.absent_is_zero else None

    def all(self) -> list[Series]:
        return [*self._above, *self._below]

    def value(self, last: Mapping[Series, float], seconds: float, scrape: int) -> Value | None:
        """Return the value since the last scrape. `last`: the earlier totals of the series that changed."""
        rule = self.rule
        if rule.kind == "gauge":
            new = self.gauge(scrape)
            return None if new is None else Value(new)
        if rule.kind == "rate":
            groups: defaultdict[tuple[str, ...], float] = defaultdict(float)
            for series in self._above:
                before = last.get(series, series.total)
                if series.scrape == scrape and not math.isnan(before):  # a new process has counted before it was seen
                    groups[tuple(series.labels.get(label, "") for label in rule.by)] += (
                        series.total - before
                    ) / seconds
            return Value(combined(list(groups.values()), self._over) * rule.scale) if groups else None
        above, below = (sum(_growth(series, last) for series in all_of) for all_of in (self._above, self._below))
        if rule.kind == "counter":
            return Value(above * rule.scale / seconds, above * rule.scale)
        return Value(self._ratio(above, below), above, below)

    def gauge(self, scrape: int) -> float | None:
        """Return the present value of a gauge; None if the source no longer has it."""
        rule = self.rule
        above = [series.raw for series in self._above if series.scrape == scrape]
        if not rule.per:
            if not above and rule.absent_is_zero:
                return 0.0
            if rule.by:
                groups: defaultdict[tuple[str, ...], float] = defaultdict(float)
                for series in self._above:
                    if series.scrape == scrape:
                        groups[tuple(series.labels.get(label, "") for label in rule.by)] += series.raw
                above = list(groups.values())
            return combined(above, self._over) * rule.scale if above else None
        below = sum(series.raw for series in self._below if series.scrape == scrape)
        return self._ratio(sum(above), below) if below else None

    def _ratio(self, above: float, below: float) -> float:
        if not below > 0.0:
            return math.nan
        ratio = above / below * self.rule.scale
        return 1.0 - ratio if self.rule.complement else ratio

    def result(self, window: _Window) -> Result | None:
        """Return the figures of a window."""
        rule, spread, start, stop = self.rule, window.spreads[self.rule.key], window.start, window.stop
        if start is None or stop is None:
            return None
        if rule.kind in ("gauge", "rate"):
            return Result(rule, spread.summary(spread.mean), math.nan, math.nan, {}) if spread.weight else None
        above, below = (
            sum(stop.get(series, 0.0) - start.get(series, 0.0) for series in all_of)
            for all_of in (self._above, self._below)
        )
        seconds = window.end - window.begin
        if rule.kind == "counter":
            above *= rule.scale
            summary = spread.summary(above / seconds if seconds else math.nan, above)
            return Result(rule, summary, above, math.nan, {})
        buckets: defaultdict[float, float] = defaultdict(float)
        for series in self._buckets:
            buckets[_bound_of(series) * rule.scale] += stop.get(series, 0.0) - start.get(series, 0.0)
        summary = pooled(rule, spread.summary(math.nan), above, below, buckets)
        return Result(rule, summary, above, below, dict(buckets))


def pooled(
    rule: Rule, summary: TelemetrySummary, above: float, below: float, buckets: Mapping[float, float]
) -> TelemetrySummary:
    """Return the summary of a ratio or a histogram from the increases of a window."""
    mean = above / below * rule.scale if below > 0.0 else math.nan
    mean = 1.0 - mean if rule.complement else mean
    if rule.kind != "histogram":
        return TelemetrySummary(summary.samples, mean, summary.min, summary.max, summary.p50, summary.p95)
    (p50, p50_bounds), (p95, p95_bounds) = (percentile(buckets, q) for q in (0.5, 0.95))
    return TelemetrySummary(
        summary.samples, mean, math.nan, math.nan, p50, p95, below, p50_bounds=p50_bounds, p95_bounds=p95_bounds
    )


def percentile(buckets: Mapping[float, float], q: float) -> tuple[float, tuple[float, float] | None]:
    """Return a percentile of a histogram's window by linear interpolation, and the bounds of its bucket.

    `buckets`: cumulative counts by upper bound, as Prometheus has them. The last bucket has no upper bound: the value is
    then its lower bound.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total > 0.0:
        return math.nan, None
    rank, low, below = q * total, 0.0, 0.0
    for high in bounds:
        count = buckets[high]
        if count >= rank and count > below:
            if math.isinf(high):
                return low, (low, high)
            return low + (high - low) * (rank - below) / (count - below), (low, high)
        low, below = high, max(below, count)
    return math.nan, None


def _find(
    names: Iterable[str],
    where: Mapping[str, str | tuple[str, ...]],
    by_name: Mapping[str, list[Series]],
    *,
    adds: bool = False,
) -> list[Series]:
    """Return the series of the first name that has any, or of all names. A counter may have the suffix `_total` or not."""
    chosen: list[Series] = []
    for name in names:
        series = by_name.get(name) or by_name.get(f"{name}_total") or []
        chosen += [one for one in series if one.kind != "created" and _matches(one, where)]
        if chosen and not adds:
            break
    return chosen


def _matches(series: Series, where: Mapping[str, str | tuple[str, ...]]) -> bool:
    for label, accepted in where.items():
        values = (accepted,) if isinstance(accepted, str) else accepted
        value = series.labels.get(label, "")
        excluded = [text[1:] for text in values if text.startswith("!")]
        if value in excluded or (len(excluded) < len(values) and value not in values):
            return False
    return True


def _growth(series: Series, last: Mapping[Series, float]) -> float:
    """Return the increase of a counter since the last scrape. One that appears counts from 0."""
    if series not in last:
        return 0.0
    before = last[series]
    return series.total - (0.0 if math.isnan(before) else before)


def combined(values: Sequence[float], over: str) -> float:
    if over == SUM:
        return math.fsum(values)
    return max(values) if over == MAX else math.fsum(values) / len(values)


def _bound_of(series: Series) -> float:
    try:
        return float(series.labels.get("le", "nan"))
    except ValueError:
        return math.nan
