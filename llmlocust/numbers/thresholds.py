"""Thresholds: what a level must keep to count as good, written as people say it. Pure.

    ttft.p95 < 500ms      e2e.p99 <= 2s      errors < 1%      goodput > 20/s

A percentile of ttft, answer or e2e is judged with failed requests counted as infinitely slow: 95 of 100 requests
have to have their first token in time, and one that failed never had it. The other metrics, means and maxima know
successful requests only.

For goodput each request is judged by itself: it is good when it succeeded and keeps the limit of every latency
threshold, whichever percentile that threshold speaks of.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from llmlocust.numbers.formats import QUANTILES
from llmlocust.numbers.levels import LevelFigures

DURATIONS = ("ttft", "answer", "e2e", "gap", "tpot", "connect", "wait")
STATISTICS = ("mean", *QUANTILES, "max")
SHARES = ("errors",)
RATES = ("throughput", "goodput", "output_tokens_per_s")

_ALIASES = {"tokens": "output_tokens_per_s", "p99.9": "p99_9", "median": "p50"}
_UNITS: dict[str, float] = {"ms": 0.001, "s": 1.0, "%": 0.01, "/s": 1.0, "": 1.0}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SHAPE = re.compile(
    r"\s*(?P<metric>[a-z_0-9]+?)(?:\.(?P<statistic>[a-z]+[0-9._]*))?\s*(?P<comparison><=|>=|<|>)"
    r"\s*(?P<limit>[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(?P<unit>ms|s|%|/s|)\s*",
    re.IGNORECASE,
)
# Failed requests count as infinitely slow in these: each request has exactly one, and a failed one never came.
_FAILURES_COUNT = ("ttft", "answer", "e2e")
# Thresholds that can be asked of one request, with the column of the requests file that answers.
_PER_REQUEST = ("ttft", "answer", "e2e", "tpot", "connect", "wait")


@dataclass(frozen=True)
class Threshold:
    """One condition on a level."""

    metric: str
    statistic: str
    """Which figure of a duration: mean, p50 … p99_9, max. Empty for the others."""
    comparison: str
    limit: float
    """As written, in `unit`."""
    unit: str

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read a threshold; ValueError, in one line with a right example, where it is none."""
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise ValueError(f"cannot read the threshold {text!r}; write it like 'ttft.p95 < 500ms' or 'errors < 1%'")
        metric, statistic, comparison, limit, unit = (part or "" for part in match.groups())
        metric, statistic, unit = metric.lower(), statistic.lower(), unit.lower()
        made = cls(_ALIASES.get(metric, metric), _ALIASES.get(statistic, statistic), comparison, float(limit), unit)
        if complaint := made._complaint():
            raise ValueError(f"threshold {text.strip()!r}: {complaint}")
        return made

    def _complaint(self) -> str:
        if self.metric in DURATIONS:
            if self.statistic not in STATISTICS:
                return f"say which figure of {self.metric} ({', '.join(STATISTICS)}), like '{self.metric}.p95 < 500ms'"
            if self.unit not in ("ms", "s"):
                return f"a duration needs ms or s, like '{self.metric}.{self.statistic} < 500ms'"
            return ""
        if self.metric not in SHARES + RATES:
            known = ", ".join((*DURATIONS, *SHARES, *RATES))
            return f"there is no metric {self.metric!r}, only {known}; for example 'ttft.p95 < 500ms'"
        if self.statistic:
            return f"{self.metric} is one number for a level; write it like '{self.metric} {self._example()}'"
        if self.metric in SHARES:
            fits = self.unit == "%" or (self.unit == "" and self.limit < 1.0)
        else:
            fits = self.unit in ("/s", "")
        return "" if fits else f"the unit does not fit; write it like '{self.metric} {self._example()}'"

    def _example(self) -> str:
        return "< 1%" if self.metric in SHARES else "> 20/s"

    def __str__(self) -> str:
        return f"{self.name} {self.comparison} {self.limit:g}{self.unit}" if self._short() else self._exact()

    def _short(self) -> bool:
        return float(f"{self.limit:g}") == self.limit

    def _exact(self) -> str:
        return f"{self.name} {self.comparison} {self.limit!r}{self.unit}"

    @property
    def name(self) -> str:
        return f"{self.metric}.{self.statistic}" if self.statistic else self.metric

    @property
    def bound(self) -> float:
        """The limit in seconds, as a share, or a second."""
        return self.limit * _UNITS[self.unit]

    @property
    def is_ceiling(self) -> bool:
        """Whether less is better."""
        return self.comparison.startswith("<")

    @property
    def is_duration(self) -> bool:
        return self.metric in DURATIONS

    @property
    def counts_failures(self) -> bool:
        """Whether a failed request counts as infinitely slow."""
        return self.metric in _FAILURES_COUNT

    def met_by(self, value: float) -> bool:
        return _COMPARE[self.comparison](value, self.bound)

    def measured(self, figures: LevelFigures, goodput: float | None = None) -> float:
        """What the level has of this: seconds, a share, or a second. NaN where it is not known."""
        if self.is_duration:
            return _duration(figures, self.metric, self.statistic)
        if self.metric == "goodput":
            return math.nan if goodput is None else goodput
        return float(getattr(figures, self.metric))

    def holds(self, figures: LevelFigures, goodput: float | None = None) -> bool | None:
        """Whether the level keeps this; None where the level does not tell."""
        value = self.measured(figures, goodput)
        return None if math.isnan(value) else self.met_by(value)

    @property
    def column(self) -> str | None:
        """The column of the requests file by which one request can be judged; None where none can."""
        if self.metric == "gap":
            return "gap_max" if self.statistic == "max" else None
        return self.metric if self.metric in _PER_REQUEST else None


def is_good(request: Mapping[str, float], thresholds: Iterable[Threshold]) -> bool:
    """Whether a successful request (its durations in seconds, by column) keeps every latency threshold.

    What a request does not have (no token gap in an answer of one token) it cannot break.
    """
    judged = ((threshold, request.get(threshold.column or "", math.nan)) for threshold in thresholds)
    return all(math.isnan(value) or threshold.met_by(value) for threshold, value in judged)


def _duration(figures: LevelFigures, metric: str, statistic: str) -> float:
    summary = figures.metric(metric)
    value = summary[statistic]
    if metric not in _FAILURES_COUNT or not figures.failed:
        return value
    if not figures.ok:
        return math.inf
    if statistic not in QUANTILES or math.isnan(value):
        return value
    if figures.errors > 1.0 - QUANTILES[statistic]:
        return math.inf
    with_failures = summary.with_failures.get(statistic, math.nan)
    return value if math.isnan(with_failures) else with_failures
