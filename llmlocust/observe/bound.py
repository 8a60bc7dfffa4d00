"""`Bound`: a rule with the series of a source that it reads, and its values."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from llmlocust.metrics.telemetry import MAX, SUM, VOCABULARY
from llmlocust.observe.exposition import Series
from llmlocust.observe.rules import Engine, Labels, Rule

SLOW_UPDATES = 2.0
"""Seconds between two updates of an exporter from which on a repeated value is not a new value."""

Totals = Mapping[Series, float]
"""Totals of counters; NaN: the series did not exist."""


class Group(NamedTuple):
    """Series that are added first."""

    above: list[Series]
    below: list[Series]
    minus: list[Series]


class Bound:
    """A rule, and the series that it reads."""

    def __init__(self, rule: Rule, engine: Engine, groups: list[Group], buckets: Sequence[Series] = ()) -> None:
        self.rule, self.groups, self.buckets = rule, groups, buckets
        self.over = rule.over or VOCABULARY[rule.key].over
        self.is_slow = engine.updates_s > SLOW_UPDATES
        self.updated = math.nan
        """The moment of the last scrape with a new value."""
        self.is_fallback, self._blank = engine.is_fallback, engine.blank
        self.change_times: list[float] = []
        """The moments at which a change was seen."""
        self._last: list[float] = []
        """The last values of groups whose changes are counted."""

    def follow(self, earlier: Bound | None, time: float) -> None:
        """Continue the counting of an earlier binding of the same rule. `time`: the moment of the last scrape before."""
        self.updated = time if earlier is None else earlier.updated
        if earlier is not None:
            self.change_times, self._last = earlier.change_times, earlier.last_by_group(self.groups)

    def last_by_group(self, groups: Iterable[Group]) -> list[float]:
        """Return the last values of the groups that begin with the same series."""
        known = {
            id(series): value for group, value in zip(self.groups, self._last, strict=False) for series in group.above
        }
        return [
            next((known[id(series)] for series in group.above if id(series) in known), math.nan) for group in groups
        ]

    def series(self) -> Iterator[Series]:
        for group in self.groups:
            yield from group.above
            yield from group.below

    # ── values at a scrape ──

    def gauge(self, scrape: int) -> float | None:
        """Return the present value of a gauge; None if the source no longer has it. `scrape`: the number of the scrape."""
        if not self.groups:
            return 0.0 if self.rule.absent_is_zero else None
        values = [value for group in self.groups if (value := self._gauge_of(group, scrape)) is not None]
        return combined(values, self.over) if values else None

    def _gauge_of(self, group: Group, scrape: int) -> float | None:
        rule = self.rule
        above = self._present(group.above, scrape)
        if not above:
            return None
        if rule.product:
            return _product(group.above, rule.product)
        if rule.per:
            return self._ratio(sum(above), sum(self._present(group.below, scrape)))
        if not rule.minus:
            return sum(above) * rule.scale
        minus = self._present(group.minus, scrape)
        return (sum(above) - sum(minus)) * rule.scale if minus else None

    def _present(self, series: Iterable[Series], scrape: int) -> list[float]:
        return [one.raw for one in series if one.scrape == scrape and one.raw < self._blank]

    def _ratio(self, above: float, below: float) -> float | None:
        if not below > 0.0:
            return None
        ratio = above / below * self.rule.scale
        return 1.0 - ratio if self.rule.complement else ratio

    def since(self, last: Totals, seconds: float, scrape: int) -> float | None:
        """Return the value since the last scrape; NaN without an event, such as a mean duration without a request.

        `last`: the earlier totals of the series that changed. None: the source does not have it now.
        """
        rule = self.rule
        if rule.kind == "gauge":
            return self.gauge(scrape)
        if rule.kind == "rate":
            return self._rate(last, seconds, scrape)
        growths = [(_growth(group.above, last), _growth(group.below, last)) for group in self.groups]
        if rule.kind == "counter":
            return sum(above for above, _ in growths) * rule.scale / seconds
        return self.quotient(growths)

    def _rate(self, last: Totals, seconds: float, scrape: int) -> float | None:
        values = []
        for group in self.groups:
            # a process that was not seen before has counted until now
            known = [one for one in group.above if one.scrape == scrape and not math.isnan(last.get(one, 0.0))]
            if known:
                values.append(sum(one.total - last.get(one, one.total) for one in known) / seconds * self.rule.scale)
        return combined(values, self.over) if values else None

    def quotient(self, growths: Iterable[tuple[float, float]]) -> float:
        """Return the quotient of the increases of each group, combined; NaN without an event."""
        values = [value for above, below in growths if (value := self._ratio(above, below)) is not None]
        return combined(values, self.over) if values else math.nan

    def note_changes(self, time: float, scrape: int) -> int:
        """Count the changes since the last scrape, and note their moment."""
        values = [min(self._present(group.above, scrape), default=math.nan) for group in self.groups]
        known = self._last + [math.nan] * (len(values) - len(self._last))
        changes = sum(new != old for new, old in zip(values, known, strict=True) if not math.isnan(new - old))
        # a process that is missing at a scrape may be there again at the next
        self._last = [old if math.isnan(new) else new for new, old in zip(values, known, strict=True)]
        self.change_times += [time] * changes
        return changes

    # ── windows ──

    def growths(self, start: Totals, stop: Totals) -> list[tuple[float, float]]:
        """Return the increases of numerator and denominator of each group. A series that has appeared counts from 0."""
        return [(_difference(group.above, start, stop), _difference(group.below, start, stop)) for group in self.groups]

    def bucket_growths(self, start: Totals, stop: Totals) -> dict[float, float]:
        """Return the increases of a histogram's cumulative counts by their upper bound, in the vocabulary's unit."""
        buckets: defaultdict[float, float] = defaultdict(float)
        for series in self.buckets:
            buckets[_bound_of(series) * self.rule.scale] += _difference([series], start, stop)
        return dict(buckets)


def bind(rule: Rule, engine: Engine, by_name: Mapping[str, list[Series]], scrape: int) -> Bound | None:
    """Return a rule with its series; None if the source does not have its metrics.

    `by_name`: the series by the names that the rules of this engine have.
    """
    if rule.kind == "histogram":
        return _bind_histogram(rule, engine, by_name)
    above = _named(rule.names, by_name, adds=rule.adds)
    below = _named(rule.per, by_name, adds=rule.adds)
    minus = _named(rule.minus, by_name, adds=True)
    if (above is None and not rule.absent_is_zero) or (rule.per and below is None) or (rule.minus and minus is None):
        return None
    chosen = [_matching(series or [], where) for series, where in ((above, rule.where), (below, rule.per_where))]
    if rule.kind not in ("gauge", "changes"):
        for one in (*chosen[0], *chosen[1]):
            if one.kind == "gauge":  # several exporters give counters another type
                one.kind = "counter"
    bound = Bound(rule, engine, _groups(rule, chosen[0], chosen[1], _matching(minus or [], rule.where)))
    if rule.kind == "gauge" and bound.gauge(scrape) is None:
        return None
    return bound


def _bind_histogram(rule: Rule, engine: Engine, by_name: Mapping[str, list[Series]]) -> Bound | None:
    for name in rule.names:
        above, below = (_matching(by_name.get(f"{name}{end}", []), rule.where) for end in ("_sum", "_count"))
        if f"{name}_sum" in by_name and f"{name}_count" in by_name:
            buckets = _matching(by_name.get(f"{name}_bucket", []), rule.where)
            return Bound(rule, engine, [Group(above, below, [])], buckets)
    return Bound(rule, engine, []) if rule.absent_is_zero else None


def _named(names: Sequence[str], by_name: Mapping[str, list[Series]], *, adds: bool) -> list[Series] | None:
    """Return the series of the first name that exists, or of all names; None if one that is needed does not exist."""
    present = [by_name.get(f"{name}_total") or by_name.get(name) for name in names]
    if adds:
        return None if not present or None in present else [one for series in present for one in series or ()]
    return next((series for series in present if series), None)


def _matching(series: Iterable[Series], where: Labels) -> list[Series]:
    return [one for one in series if one.kind != "created" and all(_accepts(one, *pair) for pair in where.items())]


def _accepts(series: Series, label: str, accepted: str | tuple[str, ...]) -> bool:
    values = (accepted,) if isinstance(accepted, str) else accepted
    value = series.labels.get(label, "")
    return f"!{value}" not in values if values[0].startswith("!") else value in values


def _groups(rule: Rule, above: list[Series], below: list[Series], minus: list[Series]) -> list[Group]:
    if rule.by:
        groups: defaultdict[tuple[str, ...], Group] = defaultdict(lambda: Group([], [], []))
        for place, all_of in enumerate((above, below, minus)):
            for series in all_of:
                groups[tuple(series.labels.get(label, "") for label in rule.by)][place].append(series)
        return [group for group in groups.values() if group.above]
    is_one = rule.per or rule.minus or rule.adds or rule.kind in ("counter", "ratio")
    if is_one:
        return [Group(above, below, minus)] if above or below else []
    return [Group([series], [], []) for series in above]


def _product(series: Iterable[Series], labels: Iterable[str]) -> float | None:
    products = []
    for one in series:
        try:
            products.append(math.prod(float(one.labels.get(label, "")) for label in labels))
        except ValueError:
            return None
    return sum(products)


def _growth(series: Iterable[Series], last: Totals) -> float:
    """Return the increase of counters since the last scrape. One that appears counts from 0."""
    growth = 0.0
    for one in series:
        before = last.get(one, one.total)
        growth += one.total - (0.0 if math.isnan(before) else before)
    return growth


def _difference(series: Iterable[Series], start: Totals, stop: Totals) -> float:
    return sum(stop.get(one, 0.0) - start.get(one, 0.0) for one in series)


def combined(values: Sequence[float], over: str) -> float:
    """Return one value of several engines, replicas or GPUs. `over`: SUM, MAX or MEAN."""
    if over == SUM:
        return math.fsum(values)
    return max(values) if over == MAX else math.fsum(values) / len(values)


def _bound_of(series: Series) -> float:
    try:
        return float(series.labels.get("le", "nan"))
    except ValueError:
        return math.nan
