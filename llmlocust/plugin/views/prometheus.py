"""`Collector`: exposes a run to Prometheus, as a collector for prometheus-client.

It has two sets of counters, which never decrease within a run and begin at 0 with the next run, as Prometheus expects of
a restart. The first set counts the whole run, like the timeline file: requests sent, ended and failed, and output tokens.
The second set counts measured requests, like the files of levels and histograms: requests by outcome, tokens, and the
four durations, by request name and over all levels. A label for the level would create a hundred series for each level
and name, and only those of the newest level would change. The level is therefore a gauge, and a query can select the time
of a level.
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
    "ended": ("requests_ended", "Requests that have ended, in the whole run"),
    "failed": ("requests_failed", "Requests that have failed, in the whole run, without those that the run cut off"),
    "tokens": ("output_tokens", "Output tokens of the whole run, counted when their request ends"),
}
_IN_A_SECOND = {
    "users": ("users", "Active users", 1.0),
    "client_cpu": ("client_cpu_ratio", "CPU of the busiest process that runs users, as a share of one core", 1.0),
    "loop_lag": ("client_loop_lag_seconds", "Delay with which the busiest process's event loop woke", 1e-3),
    "client_lag": ("client_read_lag_seconds", "The longest time that data waited for the process to read it", 1e-3),
}
_OF_A_LEVEL = {
    "level": ("level", "The running level, from 0"),
    "throughput": ("level_throughput_requests_per_second", "Successful requests per second in the running level"),
    "goodput": (
        "level_goodput_requests_per_second",
        "Requests per second in the running level that meet all thresholds",
    ),
}


class Collector:
    """The collector of one run. Without a run, it exposes only that none is running."""

    def __init__(self, live: Live | None) -> None:
        self.live = live
        self._counted: dict[tuple[int, str, str], tuple[list[int], float]] = {}
        """For each level, request name and metric: the cumulated counts of the bounds, with the total, and the sum."""

    def collect(self) -> Iterator[Metric]:
        running = self.live is not None and self.live.run.ended is None
        yield _gauge("running", "1 while a run is in progress", running)
        if self.live is None:
            return
        for family in self._families(self.live):
            yield family
            self.live.run.pause()

    def _families(self, live: Live) -> Iterator[Metric]:
        ledger = live.run.ledger
        yield _gauge(
            "run_started_timestamp_seconds", "The time at which the run began, in epoch seconds", live.run.began
        )
        for key, (name, help_text) in _TOTALS.items():
            yield CounterMetricFamily(f"llmlocust_{name}", help_text, ledger.totals[key])
        yield _by_name("requests_in_flight", "Requests sent and not ended", dict(ledger.in_flight))
        yield from self._measured(ledger)
        if live.run.ended is None:
            yield from _now(live)
        yield from _slo_limit(live)

    # ── measured requests ──

    def _measured(self, ledger: Ledger) -> Iterator[Metric]:
        tallies = [(level, name, tally) for (level, name), tally in sorted(ledger.tallies.items())]
        yield _outcomes((name, tally) for _, name, tally in tallies)
        yield _tokens((name, tally) for _, name, tally in tallies)
        for metric in EXPORTS:
            yield self._histogram(metric, tallies)

    def _histogram(self, metric: str, tallies: Iterable[tuple[int, str, Tally]]) -> HistogramMetricFamily:
        name, bounds = f"llmlocust_{EXPORTS[metric].name}_seconds", EXPORTS[metric].bounds
        help_text = f"{METRICS[metric].name.capitalize()} of successful requests"
        family = HistogramMetricFamily(name, help_text, labels=["name"])
        counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        totals: dict[str, float] = defaultdict(float)
        for level, request, tally in tallies:
            if histogram := tally.histograms.get(metric):
                up_to, total = self._count((level, request, metric), histogram, bounds)
                counts[request] = [before + more for before, more in zip(counts[request], up_to, strict=True)]
                totals[request] += total
        bound_texts = [floatToGoString(bound) for bound in (*bounds, INF)]
        for request, summed in counts.items():
            family.add_metric([request], list(zip(bound_texts, summed, strict=True)), totals[request])
        return family

    def _count(
        self, place: tuple[int, str, str], histogram: Histogram, bounds: Iterable[float]
    ) -> tuple[list[int], float]:
        """Return the cumulated counts and the sum of a histogram. Those of ended levels are not computed again."""
        known = self._counted.get(place)
        if known is None or known[0][-1] != histogram.count:
            known = self._counted[place] = (cumulated(histogram, bounds), histogram.total)
            if self.live:
                self.live.run.pause()
        return known


def cumulated(histogram: Histogram, bounds: Iterable[float]) -> list[int]:
    """Return the number of values up to each bound, and the number of all values.

    If a bound is inside one of the histogram's buckets, the whole bucket is counted. The error is at most 0.8 % of the
    value, and the counts never decrease.
    """
    buckets, reached = histogram.cumulated()
    reached = [0, *reached]
    return [reached[bisect_right(buckets, bucket_of(bound))] for bound in bounds] + [histogram.count]


def _outcomes(tallies: Iterable[tuple[str, Tally]]) -> CounterMetricFamily:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for name, tally in tallies:
        for outcome, count in tally.outcomes.items():
            counts[name, outcome] += count
    help_text = "Requests sent while a level was measured, by outcome"
    family = CounterMetricFamily("llmlocust_measured_requests", help_text, labels=["name", "outcome"])
    for place, count in counts.items():
        family.add_metric(place, count)
    return family


def _tokens(tallies: Iterable[tuple[str, Tally]]) -> CounterMetricFamily:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for name, tally in tallies:
        for kind in ("input", "output"):
            counts[name, kind] += tally.numbers[f"{kind}_tokens"]
    help_text = "Tokens of the measured requests that succeeded"
    family = CounterMetricFamily("llmlocust_measured_tokens", help_text, labels=["name", "type"])
    for place, count in counts.items():
        family.add_metric(place, count)
    return family


# ── present state ──


def _now(live: Live) -> Iterator[Metric]:
    second = live.newest_second()
    for gauge, (name, help_text, unit) in _IN_A_SECOND.items():
        if gauge in second:
            yield _gauge(name, help_text, second[gauge] * unit)
    level = next((row for row in reversed(live.levels()) if row["ended"] is None), None)
    if level is None:
        return
    load = GaugeMetricFamily("llmlocust_level_load", "The load of the running level", labels=["unit"])
    load.add_metric([level["unit"]], level["load"])
    yield load
    for column, (name, help_text) in _OF_A_LEVEL.items():
        if level[column] is not None:
            yield _gauge(name, help_text, level[column])


def _slo_limit(live: Live) -> Iterator[Metric]:
    """Yield the SLO limit of the ended levels, if it is known."""
    verdict, levels = live.verdict(), live.levels()
    slo_limit = (verdict["numbers"] or {}).get("slo_limit")
    if not slo_limit or not levels or slo_limit["load"] is None:
        return
    help_text = "The highest load that meets all thresholds, as known so far; thresholds are given or derived"
    family = GaugeMetricFamily("llmlocust_slo_limit", help_text, labels=["unit", "limits"])
    family.add_metric([levels[0]["unit"], "derived" if verdict["derived"] else "given"], slo_limit["load"])
    yield family


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"llmlocust_{name}", help_text, value)


def _by_name(name: str, help_text: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"llmlocust_{name}", help_text, labels=["name"])
    for request, value in values.items():
        family.add_metric([request], value)
    return family
