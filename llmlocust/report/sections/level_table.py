"""The table of the levels, as the page and Markdown show it: a column for each figure that is known at any level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmlocust.analysis.quality import KINDS
from llmlocust.assessment.assessment import Assessment
from llmlocust.metrics import telemetry
from llmlocust.metrics.levels import EXACT, EXACT_SHARE, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.sections import one_level
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, term

FAILURES_DECIDE = message(
    "\N{INFINITY}: thresholds count failed requests as infinitely slow, and enough failed to decide the result; in "
    "brackets the figure of those that succeeded"
)
_PAUSED = 0.01
"""Minimum share of the users' time in pauses, at some level, for a column."""
_ANSWERS = {"right": term("right"), "empty": term("without text"), "cut": term("cut"), "repeated": term("repeated")}
_SHOWN = {key: metric.percentiles for key, metric in METRICS.items() if metric.percentiles}
_FROM_DUE = {key: metric.from_due for key, metric in METRICS.items() if metric.from_due}


@dataclass(frozen=True)
class Column:
    head: str
    group: str
    cells: list[str]
    broken: list[str]
    """For each cell the violated threshold in words; empty if none is."""
    judged: list[str]
    """For each cell the value that was judged, in words, if failed requests decided; otherwise empty."""


def columns(assessment: Assessment) -> list[Column]:
    """Return the columns of the table that have a known figure."""
    table = [
        *_counts(assessment),
        *_inputs(assessment),
        *_latencies(assessment),
        *_latencies_from_due(assessment),
        *_answers(assessment),
        *_telemetry(assessment),
    ]
    return [column for column in table if any(cell != words.UNKNOWN for cell in column.cells)]


def _counts(assessment: Assessment) -> list[Column]:
    """Return the columns of requests and rates."""
    levels, requests = assessment.levels, term("requests")
    failed = [words.share(level.errors) for level in levels]
    tokens = [level.output_tokens_per_s for level in levels]
    return [
        _column(assessment, term("sent"), requests, [_sent(level) for level in levels]),
        _column(assessment, term("attempts"), requests, _attempts(assessment)),
        _column(assessment, term("failed"), requests, failed, "errors"),
        _column(assessment, term("paused"), requests, _paused(assessment)),
        _rate(assessment, term("ok/s"), requests, "throughput", [level.throughput for level in levels]),
        _rate(assessment, term("good/s"), requests, "goodput", [_goodput(assessment, level) for level in levels]),
        _rate(assessment, term("out/s"), term("tokens"), "output_tokens_per_s", tokens),
    ]


def _inputs(assessment: Assessment) -> list[Column]:
    """Return the columns of inputs, if texts were embedded or documents ranked."""
    levels = assessment.levels
    if not any(level.inputs_per_s > 0 for level in levels):
        return []
    inputs, tokens = [level.inputs_per_s for level in levels], [level.input_tokens_per_s for level in levels]
    return [
        _rate(assessment, term("inputs/s"), term("requests"), "inputs_per_s", inputs),
        _rate(assessment, term("in/s"), term("tokens"), "input_tokens_per_s", tokens),
    ]


def _latencies(assessment: Assessment) -> list[Column]:
    return [
        _latency(assessment, metric, statistic)
        for metric in _SHOWN
        if metric != "ttfo" or not _same_as_ttft(assessment)
        for statistic in _statistics(assessment, metric)
        if _known(assessment, metric, statistic)
    ]


def _statistics(assessment: Assessment, metric: str) -> list[str]:
    """Return the statistics that the table shows of a metric: its own, and those of the thresholds."""
    judged = {limit.statistic for limit in assessment.verdict.thresholds if limit.metric == metric}
    names = [name for name in one_level.STATISTICS if name in _SHOWN[metric] or name in judged]
    if metric == "e2e" and not _known(assessment, metric, "p50"):
        return ["mean", *(name for name in names if name != "mean")]
    return names


def _latencies_from_due(assessment: Assessment) -> list[Column]:
    """Return the columns of latencies from when requests were due, where they differ from the others."""
    return [
        _latency(assessment, from_due, "p95")
        for from_due, metric in _FROM_DUE.items()
        if any(_differs(level.metric(metric)["p95"], level.metric(from_due)["p95"]) for level in assessment.levels)
    ]


def _differs(sent: float, due: float) -> bool:
    return due - sent > max(EXACT, EXACT_SHARE * sent)


def _answers(assessment: Assessment) -> list[Column]:
    """Return a column for each kind of answers that occurred."""
    table = []
    for kind in KINDS:
        shares = [getattr(level, kind) for level in assessment.levels]
        occurred = [level.judged for level in assessment.levels] if kind == "right" else shares
        if any(value > 0 for value in occurred):
            cells = [words.share(share) for share in shares]
            table.append(_column(assessment, _ANSWERS[kind], term("answers"), cells))
    return table


