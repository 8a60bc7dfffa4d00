"""A run of one level, such as that of a fixed number of requests: its figures, where others have the four numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from llmlocust.analysis.breakpoints.steps import MIN_LEVEL_ERROR, Step, noise, wilson
from llmlocust.analysis.checks.check import BOUNDED
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.metric import METRICS
from llmlocust.text import figures as words

STATISTICS = ("mean", "p50", "p90", "p95", "p99", "p99_9", "max")
_SHOWN = tuple(key for key, metric in METRICS.items() if metric.percentiles)
_TWO_SIDED = 1.96


class Figure(NamedTuple):
    """A figure in words, with its 95 % interval; that is empty where it is not known."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


def of_summary(summary: Summary, statistic: str) -> str:
    """One figure of a metric: a duration, or between what it lies."""
    unsure = summary.range_of(statistic)
    return words.span(*unsure) if unsure else words.duration(summary[statistic])


def latency(level: LevelFigures, metric: str, statistic: str) -> Figure:
    """Its interval is as wide as the verdict takes the noise of a level beside no other to be (docs/metrics.md)."""
    summary = level.metric(metric)
    value = of_summary(summary, statistic)
    low, high = summary.intervals.get(statistic, (math.nan, math.nan))
    if summary.range_of(statistic) or math.isnan(low):
        return Figure(value)
    least = _moved(summary[statistic], low, -1.0)
    if summary.count < BOUNDED.get(statistic, 0) or not math.isfinite(high):
        return Figure(value, f"{words.duration(least)} or more")
    return Figure(value, words.span(least, _moved(summary[statistic], high, 1.0)))


def _moved(value: float, end: float, side: float) -> float:
    """Return an end of an interval by order statistics, widened by the least uncertainty of any figure. `side`: -1 for the
    lower end, 1 for the upper.
    """
    if not (value > 0.0 and end > 0.0):
        return end
    return value * math.exp(side * math.hypot(math.log(end / value), _TWO_SIDED * MIN_LEVEL_ERROR))


def rate(level: LevelFigures, value: float) -> Figure:
    """Something a second."""
    if not value > 0.0:
        return Figure(words.digits(value))
    step = Step(level.load, (level,))
    factor = math.exp(_TWO_SIDED * noise(step, step) / math.sqrt(2.0))
    return Figure(words.digits(value), f"{words.digits(value / factor)} to {words.digits(value * factor)}")


def errors(level: LevelFigures) -> Figure:
    if not level.counted or not level.requests:
        return Figure(words.share(level.errors))
    low, high = wilson(level.errors, level.requests)
    return Figure(words.share(level.errors), f"{words.share(low).removesuffix(' %')} to {words.share(high)}")


def failed(level: LevelFigures) -> str:
    """How many of its requests failed, in words."""
    if not level.counted:
        return f"{words.share(level.errors)} failed"
    return f"{level.failed} of {level.requests} requests failed"


def cards(level: LevelFigures) -> list[dict[str, Any]]:
    """The figures that are looked at first."""
    made = []
    if level.throughput > 0.0:
        told = rate(level, level.throughput)
        why = f"{words.digits(level.output_tokens_per_s)} output tokens/s" if level.output_tokens_per_s > 0.0 else ""
        lasted = f"{level.requests} requests in {words.digits(level.window)} s" if level.window > 0.0 else ""
        made.append(("saturation", "Throughput", "successful requests a second", told, _sentences(why, lasted)))
    for key, metric, name in (("slo_limit", "ttft", "First token"), ("knee", "e2e", "End to end")):
        if not math.isnan(level.metric(metric)["p95"]):
            half = of_summary(level.metric(metric), "p50")
            means = f"95 of 100 requests had {'it' if metric == 'ttft' else 'their answer'} sooner (p95)"
            made.append((key, name, means, latency(level, metric, "p95"), f"Half took {half} or less."))
    made.append(("collapse", "Errors", "share of the requests that failed", errors(level), f"{failed(level)}."))
    return [
        {
            "key": key,
            "name": name,
            "means": means,
            "number": told.value,
            "range": f"95 %: {told.interval}" if told.interval else "",
            "why": why,
            "reached": True,
        }
        for key, name, means, told, why in made
    ]


def _sentences(*parts: str) -> str:
    return " ".join(f"{part}." for part in parts if part)


def percentiles(level: LevelFigures) -> tuple[list[str], list[tuple[str, list[Figure]]]]:
    """Heads of columns, and a row for each metric that is known."""
    known = {name: level.metric(name) for name in _SHOWN if any(_is_told(level.metric(name), s) for s in STATISTICS)}
    if "ttfo" in known and known["ttfo"]["p95"] == level.metric("ttft")["p95"]:
        del known["ttfo"]
    heads = [s for s in STATISTICS if any(_is_told(summary, s) for summary in known.values())]
    rows = [(METRICS[name].short, [latency(level, name, each) for each in heads]) for name in known]
    return [each.replace("_", ".") for each in heads], rows


def _is_told(summary: Summary, statistic: str) -> bool:
    return not math.isnan(summary[statistic])


def lines(level: LevelFigures) -> list[str]:
    """For a terminal: a line a metric, and the rest."""
    told = [f"{'Requests/s:':<21} {rate(level, level.throughput)}"] if level.throughput > 0.0 else []
    if level.output_tokens_per_s > 0.0:
        told.append(f"{'Output tokens/s:':<21} {rate(level, level.output_tokens_per_s)}")
    heads, rows = percentiles(level)
    wanted = [at for at, head in enumerate(heads) if head in ("mean", "p50", "p95", "p99")]
    for name, figures in rows:
        told.append(f"{name + ':':<21} " + " · ".join(f"{heads[at]} {figures[at].value}" for at in wanted))
    return [*told, f"{'Errors:':<21} {errors(level)}"]
