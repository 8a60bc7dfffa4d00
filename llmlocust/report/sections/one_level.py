"""The figures of a run of one level, such as one of a fixed number of requests, which has none of the four numbers."""

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
    """A figure in words, with its 95 % interval, which is empty if not known."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


def of_summary(summary: Summary, statistic: str) -> str:
    """Return a statistic of a metric in words: a duration, or the range of one that is not known exactly."""
    known_range = summary.range_of(statistic)
    return words.span(*known_range) if known_range else words.duration(summary[statistic])


def latency(level: LevelFigures, metric: str, statistic: str) -> Figure:
    """Return a latency with its interval, which has the noise of a single level in the verdict (docs/metrics.md)."""
    summary = level.metric(metric)
    value = of_summary(summary, statistic)
    low, high = summary.intervals.get(statistic, (math.nan, math.nan))
    if summary.range_of(statistic) or math.isnan(low):
        return Figure(value)
    lower = _moved(summary[statistic], low, -1.0)
    if summary.count < BOUNDED.get(statistic, 0) or not math.isfinite(high):
        return Figure(value, f"{words.duration(lower)} or more")
    return Figure(value, words.span(lower, _moved(summary[statistic], high, 1.0)))


def _moved(value: float, end: float, side: float) -> float:
    """Return an end of an interval by order statistics, widened by the minimum uncertainty of any figure.

    `side`: -1 for the lower end, 1 for the upper.
    """
    if not (value > 0.0 and end > 0.0):
        return end
    return value * math.exp(side * math.hypot(math.log(end / value), _TWO_SIDED * MIN_LEVEL_ERROR))


def rate(level: LevelFigures, value: float) -> Figure:
    """Return a rate per second of a level, with its interval."""
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
    """Return the number of failed requests in words."""
    if not level.counted:
        return f"{words.share(level.errors)} failed"
    return f"{level.failed} of {level.requests} requests failed"


def cards(level: LevelFigures) -> list[dict[str, Any]]:
    """Return the cards of the page: throughput, latencies and errors."""
    figures = []
    if level.throughput > 0.0:
        throughput = rate(level, level.throughput)
        why = f"{words.digits(level.output_tokens_per_s)} output tokens/s" if level.output_tokens_per_s > 0.0 else ""
        lasted = f"{level.requests} requests in {words.digits(level.window)} s" if level.window > 0.0 else ""
        text = _sentences(why, lasted)
        figures.append(("saturation", "Throughput", "successful requests a second", throughput, text))
    for key, metric, name in (("slo_limit", "ttft", "First token"), ("knee", "e2e", "End to end")):
        if not math.isnan(level.metric(metric)["p95"]):
            half = of_summary(level.metric(metric), "p50")
            means = f"95 of 100 requests had {'it' if metric == 'ttft' else 'their answer'} sooner (p95)"
            figures.append((key, name, means, latency(level, metric, "p95"), f"Half took {half} or less."))
    figures.append(("collapse", "Errors", "share of the requests that failed", errors(level), f"{failed(level)}."))
    return [
        {
            "key": key,
            "name": name,
            "means": means,
            "number": figure.value,
            "range": f"95 %: {figure.interval}" if figure.interval else "",
            "why": why,
            "reached": True,
        }
        for key, name, means, figure, why in figures
    ]


def _sentences(*parts: str) -> str:
    return " ".join(f"{part}." for part in parts if part)


def percentiles(level: LevelFigures) -> tuple[list[str], list[tuple[str, list[Figure]]]]:
    """Return the column heads, and a row of statistics for each known metric."""
    known = {name: level.metric(name) for name in _SHOWN if any(_is_known(level.metric(name), s) for s in STATISTICS)}
    if "ttfo" in known and known["ttfo"]["p95"] == level.metric("ttft")["p95"]:
        del known["ttfo"]
    heads = [s for s in STATISTICS if any(_is_known(summary, s) for summary in known.values())]
    rows = [(METRICS[name].short, [latency(level, name, head) for head in heads]) for name in known]
    return [head.replace("_", ".") for head in heads], rows


def _is_known(summary: Summary, statistic: str) -> bool:
    return not math.isnan(summary[statistic])


def lines(level: LevelFigures) -> list[str]:
    """Return the lines of a terminal: rates, a line per metric, and errors."""
    text = [f"{'Requests/s:':<21} {rate(level, level.throughput)}"] if level.throughput > 0.0 else []
    if level.output_tokens_per_s > 0.0:
        text.append(f"{'Output tokens/s:':<21} {rate(level, level.output_tokens_per_s)}")
    heads, rows = percentiles(level)
    wanted = [at for at, head in enumerate(heads) if head in ("mean", "p50", "p95", "p99")]
    for name, figures in rows:
        text.append(f"{name + ':':<21} " + " · ".join(f"{heads[at]} {figures[at].value}" for at in wanted))
    return [*text, f"{'Errors:':<21} {errors(level)}"]
