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
from llmlocust.text.message import Message, message, term

_NUMBERED = re.compile(r"(.+) (\d{1,4})")
HEADS = (
    term("turn"),
    term("requests"),
    term("errors"),
    term("input tokens"),
    term("output tokens"),
    *(
        message("{metric} {value}", metric=term(METRICS[metric].short), value=statistic)
        for metric in ("ttft", "itl")
        for statistic in ("p50", "p95")
    ),
)


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
    itl: Histogram

    def cells(self) -> list[str]:
        """Return the cells of the table after the name."""
        durations = (
            histogram.quantile(q) if histogram else math.nan for histogram in (self.ttft, self.itl) for q in (0.5, 0.95)
        )
        return [
            f"{self.requests:.0f}",
            words.share(self.errors),
            words.digits(self.input_tokens),
            words.digits(self.output_tokens),
            *map(words.duration, durations),
        ]


@dataclass(frozen=True)
class Turns:
    top: float
    """The highest load of the levels in the table."""
    turns: list[Turn]


def turns(run: RunData, verdict: Verdict) -> Turns | None:
    """Return the turns at the levels that meet the thresholds: above them, every turn waits. If none does, those at the
    lowest level. None if the run has no conversations.
    """
    if run.requests is None or not run.levels:
        return None
    loads = [level.load for level in run.levels]
    limit = verdict.slo_limit
    top = max(loads) if not limit.reached else min(loads) if limit.level_ok is None else limit.level_ok
    levels = {level.level for level in run.levels if level.load <= top}
    rows = run.requests[(run.requests["measured"] == 1) & run.requests["level"].isin(levels)]
    rows = rows[~rows["outcome"].isin(NOT_THE_SERVERS)]
    groups = ((_NUMBERED.fullmatch(str(name)), group) for name, group in rows.groupby("name"))
    numbered = {(match[1], int(match[2])): (match[0], group) for match, group in groups if match}
    # other requests may have a number at the end of their name
    conversations = {name for name, _ in numbered if {(name, 1), (name, 2)} <= numbered.keys()}
    in_order = [numbered[key] for key in sorted(numbered) if key[0] in conversations]
    measured_turns = [_turn(run, name, group, levels) for name, group in in_order]
    return Turns(top, measured_turns) if measured_turns else None


def _turn(run: RunData, name: str, rows: pd.DataFrame, levels: Collection[int]) -> Turn:
    weights = weights_of(rows)
    ok = rows["outcome"] == OK
    return Turn(
        name,
        float(weights.sum()),
        float(weights[~ok].sum() / weights.sum()),
        _mean(rows.loc[ok, "input_tokens"], weights[ok]),
        _mean(rows.loc[ok, "output_tokens"], weights[ok]),
        _histogram(run, "ttft", name, levels),
        _histogram(run, "itl", name, levels),
    )


def _mean(values: pd.Series, weights: pd.Series) -> float:
    known = values.notna()
    return float((values[known] * weights[known]).sum() / weights[known].sum()) if known.any() else math.nan


def _histogram(run: RunData, metric: str, name: str, levels: Collection[int]) -> Histogram:
    """Return the histogram of a metric of the requests with a name."""
    rows = run.histograms
    if rows is None:
        return Histogram()
    rows = rows[(rows["metric"] == metric) & (rows["name"] == name) & rows["level"].isin(levels)]
    counts = rows.dropna(subset=["bucket", "count"]).groupby("bucket")["count"].sum()
    return Histogram.from_counts({int(bucket): int(count) for bucket, count in counts.items()})


def turns_at(assessment: Assessment, talks: Turns) -> Message:
    """Return the levels that the turns come from, in words."""
    load = words.with_unit(talks.top, assessment.unit)
    if talks.top == min(level.load for level in assessment.levels):
        return message("Requests at {load}", load=load)
    return message("Requests at the levels up to {load}", load=load)
