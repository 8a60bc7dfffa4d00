"""The parts of a plan in a report: a row each, and what is to be said of a surge, of what it left behind, of a soak."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmlocust.analysis.breakpoints.steps import name_of
from llmlocust.analysis.phases.phases import RunPart, climbs, parts_of, span, verdict_of
from llmlocust.analysis.phases.recovery import Recovery
from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import BASELINE, PARTS
from llmlocust.runfiles.reading.level_series import courses, recoveries
from llmlocust.runfiles.reading.run_data import RunFrames
from llmlocust.text import figures as words

if TYPE_CHECKING:
    from llmlocust.report.page import Report

_METRICS = tuple(key for key, metric in METRICS.items() if metric.in_parts)
HEADS = ("requests", "failed", "ok/s", "good/s", "tokens/s", *(f"{METRICS[key].short} p95" for key in _METRICS))


@dataclass(frozen=True)
class Parts:
    """Of a run; without any where its plan has none."""

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

    @property
    def headlines(self) -> list[str]:
        """The shortest that can be said of what is no ramp."""
        kept = [said[0] for said in self.said if said]
        return [*kept, *(_short(each) for each in self.recoveries if each.is_known)]

    def cells(self, part: RunPart) -> list[str]:
        """In the order of HEADS."""
        whole = part.whole
        tokens = {each.level: each.output_tokens_per_s for each in part.levels}
        return [
            str(whole.requests),
            words.share(whole.errors),
            *(words.digits(each) for each in (whole.throughput, part.a_second(self.goodput), part.a_second(tokens))),
            *(self._slowest(part, metric) for metric in _METRICS),
        ]

    def columns(self) -> list[tuple[str, list[str]]]:
        """Heads with a cell for each part: those that have anything to tell."""
        made = zip(HEADS, zip(*map(self.cells, self.parts), strict=True), strict=True)
        return [(head, list(cells)) for head, cells in made if any(cell != words.UNKNOWN for cell in cells)]

    def _slowest(self, part: RunPart, metric: str) -> str:
        """The p95 of all its requests together; where the load generator was late, no further off than a level's."""
        told = [(each.metric(metric)["p95"], each.metric(metric).range_of("p95")) for each in part.levels]
        unsure = [(value - between[0], between[1] - value) for value, between in told if between]
        p95 = self.p95(part, metric)
        if not unsure or math.isnan(p95):
            return words.duration(p95)
        below, above = (max(ends) for ends in zip(*unsure, strict=True))
        return words.span(max(0.0, p95 - below), p95 + above)

    def p95(self, part: RunPart, metric: str) -> float:
        """Seconds."""
        if len(part.levels) == 1:
            return part.levels[0].metric(metric)["p95"]
        known = [self.spread[metric][each.level] for each in part.levels if each.level in self.spread.get(metric, {})]
        return Histogram.sum(known).quantile(0.95) if known else math.nan

    def data(self) -> list[dict[str, Any]]:
        """As plain values; durations in milliseconds."""
        return [
            {
                "name": part.name,
                "levels": [each.level for each in part.levels],
                "loads": [each.load for each in part.levels],
                "seconds": part.seconds,
                "requests": part.whole.requests,
                "errors": part.whole.errors,
                "throughput": part.whole.throughput,
                "goodput": part.a_second(self.goodput),
                "output_tokens_per_s": part.a_second({each.level: each.output_tokens_per_s for each in part.levels}),
                **{f"{metric}_p95": self.p95(part, metric) * 1000.0 for metric in _METRICS},
                "says": list(said),
            }
            for part, said in zip(self.parts, self.said, strict=True)
        ]


def loads(part: RunPart) -> str:
    """5, or 5 → 50."""
    ends = [words.load(part.levels[0].load), words.load(part.levels[-1].load)]
    return " → ".join(dict.fromkeys(ends))


def brief(part: RunPart, told: Parts, unit: str) -> str:
    """A part in a line of a terminal."""
    metric = "ttft" if any(each.metric("ttft").count for each in part.levels) else "e2e"
    name = f"{name_of(metric, 'p95')} {words.duration(told.p95(part, metric))}"
    return f"{loads(part)} {words.unit_of(unit)} for {time(part)}, {name}, {words.share(part.whole.errors)} failed"


def time(part: RunPart) -> str:
    return span(part.seconds)


def table(report: Report) -> dict[str, Any] | None:
    """The table of the parts; None where the plan has none."""
    told = report.parts
    if not told:
        return None
    columns = told.columns()
    rows = [
        {
            "name": part.name,
            "means": PARTS.get(part.name, ""),
            "load": loads(part),
            "time": time(part),
            "limits": _stand(report, part.levels),
            "cells": [cells[place] for _, cells in columns],
        }
        for place, part in enumerate(told.parts)
    ]
    return {"heads": [head for head, _ in columns], "rows": rows}


def _stand(report: Report, levels: Sequence[LevelFigures]) -> str:
    """How the levels of a part stand to the limits."""
    found = [report.tier(each) for each in levels]
    if len(set(found)) == 1:
        return found[0]
    return f"fails at {found.count('fails')} of {len(found)}" if "fails" in found else "holds where it is known"


def parts_in(run: RunFrames, limits: Sequence[Threshold], goodput: Mapping[int, float], *, derived: bool) -> Parts:
    parts = parts_of(run.levels)
    if derived and not climbs(run.levels) and all(part.name != BASELINE for part in parts):
        limits = ()  # of itself: any load keeps its own
    found = courses(run.levels, run.requests) if parts else {}
    return Parts(
        parts,
        goodput,
        {metric: run.distributions(metric) for metric in _METRICS} if parts else {},
        [verdict_of(part, limits, goodput, _all(part, found)) for part in parts],
        recoveries(run.levels, run.requests) if parts else (),
    )


def _all(part: RunPart, found: Mapping[int, Sequence[Course]]) -> list[Course]:
    return [course for each in part.levels for course in found.get(each.level, ())]


def _short(each: Recovery) -> str:
    if each.seconds is None:
        return f"Not well again within {words.duration(each.within)} after the {each.after}."
    if each.seconds == 0.0:
        return f"Well at once after the {each.after}."
    return f"Well again {words.duration(each.seconds)} after the {each.after}."
