"""The table of the levels: a column for every figure that is known of any of them, as the page and Markdown show it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmlocust.analysis.quality import KINDS
from llmlocust.assessment.assessment import Assessment
from llmlocust.metrics.levels import EXACT, EXACT_SHARE, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.sections import one_level
from llmlocust.text import figures as words

FAILURES_DECIDE = (
    "\N{INFINITY}: thresholds count failed requests as infinitely slow, and enough failed to decide the result; in "
    "brackets the figure of those that succeeded"
)
_PAUSED = 0.01
"""Minimum share of the users' time in pauses, at some level, for a column."""
_ANSWERS = {"right": "right", "empty": "without text", "cut": "cut", "repeated": "repeated"}
_SHOWN = {key: metric.percentiles for key, metric in METRICS.items() if metric.percentiles}
_FROM_DUE = {key: metric.from_due for key, metric in METRICS.items() if metric.from_due}


@dataclass(frozen=True)
class Column:
    head: str
    group: str
    cells: list[str]
    broken: list[str]
    """For each cell the threshold that it breaks, or nothing."""
    judged: list[str]
    """For each cell how it was judged, where failed requests decided; or nothing."""


def columns(report: Assessment) -> list[Column]:
    """The columns of the table that have anything to tell."""
    made = [
        _column(report, "sent", "requests", [_sent(each) for each in report.levels], None),
        _column(report, "failed", "requests", [words.share(each.errors) for each in report.levels], "errors"),
        _column(report, "paused", "requests", _paused(report), None),
        _rate(report, "ok/s", "requests", "throughput", [each.throughput for each in report.levels]),
        _rate(report, "good/s", "requests", "goodput", [_goodput(report, each) for each in report.levels]),
        _rate(report, "out/s", "tokens", "output_tokens_per_s", [each.output_tokens_per_s for each in report.levels]),
    ]
    if any(each.inputs_per_s > 0 for each in report.levels):  # texts were embedded, or documents ranked
        made += [
            _rate(report, "inputs/s", "requests", "inputs_per_s", [each.inputs_per_s for each in report.levels]),
            _rate(report, "in/s", "tokens", "input_tokens_per_s", [each.input_tokens_per_s for each in report.levels]),
        ]
    asked = {(each.metric, each.statistic) for each in report.verdict.thresholds if each.is_duration}
    for metric, statistics in _SHOWN.items():
        named = [name for name in one_level.STATISTICS if name in statistics or (metric, name) in asked]
        if metric == "e2e" and not _known(report, metric, "p50"):
            named = ["mean", *(name for name in named if name != "mean")]
        if metric == "ttfo" and _same_as_ttft(report):
            continue
        for statistic in named:
            if _known(report, metric, statistic):
                values = [one_level.of_summary(each.metric(metric), statistic) for each in report.levels]
                made.append(
                    _column(report, statistic.replace("_", "."), METRICS[metric].short, values, (metric, statistic))
                )
    for late, metric in _FROM_DUE.items():
        if any(_differs(each.metric(metric)["p95"], each.metric(late)["p95"]) for each in report.levels):
            values = [one_level.of_summary(each.metric(late), "p95") for each in report.levels]
            made.append(_column(report, "p95", METRICS[late].short, values, (late, "p95")))
    for kind in KINDS:
        shares = [getattr(each, kind) for each in report.levels]
        if any(each.judged if kind == "right" else getattr(each, kind) > 0 for each in report.levels):
            made.append(_column(report, _ANSWERS[kind], "answers", [words.share(each) for each in shares], None))
    for limit in {each.name: each for each in report.verdict.thresholds if each.is_telemetry}.values():
        values = [_foreign(limit, limit.measured(each)) for each in report.levels]
        made.append(_column(report, limit.name, "telemetry", values, (limit.metric, limit.statistic)))
    return [each for each in made if any(cell != words.UNKNOWN for cell in each.cells)]


def _differs(sent: float, due: float) -> bool:
    """Whether latency from when requests were due is another than from when they were sent."""
    return due - sent > max(EXACT, EXACT_SHARE * sent)


def _foreign(limit: Threshold, value: float) -> str:
    return words.share(value) if limit.unit == "%" else words.digits(value)


def _goodput(report: Assessment, figures: LevelFigures) -> float:
    return report.goodput.get(figures.level, math.nan) if report.has_limits else math.nan


def _sent(figures: LevelFigures) -> str:
    return f"{figures.requests}" if figures.counted else words.UNKNOWN


def _paused(report: Assessment) -> list[str]:
    """Return the cells of the users' time in pauses after failures; empty cells where no level has much of it."""
    shares = [each.backing_off for each in report.levels]
    is_much = any(share >= _PAUSED for share in shares)
    return [words.share(share) if is_much else words.UNKNOWN for share in shares]


def _known(report: Assessment, metric: str, statistic: str) -> bool:
    return any(not math.isnan(each.metric(metric)[statistic]) for each in report.levels)


def _same_as_ttft(report: Assessment) -> bool:
    """Nothing reasons: the first token is the first of the answer."""
    pairs = [(each.metric("ttfo")["p95"], each.metric("ttft")["p95"]) for each in report.levels]
    return all(math.isnan(answer) or answer == ttft for answer, ttft in pairs)


def _rate(report: Assessment, head: str, group: str, metric: str, values: Sequence[float]) -> Column:
    return _column(report, head, group, [words.digits(each) for each in values], metric)


def _column(report: Assessment, head: str, group: str, cells: list[str], of: str | tuple[str, str] | None) -> Column:
    metric, statistic = of if isinstance(of, tuple) else (of, "")
    limits = [each for each in report.verdict.thresholds if (each.metric, each.statistic) == (metric, statistic)]
    broken, judged = [], []
    cells = list(cells)
    for place, figures in enumerate(report.levels):
        limit = next((t for t in limits if report.meets(t, figures) is False), None)
        broken.append(str(limit or ""))
        judged.append("")
        if limit is not None and limit.is_duration and figures.failed:
            seen, counted = figures.metric(metric or "")[statistic], limit.measured(figures)
            if counted == seen or (not math.isnan(seen) and not limit.met_by(seen)):
                continue
            plain = "\N{INFINITY}" if math.isinf(counted) else words.duration(counted)
            judged[-1] = f"{plain} with the {words.share(figures.errors)} that failed counted as infinitely slow"
            if math.isnan(seen):
                cells[place] = plain
                continue
            judged[-1] += f", {cells[place]} of those that succeeded"
            cells[place] = f"{plain} ({cells[place]})"
    return Column(head, group, cells, broken, judged)


def grouped(table: Iterable[Column]) -> list[tuple[str, int]]:
    """What columns beside each other have in common, and how many they are."""
    groups: list[tuple[str, int]] = []
    for column in table:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups


def failures_decide(table: Iterable[Column]) -> bool:
    """Whether failed requests decided how a cell was judged."""
    return any(any(column.judged) for column in table)
