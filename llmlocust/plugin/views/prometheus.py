"""How the run stands, for Prometheus: a collector for prometheus-client, and what it makes of our histograms.

Two sets of counters, that never decrease within a run and begin anew with the next one, as Prometheus expects it of a
restart. Of the whole run, as in the timeline file: requests sent, ended and failed, and output tokens. Of what was
measured, as in the files of levels and histograms: requests by what became of them, tokens, and the four durations,
by request name and over all levels. A label for the level would make a hundred series of each level and name, of
which all but the newest level's stand still: the level is a gauge, and a query can ask for the time in which it was
so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import INF, floatToGoString

from llmlocust.analysis.live import Live
from llmlocust.metrics.histogram import Histogram, bucket_of
from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.levels import Tally
from llmlocust.metrics.metric import METRICS

EXPORTS = {key: metric.export for key, metric in METRICS.items() if metric.export is not None}

_TOTALS = {
    "sent": ("requests_sent", "Requests sent in the whole run"),
    "ended": ("requests_ended", "Requests that are over, in the whole run"),
    "failed": ("requests_failed", "Of those, the ones that failed; without the ones that the run itself cut off"),
    "tokens": ("output_tokens", "Output tokens of the whole run, told when their request is over"),
}
_IN_A_SECOND = {
    "users": ("users", "Users that are there", 1.0),
    "client_cpu": ("client_cpu_ratio", "CPU of the busiest load process, as a share of one core", 1.0),
    "loop_lag": ("client_loop_lag_seconds", "How late the busiest load process's event loop woke", 1e-3),
    "client_lag": ("client_read_lag_seconds", "The longest that a read had waited for its load process", 1e-3),
}
_OF_A_LEVEL = {
    "level": ("level", "The level that is under way, from 0"),
    "throughput": ("level_throughput_requests_per_second", "Successful requests a second in the level under way"),
    "goodput": ("level_goodput_requests_per_second", "Of those, the ones that keep every threshold"),
}


class Collector:
    """Of one run, or of none: then it says no more than that none is on."""

    def __init__(self, live: Live | None) -> None:
        self.live = live
        self._counted: dict[tuple[int, str, str], tuple[list[int], float]] = {}
        """By level, request name and metric: up to each bound and in all, and the sum."""

    def collect(self) -> Iterator[Metric]:
        running = self.live is not None and self.live.run.ended is None
        yield _gauge("running", "1 while a run goes on", running)
        if self.live is None:
            return
        for family in self._families(self.live):
            yield family
            self.live.run.pause()

    def _families(self, live: Live) -> Iterator[Metric]:
        ledger = live.run.ledger
        yield _gauge("run_started_timestamp_seconds", "When the run began, in epoch seconds", live.run.began)
        for what, (name, says) in _TOTALS.items():
            yield CounterMetricFamily(f"llmlocust_{name}", says, ledger.totals[what])
        yield _by_name("requests_in_flight", "Requests sent and not ended", dict(ledger.in_flight))
        yield from self._measured(ledger)
        if live.run.ended is None:
            yield from _now(live)
        yield from _slo_limit(live)

    # ── what was measured ──

    def _measured(self, ledger: Ledger) -> Iterator[Metric]:
        tallies = [(level, name, tally) for (level, name), tally in sorted(ledger.tallies.items())]
        yield _outcomes((name, tally) for _, name, tally in tallies)
        yield _tokens((name, tally) for _, name, tally in tallies)
        for metric in EXPORTS:
            yield self._histogram(metric, tallies)

    def _histogram(self, metric: str, tallies: Iterable[tuple[int, str, Tally]]) -> HistogramMetricFamily:
        name, bounds = f"llmlocust_{EXPORTS[metric].name}_seconds", EXPORTS[metric].bounds
        says = f"{METRICS[metric].name.capitalize()} of successful requests"
        family = HistogramMetricFamily(name, says, labels=["name"])
        counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        totals: dict[str, float] = defaultdict(float)
        for level, request, tally in tallies:
            if histogram := tally.histograms.get(metric):
                up_to, total = self._count((level, request, metric), histogram, bounds)
                counts[request] = [before + more for before, more in zip(counts[request], up_to, strict=True)]
                totals[request] += total
        said = [floatToGoString(bound) for bound in (*bounds, INF)]
        for request, summed in counts.items():
            family.add_metric([request], list(zip(said, summed, strict=True)), totals[request])
        return family

    def _count(
        self, place: tuple[int, str, str], histogram: Histogram, bounds: Iterable[float]
    ) -> tuple[list[int], float]:
        """Those of levels that are over stay as they are, and are not counted again."""
        known = self._counted.get(place)
        if known is None or known[0][-1] != histogram.count:
            known = self._counted[place] = (cumulated(histogram, bounds), histogram.total)
            if self.live:
                self.live.run.pause()
        return known


def cumulated(histogram: Histogram, bounds: Iterable[float]) -> list[int]:
    """How many values are not above each of some bounds, and all of them. A bound within one of the histogram's own
    buckets counts the whole of it: that is off by 0.8 % of the value at most, and never decreases.
    """
    buckets, reached = histogram.cumulated()
    reached = [0, *reached]
    return [reached[bisect_right(buckets, bucket_of(bound))] for bound in bounds] + [histogram.count]


def _outcomes(tallies: Iterable[tuple[str, Tally]]) -> CounterMetricFamily:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for name, tally in tallies:
        for outcome, count in tally.outcomes.items():
            counts[name, outcome] += count
    says = "Requests sent while a level was measured, by what became of them"
    family = CounterMetricFamily("llmlocust_measured_requests", says, labels=["name", "outcome"])
    for place, count in counts.items():
        family.add_metric(place, count)
    return family


def _tokens(tallies: Iterable[tuple[str, Tally]]) -> CounterMetricFamily:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for name, tally in tallies:
        for kind in ("input", "output"):
            counts[name, kind] += tally.numbers[f"{kind}_tokens"]
    says = "Tokens of the successful ones of the measured requests"
    family = CounterMetricFamily("llmlocust_measured_tokens", says, labels=["name", "type"])
    for place, count in counts.items():
        family.add_metric(place, count)
    return family


# ── how things stand ──


def _now(live: Live) -> Iterator[Metric]:
    second = live.newest_second()
    for gauge, (name, says, unit) in _IN_A_SECOND.items():
        if gauge in second:
            yield _gauge(name, says, second[gauge] * unit)
    level = next((row for row in reversed(live.levels()) if row["ended"] is None), None)
    if level is None:
        return
    load = GaugeMetricFamily("llmlocust_level_load", "The load that the level under way asks for", labels=["unit"])
    load.add_metric([level["unit"]], level["load"])
    yield load
    for column, (name, says) in _OF_A_LEVEL.items():
        if level[column] is not None:
            yield _gauge(name, says, level[column])


def _slo_limit(live: Live) -> Iterator[Metric]:
    """From the levels that are over. It has no series where it is not known."""
    told, levels = live.verdict(), live.levels()
    found = (told["numbers"] or {}).get("slo_limit")
    if not found or not levels or found["load"] is None:
        return
    says = "The highest load at which every limit holds, as far as it is known; limits are given, or derived"
    family = GaugeMetricFamily("llmlocust_slo_limit", says, labels=["unit", "limits"])
    family.add_metric([levels[0]["unit"], "derived" if told["derived"] else "given"], found["load"])
    yield family


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"llmlocust_{name}", says, value)


def _by_name(name: str, says: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"llmlocust_{name}", says, labels=["name"])
    for each, value in values.items():
        family.add_metric([each], value)
    return family
