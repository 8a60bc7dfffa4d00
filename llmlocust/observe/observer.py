"""`Observer`: the accounts of all sources, and the figures of all sources together. Pure: the time is an argument."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from llmlocust.metrics.telemetry import VOCABULARY, TelemetrySummary
from llmlocust.observe.account import MAX_PAUSE, Account, Result, Row, Spread, Taken, pooled
from llmlocust.observe.bound import combined
from llmlocust.observe.rules import Engine

_FRESH = 5.0
"""Seconds for which the value of one source is combined with newer values of others."""


class SourceRow(NamedTuple):
    """A row of the table of levels, with its source; empty: all sources of a metric of the vocabulary."""

    source: str
    row: Row


@dataclass
class _Together:
    """The window of a level over all sources."""

    begin: float
    end: float = math.inf
    spreads: defaultdict[str, Spread] = field(default_factory=lambda: defaultdict(Spread))


class Observer:
    """The accounts of all sources of a run."""

    def __init__(self, engines: Sequence[Engine], interval: float = 1.0) -> None:
        self._engines, self._interval = engines, interval
        self.accounts: dict[str, Account] = {}
        """By name of the source."""
        self._latest: defaultdict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
        """The newest value, with its time, of each key by source."""
        self._windows: dict[int, _Together] = {}
        self._time = math.nan

    def account(self, source: str) -> Account:
        """Return the account of a source."""
        if source not in self.accounts:
            self.accounts[source] = Account(self._engines, self._interval)
        return self.accounts[source]

    def take(self, source: str, time: float, text: bytes) -> Taken | None:
        """Take a scrape of a source, as `Account.take` does."""
        self._hold(time)
        taken = self.account(source).take(time, text)
        for key, value in taken.values.items() if taken else ():
            if not math.isnan(value):
                self._latest[key][source] = (time, value)
        return taken

    def _together_of(self, key: str) -> dict[str, tuple[float, float]]:
        """Return the newest values of a metric by source, without those that repeat what another source reports."""
        by_source = self._latest[key]
        own = {source: value for source, value in by_source.items() if not self.accounts[source].is_fallback(key)}
        return own or by_source

    def begin(self, level: int, time: float) -> None:
        """Begin the window of a level."""
        self._windows[level] = _Together(time)
        for account in self.accounts.values():
            account.begin(level, time)

    def end(self, level: int, time: float) -> None:
        """End the window of a level."""
        if level in self._windows:
            self._windows[level].end = time
        for account in self.accounts.values():
            account.end(level, time)

    def finish(self) -> None:
        """Complete all windows with the scrapes so far."""
        for account in self.accounts.values():
            account.finish()

    def is_complete(self, level: int) -> bool:
        """Whether every source has answered since the end of a level."""
        return all(account.is_complete(level) for account in self.accounts.values())

    def now(self, time: float) -> dict[str, float]:
        """Return the newest values of the vocabulary, over all sources."""
        values = {}
        for key in self._latest:
            fresh = [value for moment, value in self._together_of(key).values() if time - moment <= _FRESH]
            if fresh:
                values[key] = combined(fresh, VOCABULARY[key].over)
        return values

    def _hold(self, time: float) -> None:
        """Add the time since the last scrape of any source to the windows."""
        if not time > self._time and not math.isnan(self._time):
            return
        values = {
            key: value for key, value in self.now(time).items() if len(self._latest[key]) > 1
        }  # a metric of one source needs no sum
        for window in self._windows.values():
            overlap = max(0.0, min(time, window.end) - max(self._time, window.begin))
            if overlap and time - self._time <= MAX_PAUSE:
                for key, value in values.items():
                    window.spreads[key].hold(value, overlap)
                    window.spreads[key].add(value, overlap)
        self._time = time

    def rows(self, level: int) -> Iterator[SourceRow]:
        """Yield the rows of the table for a level: of each source, and of all sources of a metric."""
        by_key: defaultdict[str, dict[str, Result]] = defaultdict(dict)
        for source, account in self.accounts.items():
            for result in account.results(level):
                by_key[result.rule.key][source] = result
                yield SourceRow(source, Row(level, result.rule.key, "", result.rule.kind, result.summary))
            for row in account.own_rows(level):
                yield SourceRow(source, row)
        for key, all_results in by_key.items():
            own = {source: result for source, result in all_results.items() if not result.is_fallback}
            if len(all_results) > 1:
                results = own or all_results
                kind = next(iter(results.values())).rule.kind
                summary = self._together(level, key, results)
                # a value of all is new only if that of each is
                samples = min(result.summary.samples for result in results.values())
                yield SourceRow("", Row(level, key, "", kind, replace(summary, samples=samples)))

    def _together(self, level: int, key: str, results: Mapping[str, Result]) -> TelemetrySummary:
        """Return the figures of all sources together."""
        window = self._windows[level]
        spread, kinds = window.spreads[key], {result.rule.kind for result in results.values()}
        first, *_ = results.values()
        if kinds <= {"counter", "changes"}:
            increase = math.fsum(result.above for result in results.values())
            seconds = window.end - window.begin
            return spread.summary(increase / seconds if seconds else math.nan, increase, _added_bounds(results))
        if kinds <= {"ratio", "histogram"} and all(result.rule.complement is False for result in results.values()):
            above = math.fsum(result.above * result.rule.scale for result in results.values())
            below = math.fsum(result.below for result in results.values())
            return pooled(first.rule, spread, above / below if below else math.nan, below, _added(results))
        if spread.weight:
            return spread.summary(spread.mean)
        return TelemetrySummary(0, combined([result.summary.mean for result in results.values()], VOCABULARY[key].over))


def _added_bounds(results: Mapping[str, Result]) -> tuple[float, float]:
    """Return the bounds of the increases of several sources together."""
    pairs = [result.summary.increase_bounds or (result.above, result.above) for result in results.values()]
    return math.fsum(low for low, _ in pairs), math.fsum(high for _, high in pairs)


def _added(results: Mapping[str, Result]) -> dict[float, float]:
    """Return the sums of the buckets of several sources; none if their bounds differ."""
    bounds = {frozenset(result.buckets) for result in results.values()}
    if len(bounds) != 1:
        return {}
    return {bound: math.fsum(result.buckets[bound] for result in results.values()) for bound in bounds.pop()}