def _telemetry(assessment: Assessment) -> list[Column]:
    """Return a column for each telemetry metric that a threshold names."""
    limits = {limit.name: limit for limit in assessment.verdict.thresholds if limit.is_telemetry}
    return [
        _column(
            assessment,
            limit.name,
            term("telemetry"),
            [_telemetry_value(limit, level) for level in assessment.levels],
            limit.metric,
            limit.statistic,
        )
        for limit in limits.values()
    ]


def _telemetry_value(limit: Threshold, level: LevelFigures) -> str:
    """Return the judged value; of a histogram's percentile, the bounds of its bucket, if it has both."""
    value, summary = limit.measured(level), level.reported(limit.metric)
    bounds = {"p50": summary.p50_bounds, "p95": summary.p95_bounds}.get(limit.statistic) if summary else None
    if bounds is not None and math.isfinite(value) and math.isfinite(bounds[1]):
        return words.span(*bounds)
    return words.share(value) if limit.unit == "%" else telemetry.in_words(limit.metric, value)


def _goodput(assessment: Assessment, level: LevelFigures) -> float:
    return assessment.goodput.get(level.level, math.nan) if assessment.has_limits else math.nan


def _sent(level: LevelFigures) -> str:
    return f"{level.requests}" if level.counted else words.UNKNOWN


def _attempts(assessment: Assessment) -> list[str]:
    """Return the cells of the clients' attempts; empty cells where no request was retried."""
    is_retried = any(level.retries for level in assessment.levels)
    return [f"{level.attempts}" if is_retried else words.UNKNOWN for level in assessment.levels]


def _paused(assessment: Assessment) -> list[str]:
    """Return the cells of the users' time in pauses after failures; empty cells where no level has much of it."""
    shares = [level.backing_off for level in assessment.levels]
    is_much = any(share >= _PAUSED for share in shares)
    return [words.share(share) if is_much else words.UNKNOWN for share in shares]


def _known(assessment: Assessment, metric: str, statistic: str) -> bool:
    return any(not math.isnan(level.metric(metric)[statistic]) for level in assessment.levels)


def _same_as_ttft(assessment: Assessment) -> bool:
    """Return whether the first token is always the first of the answer: the model does not reason."""
    pairs = [(level.metric("ttfo")["p95"], level.metric("ttft")["p95"]) for level in assessment.levels]
    return all(math.isnan(answer) or answer == ttft for answer, ttft in pairs)


def _latency(assessment: Assessment, metric: str, statistic: str) -> Column:
    names = {"mean": term("mean"), "max": term("max")}
    head = names.get(statistic, statistic.replace("_", "."))
    values = [one_level.of_summary(level.metric(metric), statistic) for level in assessment.levels]
    return _column(assessment, head, term(METRICS[metric].short), values, metric, statistic)


def _rate(assessment: Assessment, head: Message, group: Message, metric: str, values: Iterable[float]) -> Column:
    return _column(assessment, head, group, [words.digits(value) for value in values], metric)


def _column(
    assessment: Assessment, head: str, group: str, cells: Sequence[str], metric: str = "", statistic: str = ""
) -> Column:
    """Return a column whose cells are judged by the thresholds on a metric and its statistic."""
    thresholds = [
        threshold
        for threshold in assessment.verdict.thresholds
        if (threshold.metric, threshold.statistic) == (metric, statistic)
    ]
    violated = [
        next((threshold for threshold in thresholds if assessment.meets(threshold, level) is False), None)
        for level in assessment.levels
    ]
    shown = [_with_failures(*row) for row in zip(violated, assessment.levels, cells, strict=True)]
    return Column(
        head,
        group,
        cells=[cell for cell, _ in shown],
        broken=[message("violates {threshold}", threshold=limit) if limit else "" for limit in violated],
        judged=[judged for _, judged in shown],
    )


def _with_failures(violated: Threshold | None, level: LevelFigures, cell: str) -> tuple[str, str]:
    """Return a cell and the value that was judged, in words; the value is empty unless failed requests decided that the
    level violates the threshold.
    """
    if violated is None or not violated.is_duration or not level.failed:
        return cell, ""
    successful, counted = level.metric(violated.metric)[violated.statistic], violated.measured(level)
    if counted == successful or (not math.isnan(successful) and not violated.met_by(successful)):
        return cell, ""
    value = "\N{INFINITY}" if math.isinf(counted) else words.duration(counted)
    share = words.share(level.errors)
    if math.isnan(successful):
        return value, message(
            "{value} with the {share} that failed counted as infinitely slow", value=value, share=share
        )
    return message("{value} ({successful})", value=value, successful=cell), message(
        "{value} with the {share} that failed counted as infinitely slow, {successful} of those that succeeded",
        value=value,
        share=share,
        successful=cell,
    )


def grouped(table: Iterable[Column]) -> list[tuple[str, int]]:
    """Return the groups of neighbouring columns, with the number of columns in each."""
    groups: list[tuple[str, int]] = []
    for column in table:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups


def failures_decide(table: Iterable[Column]) -> bool:
    """Return whether failed requests decided how a cell was judged."""
    return any(any(column.judged) for column in table)
