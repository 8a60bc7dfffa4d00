"""Runs to compare: the input of `analysis.comparison` from their files, and its result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from llmlocust.analysis.comparison.compare import (
    ERRORS,
    TOKENS,
    Comparison,
    Held,
    compare,
    spreads_of,
    workload_errors_of,
)
from llmlocust.analysis.comparison.dependence import Values
from llmlocust.assessment.assessment import Assessment, assess
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import NOT_THE_SERVERS, OK
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.runfiles.reading.locate import load_run, names_a_run
from llmlocust.runfiles.reading.published_table import load_table
from llmlocust.runfiles.reading.run_data import RunData, good, weights_of
from llmlocust.text import figures as words

MAX_RUNS = 10
_OF_THE_RUN_ALONE = (
    "run_completed",
    "answer_length",
    "any_success",
    "any_requests",
    "requests_for_p95",
    "requests_for_p99",
)
"""Checks that do not matter when a level is compared with the same level of another run."""
_OF_REQUESTS = tuple(key for key, metric in METRICS.items() if metric.compared)


@dataclass
class Compared:
    """Two to ten runs, each compared with the first."""

    labels: Sequence[str]
    assessments: Sequence[Assessment]
    comparisons: Sequence[Comparison]
    """The comparison of each run except the first."""
    tolerance: float

    @property
    def unit(self) -> str:
        return self.assessments[0].unit

    @property
    def at_one_level(self) -> bool:
        """Whether each run has only one level. Then its figures are compared, but not the four numbers."""
        return all(assessment.only_level for assessment in self.assessments)

    @cached_property
    def common_load(self) -> float | None:
        """The highest load that all runs have; None if there is none."""
        loads = [{pair.load for pair in comparison.pairs} for comparison in self.comparisons]
        return max(set.intersection(*loads), default=None)

    @property
    def new_runs(self) -> Iterator[tuple[str, Comparison]]:
        """The labels of all runs except BASE, with their comparisons."""
        yield from zip(self.labels[1:], self.comparisons, strict=True)

    @property
    def regressed(self) -> bool:
        return any(comparison.regressions for comparison in self.comparisons)

    @property
    def doubted(self) -> bool:
        """Whether a check failed for any level that is compared."""
        return any(comparison.doubted for comparison in self.comparisons)


def load(name: str) -> RunData:
    """A run's files, as `llmlocust report` finds them, or a table of levels. Raises RunError."""
    path = Path(name)
    return load_table(path) if path.is_file() and not names_a_run(path) else load_run(path)


def compare_runs(
    runs: Sequence[RunData], labels: Sequence[str], thresholds: Sequence[Threshold], tolerance: float
) -> Compared:
    """Compare each run with the first. The same thresholds apply to all: those given, otherwise those of the first.

    Raises RunError if two runs have no load in common.
    """
    base = assess(runs[0], thresholds)
    limits = tuple(thresholds) or base.verdict.thresholds
    assessments = [base, *(assess(run, limits) for run in runs[1:])]
    first, *others = (held_of(assessment, limits) for assessment in assessments)
    compared = Compared(labels, assessments, [compare(first, other, tolerance) for other in others], tolerance)
    for label, comparison in compared.new_runs:
        if not comparison.pairs:
            raise RunError(_nothing_in_common(labels[0], label, comparison, assessments))
    return compared


def _nothing_in_common(base: str, new: str, comparison: Comparison, assessments: Sequence[Assessment]) -> str:
    parts = [
        f"{label} has {words.series([words.load(load) for load in loads]) or 'no level with a request'}"
        for label, loads in ((base, comparison.only_base), (new, comparison.only_new))
    ]
    units = {assessment.unit for assessment in assessments}
    why = " (one is by users, the other by requests a second)" if len(units) > 1 else ""
    return f"no load in common{why}: {', '.join(parts)}; run both with the same --levels"


