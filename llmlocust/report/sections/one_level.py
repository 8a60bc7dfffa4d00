"""The figures of a run of one level, such as one of a fixed number of requests, which has none of the four numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from llmlocust.analysis.breakpoints.steps import MIN_LEVEL_ERROR, Step, noise, wilson
from llmlocust.analysis.checks.check import BOUNDED
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.metric import METRICS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term

STATISTICS = ("mean", "p50", "p90", "p95", "p99", "p99_9", "max")
_HEADS = {"mean": term("mean"), "p99_9": "p99.9", "max": term("max")}
"""Column heads of statistics, where they differ from the names."""
_SHOWN = tuple(key for key, metric in METRICS.items() if metric.percentiles)
_TWO_SIDED = 1.96


class Figure(NamedTuple):
    """A figure in words, with its 95 % interval, which is empty if not known."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        if not self.interval:
            return self.value
        return message("{value} ({interval})", value=self.value, interval=self.interval)


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
        return Figure(value, message("{value} or more", value=words.duration(lower)))
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
    low, high = words.digits(value / factor), words.digits(value * factor)
    return Figure(words.digits(value), message("{low} to {high}", low=low, high=high))


def errors(level: LevelFigures) -> Figure:
    if not level.counted or not level.requests:
        return Figure(words.share(level.errors))
    low, high = (words.share(end) for end in wilson(level.errors, level.requests))
    return Figure(words.share(level.errors), message("{low} to {high}", low=low.removesuffix(" %"), high=high))


def failed(level: LevelFigures) -> Message:
    """Return the number of failed requests in words."""
    if not level.counted:
        return message("{share} failed", share=words.share(level.errors))
    return message("{failed} of {requests} requests failed", failed=level.failed, requests=level.requests)


def cards(level: LevelFigures) -> list[dict[str, Any]]:
    """Return the cards of the page: throughput, latencies and errors."""
    shown = []
    if level.throughput > 0.0:
        name, meaning = term("Throughput"), term("successful requests a second")
        shown.append(_card("saturation", name, meaning, rate(level, level.throughput), _amounts(level)))
    if not math.isnan(level.metric("ttft")["p95"]):
        meaning = term("95 of 100 requests had it sooner (p95)")
        shown.append(_latency_card("slo_limit", term("First token"), meaning, level, "ttft"))
    if not math.isnan(level.metric("e2e")["p95"]):
        meaning = term("95 of 100 requests had their answer sooner (p95)")
        shown.append(_latency_card("knee", term("End to end"), meaning, level, "e2e"))
    name, meaning = term("Errors"), term("share of the requests that failed")
    return [*shown, _card("collapse", name, meaning, errors(level), words.sentence(failed(level)))]


def _amounts(level: LevelFigures) -> str:
    """Return sentences on the output tokens, and on the number of requests and the time of a level."""
    known = []
    if level.output_tokens_per_s > 0.0:
        known.append(message("{rate} output tokens/s.", rate=words.digits(level.output_tokens_per_s)))
    if level.window > 0.0:
        time = words.digits(level.window)
        known.append(message("{count} requests in {time} s.", count=level.requests, time=time))
    return sentences(known)


def _latency_card(key: str, name: Message, meaning: Message, level: LevelFigures, metric: str) -> dict[str, Any]:
    median = message("Half took {time} or less.", time=of_summary(level.metric(metric), "p50"))
    return _card(key, name, meaning, latency(level, metric, "p95"), median)


def _card(key: str, name: Message, meaning: Message, figure: Figure, why: str) -> dict[str, Any]:
    return {
        "key": key,
        "name": name,
        "means": meaning,
        "number": figure.value,
        "range": message("95 %: {interval}", interval=figure.interval) if figure.interval else "",
        "why": why,
        "reached": True,
    }


def percentiles(level: LevelFigures) -> tuple[list[str], list[tuple[Message, list[Figure]]]]:
    """Return the column heads, and a row of statistics for each known metric."""
    summaries = {name: level.metric(name) for name in _SHOWN}
    known = {name: summary for name, summary in summaries.items() if _known_statistics(summary)}
    if "ttfo" in known and known["ttfo"]["p95"] == level.metric("ttft")["p95"]:
        del known["ttfo"]
    shown = {statistic for summary in known.values() for statistic in _known_statistics(summary)}
    statistics = [statistic for statistic in STATISTICS if statistic in shown]
    rows = [
        (term(METRICS[name].short), [latency(level, name, statistic) for statistic in statistics]) for name in known
    ]
    return [_HEADS.get(statistic, statistic) for statistic in statistics], rows


def _known_statistics(summary: Summary) -> list[str]:
    return [statistic for statistic in STATISTICS if not math.isnan(summary[statistic])]


def lines(level: LevelFigures) -> list[str]:
    """Return the lines of a terminal: rates, a line per metric, and errors."""
    text = [f"{'Requests/s:':<21} {rate(level, level.throughput)}"] if level.throughput > 0.0 else []
    if level.output_tokens_per_s > 0.0:
        text.append(f"{'Output tokens/s:':<21} {rate(level, level.output_tokens_per_s)}")
    heads, rows = percentiles(level)
    for name, figures in rows:
        shown = [
            f"{head} {figure.value}"
            for head, figure in zip(heads, figures, strict=True)
            if head in ("mean", "p50", "p95", "p99")
        ]
        text.append(f"{name + ':':<21} {' · '.join(shown)}")
    return [*text, f"{'Errors:':<21} {errors(level)}"]
