"""The parts of a run's plan, judged: what a surge did, what it left behind, whether a soak held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.phases.phases import RunPart, climbs, parts_of, verdict_of
from llmlocust.analysis.phases.recovery import Recovery
from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import BASELINE
from llmlocust.runfiles.reading.level_series import courses, recoveries
from llmlocust.runfiles.reading.run_data import RunData

IN_PHASES = tuple(key for key, metric in METRICS.items() if metric.in_parts)
"""Metrics that the table of phases shows."""


@dataclass(frozen=True)
class Parts:
    """The judged parts of a run; false where its plan has none."""

    parts: Sequence[RunPart]
    goodput: Mapping[int, float]
    spread: Mapping[str, Mapping[int, Histogram]]
    """How TTFT, gaps and whole requests were spread, by level."""
    said: Sequence[Sequence[str]]
    """Sentences on each part."""
    recoveries: Sequence[Recovery]

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def says(self) -> list[str]:
        made = []
        for part, said in zip(self.parts, self.said, strict=True):
            after = [str(each) for each in self.recoveries if (each.after, each.load) == (part.name, part.whole.load)]
            made += [*said, *after]
        return made

    def p95(self, part: RunPart, metric: str) -> float:
        """Seconds."""
        if len(part.levels) == 1:
            return part.levels[0].metric(metric)["p95"]
        known = [self.spread[metric][each.level] for each in part.levels if each.level in self.spread.get(metric, {})]
        return Histogram.sum(known).quantile(0.95) if known else math.nan


def parts_in(run: RunData, limits: Sequence[Threshold], goodput: Mapping[int, float], *, derived: bool) -> Parts:
    parts = parts_of(run.levels)
    if derived and not climbs(run.levels) and all(part.name != BASELINE for part in parts):
        limits = ()  # of itself: any load keeps its own
    found = courses(run.levels, run.requests) if parts else {}
    return Parts(
        parts,
        goodput,
        {metric: run.distributions(metric) for metric in IN_PHASES} if parts else {},
        [verdict_of(part, limits, goodput, _all(part, found)) for part in parts],
        recoveries(run.levels, run.requests) if parts else (),
    )


def _all(part: RunPart, found: Mapping[int, Sequence[Course]]) -> list[Course]:
    return [course for each in part.levels for course in found.get(each.level, ())]
