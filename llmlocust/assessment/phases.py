"""The judged phases of a run's plan: the effect of a surge, the recovery after it, the steadiness of a soak."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.faults.requests import Requests
from llmlocust.analysis.phases.bursts import Burst, burst_of
from llmlocust.analysis.phases.phases import BURSTS, RunPhase, climbs, phases_of, verdict_of
from llmlocust.analysis.phases.recovery import Recovery
from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import BASELINE
from llmlocust.runfiles.reading.level_series import courses, recoveries
from llmlocust.runfiles.reading.run_data import RunData

IN_PHASES = tuple(key for key, metric in METRICS.items() if metric.in_phases)
"""Metrics that the table of phases shows."""


@dataclass(frozen=True)
class Phases:
    """The judged phases of a run; false if its plan has none."""

    phases: Sequence[RunPhase]
    goodput: Mapping[int, float]
    """Requests per second that met every threshold, by level."""
    spread: Mapping[str, Mapping[int, Histogram]]
    """The distributions of the metrics in IN_PHASES, by metric and level."""
    sentences: Sequence[Sequence[str]]
    """Sentences on each phase."""
    recoveries: Sequence[Recovery]
    bursts: Mapping[int, Burst]
    """The responses to spikes and surges, by place in `phases`."""

    def __bool__(self) -> bool:
        return bool(self.phases)

    @property
    def says(self) -> list[str]:
        """The sentences on all phases and recoveries, in the order of the plan."""
        texts = []
        for place, (phase, of_phase) in enumerate(zip(self.phases, self.sentences, strict=True)):
            key = (phase.name, phase.whole.load)
            response = self.bursts[place].says if place in self.bursts else None
            texts += [
                *of_phase,
                *([response] if response else []),
                *(str(recovery) for recovery in self.recoveries if (recovery.after, recovery.load) == key),
            ]
        return texts

    def p95(self, phase: RunPhase, metric: str) -> float:
        """Return the p95 of a metric over all requests of a phase, in seconds; NaN if not known."""
        if len(phase.levels) == 1:
            return phase.levels[0].metric(metric)["p95"]
        histograms = self.spread.get(metric, {})
        known = [histograms[level.level] for level in phase.levels if level.level in histograms]
        return Histogram.sum(known).quantile(0.95) if known else math.nan


def phases_in(run: RunData, limits: Sequence[Threshold], goodput: Mapping[int, float], *, derived: bool) -> Phases:
    """Judge the phases of a run by thresholds. `derived`: the thresholds come from the lowest level."""
    phases = phases_of(run.levels)
    if derived and not climbs(run.levels) and all(phase.name != BASELINE for phase in phases):
        limits = ()  # every load meets the thresholds that are derived from it
    trends = courses(run.levels, run.requests) if phases else {}
    return Phases(
        phases,
        goodput,
        {metric: run.distributions(metric) for metric in IN_PHASES} if phases else {},
        [verdict_of(phase, limits, goodput, _courses(phase, trends)) for phase in phases],
        recoveries(run.levels, run.requests) if phases else (),
        _bursts(run, phases, goodput),
    )


def _bursts(run: RunData, phases: Sequence[RunPhase], goodput: Mapping[int, float]) -> dict[int, Burst]:
    """Return the responses to the spikes and surges that follow a baseline."""
    places = [place for place, phase in enumerate(phases) if phase.name in BURSTS]
    baseline = next((phase for phase in phases if phase.name == BASELINE), None)
    if run.requests is None or baseline is None or not places:
        return {}
    requests, usual = Requests.of_frame(run.requests).of_the_server(), baseline.a_second(goodput)
    return {
        place: burst_of(phases[place], baseline, requests, (phases[place].a_second(goodput), usual)) for place in places
    }


def _courses(phase: RunPhase, trends: Mapping[int, Sequence[Course]]) -> list[Course]:
    """Return the trends of the levels of a phase."""
    return [course for level in phase.levels for course in trends.get(level.level, ())]
