"""Runs to compare: the input of `analysis.comparison` from their files, and its result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llmlocust.analysis.comparison.compare import ERRORS, TOKENS, Comparison, Held, asked_of, compare, spreads_of
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
        return all(each.only_level for each in self.assessments)

    @property
    def each(self) -> Iterator[tuple[str, Comparison]]:
        """The labels of all runs except BASE, with their comparisons."""
        yield from zip(self.labels[1:], self.comparisons, strict=True)

    @property
    def regressed(self) -> bool:
        return any(each.regressions for each in self.comparisons)

    @property
    def doubted(self) -> bool:
        """Whether a check failed for any level that is compared."""
        return any(each.doubted for each in self.comparisons)


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
    first, *others = (held_of(each, limits) for each in assessments)
    compared = Compared(labels, assessments, [compare(first, other, tolerance) for other in others], tolerance)
    for label, comparison in compared.each:
        if not comparison.pairs:
            raise RunError(_nothing_in_common(labels[0], label, comparison, assessments))
    return compared


def _nothing_in_common(base: str, new: str, comparison: Comparison, assessments: Sequence[Assessment]) -> str:
    told = [
        f"{label} has {words.series([words.load(load) for load in loads]) or 'no level with a request'}"
        for label, loads in ((base, comparison.only_base), (new, comparison.only_new))
    ]
    units = {each.unit for each in assessments}
    why = " (one is by users, the other by requests a second)" if len(units) > 1 else ""
    return f"no load in common{why}: {', '.join(told)}; run both with the same --levels"


def labels_of(runs: Sequence[RunData]) -> list[str]:
    """Names that tell runs apart: the prefix, with as many of its folders as that needs. `llmlocust run` calls all of its
    runs "run", so that their folder is their name.
    """
    paths = [each.prefix.absolute() for each in runs]
    parts = [(path.parent if path.name == "run" else path).parts for path in paths]
    for many in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-many:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{each[-1]} ({place})" for place, each in enumerate(parts, 1)]  # one run beside itself


def held_of(assessment: Assessment, thresholds: Sequence[Threshold]) -> list[Held]:
    """The levels of a run as they are compared. `thresholds` decide which requests are good."""
    levels, doubts = assessment.comparable, doubts_of(assessment)
    spreads, asked = spreads_of(levels), asked_of(levels)
    return [
        Held(
            each,
            _values(assessment.run, each, thresholds),
            assessment.goodput.get(each.level, math.nan),
            spreads.get(each.level, {}),
            asked.get(each.level, {}),
            doubts.get(each.level, ()),
        )
        for each in levels
    ]


def doubts_of(assessment: Assessment) -> dict[int, tuple[str, ...]]:
    """The names of the failed checks of each level."""
    failed = [each for each in assessment.checks if not each.ok and each.key not in _OF_THE_RUN_ALONE]
    return {
        level.level: tuple(each.name for each in failed if level.level in each.levels or not each.levels)
        for level in assessment.levels
    }


def _values(run: RunData, level: LevelFigures, thresholds: Sequence[Threshold]) -> Mapping[str, Values]:
    rows = run.requests
    if rows is None or run.rebuilt or not level.window > 0.0 or math.isnan(level.warmed_up):
        return {}
    sent = rows[(rows["level"] == level.level) & (rows["measured"] == 1)]
    sent = sent[~sent["outcome"].isin(NOT_THE_SERVERS)]
    ok = sent[sent["outcome"] == OK]
    found = {metric: _of_rows(ok, ok["sent"], ok[metric] / 1000.0, level) for metric in _OF_REQUESTS}
    found["output_tokens"] = _of_rows(ok, ok["sent"], ok["output_tokens"], level)
    found[ERRORS] = _of_rows(sent, sent["sent"], (sent["outcome"] != OK).astype(float), level, least=-1.0)
    over = rows["sent"] + rows["duration"] / 1000.0
    ended = rows[(rows["outcome"] == OK) & (over >= level.warmed_up) & (over < level.warmed_up + level.window)]
    found["throughput"] = _of_rows(ended, over[ended.index], pd.Series(1.0, ended.index), level)
    found["goodput"] = _of_rows(ended, over[ended.index], good(ended, thresholds).astype(float), level, least=-1.0)
    if run.timeline is not None and "tokens" in run.timeline:
        found[TOKENS] = _tokens(run.timeline, level)
    return {metric: values for metric, values in found.items() if len(values)}


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