def labels_of(runs: Sequence[RunData]) -> list[str]:
    """Names that tell runs apart: the prefix, with as many of its folders as that needs. `llmlocust run` calls all of its
    runs "run", so that their folder is their name.
    """
    prefixes = [run.prefix.absolute() for run in runs]
    paths = [(prefix.parent if prefix.name == "run" else prefix).parts for prefix in prefixes]
    for count in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path[-1]} ({place})" for place, path in enumerate(paths, 1)]  # one run beside itself


def held_of(assessment: Assessment, thresholds: Sequence[Threshold]) -> list[Held]:
    """The levels of a run as they are compared. `thresholds` decide which requests are good."""
    levels, doubts = assessment.comparable, doubts_of(assessment)
    spreads, workload_errors = spreads_of(levels), workload_errors_of(levels)
    return [
        Held(
            level,
            _values(assessment.run, level, thresholds),
            assessment.goodput.get(level.level, math.nan),
            spreads.get(level.level, {}),
            workload_errors.get(level.level, {}),
            doubts.get(level.level, ()),
        )
        for level in levels
    ]


def doubts_of(assessment: Assessment) -> dict[int, tuple[str, ...]]:
    """The names of the failed checks of each level."""
    failed = [check for check in assessment.checks if not check.ok and check.key not in _OF_THE_RUN_ALONE]
    return {
        level.level: tuple(check.name for check in failed if level.level in check.levels or not check.levels)
        for level in assessment.levels
    }


def _values(run: RunData, level: LevelFigures, thresholds: Sequence[Threshold]) -> Mapping[str, Values]:
    rows = run.requests
    if rows is None or run.rebuilt or not level.window > 0.0 or math.isnan(level.warmed_up):
        return {}
    sent = rows[(rows["level"] == level.level) & (rows["measured"] == 1)]
    sent = sent[~sent["outcome"].isin(NOT_THE_SERVERS)]
    ok = sent[sent["outcome"] == OK]
    by_metric = {metric: _of_rows(ok, ok["sent"], ok[metric] / 1000.0, level) for metric in _OF_REQUESTS}
    by_metric["output_tokens"] = _of_rows(ok, ok["sent"], ok["output_tokens"], level)
    by_metric[ERRORS] = _of_rows(sent, sent["sent"], (sent["outcome"] != OK).astype(float), level, least=-1.0)
    over = rows["sent"] + rows["duration"] / 1000.0
    ended = rows[(rows["outcome"] == OK) & (over >= level.warmed_up) & (over < level.warmed_up + level.window)]
    by_metric["throughput"] = _of_rows(ended, over[ended.index], pd.Series(1.0, ended.index), level)
    by_metric["goodput"] = _of_rows(ended, over[ended.index], good(ended, thresholds).astype(float), level, least=-1.0)
    if run.timeline is not None and "tokens" in run.timeline:
        by_metric[TOKENS] = _tokens(run.timeline, level)
    return {metric: values for metric, values in by_metric.items() if len(values)}


def _of_rows(
    rows: pd.DataFrame, when: pd.Series, value: pd.Series, level: LevelFigures, *, least: float = 0.0
) -> Values:
    """The values above `least`: a duration of zero is none."""
    known = (value > least) & when.notna()
    at = (when[known] - level.warmed_up).to_numpy().clip(0.0, math.nextafter(level.window, 0.0))
    return Values(at, value[known].to_numpy(), weights_of(rows[known]).to_numpy())


def _tokens(timeline: pd.DataFrame, level: LevelFigures) -> Values:
    """Tokens of the whole seconds inside a level."""
    inside = (timeline["time"] >= level.warmed_up) & (timeline["time"] + 1.0 <= level.warmed_up + level.window)
    seconds = timeline[inside & timeline["tokens"].notna()]
    at = (seconds["time"] - level.warmed_up).to_numpy()
    return Values(at, seconds["tokens"].to_numpy(), np.ones(len(seconds)))
