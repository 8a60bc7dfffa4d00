"""Conversations by turn: the cost of a growing history.

A turn is identified by the name of its requests, "turn 1", "turn 2" and on. Durations come from the histograms, which count all
requests; tokens and errors from the rows of the requests file, which may be a sample of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.assessment.assessment import Assessment
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import NOT_THE_SERVERS, OK
from llmlocust.runfiles.reading.run_data import RunData, weights_of
from llmlocust.text import figures as words

_NUMBERED = re.compile(r"(.+) (\d{1,4})")
_LATENCIES = tuple(f"{METRICS[metric].short} {name}" for metric in ("ttft", "itl") for name in ("p50", "p95"))
HEADS = ("turn", "requests", "errors", "input tokens", "output tokens", *_LATENCIES)


@dataclass(frozen=True)
class Turn:
    """The requests of one turn. Times are in seconds; NaN if not known."""

    name: str
    requests: float
    """The weighted number of requests, without failures that the server did not cause."""
    errors: float
    input_tokens: float
    """Mean of the successful requests."""
    output_tokens: float
    """Mean of the successful requests."""
    ttft: Histogram
    gap: Histogram

    def cells(self) -> list[str]:
        durations = (each.quantile(q) if each else math.nan for each in (self.ttft, self.gap) for q in (0.5, 0.95))
        return [
            f"{self.requests:.0f}",
            words.share(self.errors),
            *(words.digits(each) for each in (self.input_tokens, self.output_tokens)),
            *map(words.duration, durations),
        ]


@dataclass(frozen=True)
class Turns:
    top: float
    """The highest load of the levels in the table."""
    turns: list[Turn]


def turns(run: RunData, verdict: Verdict) -> Turns | None:
    """The turns at the levels that keep the limits: above them, every turn waits. At the lowest level, where none does.
    None where nobody had a conversation.
    """
    if run.requests is None or not run.levels:
        return None
    lowest = min(each.load for each in run.levels)
    highest = max(each.load for each in run.levels)
    limit = verdict.slo_limit
    top = highest if not limit.reached else lowest if limit.level_ok is None else limit.level_ok
    levels = {each.level for each in run.levels if each.load <= top}
    rows = run.requests[(run.requests["measured"] == 1) & run.requests["level"].isin(levels)]
    rows = rows[~rows["outcome"].isin(NOT_THE_SERVERS)]
    told = ((_NUMBERED.fullmatch(str(name)), group) for name, group in rows.groupby("name"))
    found = sorted((name[1], int(name[2]), _turn(run, name[0], group, levels)) for name, group in told if name)
    numbers = {(called, number) for called, number, _ in found}
    several = {called for called, _ in numbers if numbers >= {(called, 1), (called, 2)}}  # else a name has a number
    kept = [turn for called, _, turn in found if called in several]
    return Turns(top, kept) if kept else None


def _turn(run: RunData, name: str, rows: pd.DataFrame, levels: Collection[int]) -> Turn:
    weights = weights_of(rows)
    ok = rows["outcome"] == OK
    return Turn(
        name,
        float(weights.sum()),
        float(weights[~ok].sum() / weights.sum()),
        _mean(rows.loc[ok, "input_tokens"], weights[ok]),
        _mean(rows.loc[ok, "output_tokens"], weights[ok]),
        _spread(run, "ttft", name, levels),
        _spread(run, "itl", name, levels),
    )


def _mean(values: pd.Series, weights: pd.Series) -> float:
    known = values.notna()
    return float((values[known] * weights[known]).sum() / weights[known].sum()) if known.any() else math.nan


def _spread(run: RunData, metric: str, name: str, levels: Collection[int]) -> Histogram:
    counted = run.histograms
    if counted is None:
        return Histogram()
    mine = counted[(counted["metric"] == metric) & (counted["name"] == name) & counted["level"].isin(levels)]
    counts = mine.dropna(subset=["bucket", "count"]).groupby("bucket")["count"].sum()
    return Histogram.from_counts({int(bucket): int(count) for bucket, count in counts.items()})


def turns_at(assessment: Assessment, talks: Turns) -> str:
    """Return the levels that the turns come from, in words."""
    lowest = min(each.load for each in assessment.levels)
    where = "Of" if talks.top == lowest else "Of the levels up to"
    return f"{where} {words.with_unit(talks.top, assessment.unit)}"
