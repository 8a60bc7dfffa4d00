"""Runs beside each other: what analysis.compare needs of a run's files, and the page, Markdown and JSON of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from llmlocust.analysis.compare import ERRORS, TOKENS, Held, Values, spreads_of
from llmlocust.numbers.formats import ABORTED, OK
from llmlocust.numbers.levels import LevelFigures
from llmlocust.numbers.thresholds import Threshold
from llmlocust.report.frames import RunFrames, good, weights_of
from llmlocust.report.page import Report

_OF_THE_RUN_ALONE = ("run completed", "answer length", "any success", "any requests")
"""Checks that say nothing against a level beside the same level of another run."""
_OF_REQUESTS = ("ttft", "answer", "gap_p50", "gap_max", "tpot", "e2e")


def held_of(report: Report, thresholds: Sequence[Threshold]) -> list[Held]:
    """A run's levels as they are compared. `thresholds`: which requests are good."""
    run = report.run
    spreads = spreads_of(run.levels)
    doubts = doubts_of(report)
    return [
        Held(
            each,
            _values(run, each, thresholds),
            report.goodput.get(each.level, math.nan),
            spreads.get(each.level, {}),
            doubts.get(each.level, ()),
        )
        for each in run.levels
    ]


def doubts_of(report: Report) -> dict[int, tuple[str, ...]]:
    """The names of the failed checks that spoil each level."""
    failed = [
        each
        for each in report.checks
        if not each.ok and each.name not in _OF_THE_RUN_ALONE and not each.name.startswith("requests for ")
    ]
    return {
        level.level: tuple(each.name for each in failed if level.level in each.levels or not each.levels)
        for level in report.levels
    }


def _values(run: RunFrames, level: LevelFigures, thresholds: Sequence[Threshold]) -> Mapping[str, Values]:
    rows = run.requests
    if rows is None or not level.window > 0.0 or math.isnan(level.settled):
        return {}
    sent = rows[(rows["level"] == level.level) & (rows["measured"] == 1) & (rows["outcome"] != ABORTED)]
    ok = sent[sent["outcome"] == OK]
    found = {metric: _of_rows(ok, ok["sent"], ok[metric] / 1000.0, level) for metric in _OF_REQUESTS}
    found["output_tokens"] = _of_rows(ok, ok["sent"], ok["output_tokens"], level)
    found[ERRORS] = _of_rows(sent, sent["sent"], (sent["outcome"] != OK).astype(float), level, least=-1.0)
    over = rows["sent"] + rows["duration"] / 1000.0
    ended = rows[(rows["outcome"] == OK) & (over >= level.settled) & (over < level.settled + level.window)]
    found["throughput"] = _of_rows(ended, over[ended.index], pd.Series(1.0, ended.index), level)
    found["goodput"] = _of_rows(ended, over[ended.index], good(ended, thresholds).astype(float), level, least=-1.0)
    if run.timeline is not None and "tokens" in run.timeline:
        seconds = run.timeline[run.timeline["tokens"].notna()]
        inside = (seconds["time"] >= level.settled) & (seconds["time"] + 1.0 <= level.settled + level.window)
        seconds = seconds[inside]
        found[TOKENS] = Values(
            (seconds["time"] - level.settled).to_numpy(), seconds["tokens"].to_numpy(), np.ones(len(seconds))
        )
    return {metric: values for metric, values in found.items() if len(values)}


def _of_rows(
    rows: pd.DataFrame, when: pd.Series, value: pd.Series, level: LevelFigures, *, least: float = 0.0
) -> Values:
    """The values above `least`: a duration of zero is none."""
    known = (value > least) & when.notna()
    at = (when[known] - level.settled).to_numpy()
    return Values(
        at.clip(0.0, math.nextafter(level.window, 0.0)), value[known].to_numpy(), weights_of(rows[known]).to_numpy()
    )
