"""The verdict on a run: the four numbers, and the cliffs between levels, from the figures of the levels. Pure.

Each number is a load with its 95 % interval (`low`, `high`) and a sentence with the reason, or it was not reached up to the
highest load of the run. The modules slo, knee, saturation, collapse and cliffs define each number and its noise.

Values are seconds and shares. Texts show milliseconds if they are easier to read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from llmlocust.analysis.breakpoints.cliffs import Cliff, find_cliffs
from llmlocust.analysis.breakpoints.collapse import errors_onset, find_collapse, lost_server
from llmlocust.analysis.breakpoints.knee import find_knee
from llmlocust.analysis.breakpoints.outages import without_cause_in_load
from llmlocust.analysis.breakpoints.saturation import find_saturation
from llmlocust.analysis.breakpoints.slo import derive, find_slo_limit
from llmlocust.analysis.breakpoints.steps import Finding, Status, left_out, steps_of
from llmlocust.metrics.levels import USERS, LevelFigures
from llmlocust.metrics.thresholds import Threshold, golds
from llmlocust.text.message import Message, clauses, message


@dataclass(frozen=True)
class Verdict:
    """The four numbers, the cliffs and the thresholds of a run."""

    slo_limit: Finding
    knee: Finding
    saturation: Finding
    collapse: Finding
    onset: Finding
    """The load at which errors exceed 1 %, even if throughput fell before. `collapse` is the lower of the two."""
    cliffs: tuple[Cliff, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    """The thresholds that were judged: the given or the derived ones."""
    derived: bool = False
    unit: str = USERS
    unreachable: tuple[float, Message] | None = None
    """The first load at which the server was unreachable, with a description."""
    windows: str = ""
    """A sentence on the windows of a replayed trace; empty for any other run."""
    empty: frozenset[int] = frozenset()
    """The levels, by index, whose answers were empty. They show nothing about the server."""
    outages: frozenset[int] = frozenset()
    """The levels, by index, that the verdict leaves out because of an outage that the load did not cause."""
    gold: Finding | None = None
    """The limit of the gold tier, if the thresholds have two tiers."""

    def numbers(self) -> dict[str, Finding]:
        """The four numbers by name."""
        return {name: getattr(self, name) for name in ("slo_limit", "knee", "saturation", "collapse")}

    def decisive(self, levels: Sequence[LevelFigures]) -> set[int]:
        """The levels that the verdict depends on: those around each number, and the highest one if every threshold was met."""
        levels = self._without_outages(levels)
        reached = [finding for finding in self.numbers().values() if finding.reached]
        loads = {load for finding in reached for load in (finding.level_ok, finding.level_bad)}
        if not self.slo_limit.reached:
            loads.add(max((level.load for level in levels if level.load > 0), default=None))
        return {level.level for level in levels if level.load in loads}

    def supporting_levels(self, levels: Sequence[LevelFigures]) -> dict[str, set[int]]:
        """The levels that each number depends on: those around it, or all levels if it was not reached. An SLO limit by
        derived thresholds also depends on the lowest level.
        """
        levels = self._without_outages(levels)
        lowest = min((level.load for level in levels if level.load > 0), default=None)
        supporting = {}
        for name, finding in self.numbers().items():
            loads = {finding.level_ok, finding.level_bad}
            loads |= {lowest} if name == "slo_limit" and self.derived else set()
            supporting[name] = {level.level for level in levels if not finding.reached or level.load in loads}
        return supporting

    def _without_outages(self, levels: Sequence[LevelFigures]) -> list[LevelFigures]:
        return [level for level in levels if level.level not in self.outages]


def find(
    levels: Sequence[LevelFigures],
    thresholds: Sequence[Threshold] = (),
    goodput: Mapping[int, float] | None = None,
    unreachable_from: Mapping[int, float] | None = None,
    empty: Collection[int] = (),
    outages: Collection[int] = (),
) -> Verdict:
    """Find the verdict on a run. All levels are given by their index.

    `goodput` is that of each level, if known. `unreachable_from` has the levels in which nothing could connect from some second on
    until their end; `empty` those whose answers had no tokens. Neither shows what load does to a server. `outages` are the
    levels in which nothing could connect for a while; the verdict leaves out those whose outage the load did not cause.
    """
    unit = levels[0].unit if levels else USERS
    unrelated = without_cause_in_load(levels, outages)
    unreachable_from = {level: seconds for level, seconds in (unreachable_from or {}).items() if level not in unrelated}
    steps = steps_of(level for level in levels if level.level not in unrelated)
    judged = tuple(thresholds) or derive(steps)
    lost = lost_server(steps, unreachable_from, unit)
    reachable = [step for step in steps if not step.among(unreachable_from)]
    served = [step for step in reachable if not step.among(empty)]
    curve = [step for step in served if math.isfinite(step.throughput)]
    unused_loads = [
        *left_out((level.load for level in levels if level.level in unrelated), unit, message("they had an outage")),
        *left_out((level.load for level in levels if level.lacks_requests), unit, message("no request was sent")),
    ]
    missing = [
        *unused_loads,
        *left_out(
            (step.load for step in steps if step.among(unreachable_from)), unit, message("the server was unreachable")
        ),
        *left_out((step.load for step in steps if step.among(empty)), unit, message("their answers were empty")),
    ]
    if missing and not curve:
        nothing = message("no request succeeded at any level")
        reason = clauses(missing) if any(step.ok for step in steps) else nothing
        knee = saturation = Finding(Status.UNKNOWN, message("cannot be determined: {reason}", reason=reason))
    else:
        knee, saturation = (
            _noted(number, missing) for number in (find_knee(curve, unit), find_saturation(curve, unit))
        )

    def limit_of(tier: Sequence[Threshold]) -> Finding:
        limit = find_slo_limit(steps, tier, goodput or {}, unit, derived=not thresholds, lost=lost, empty=empty)
        return _noted(limit, unused_loads)

    collapse = find_collapse(steps, reachable, curve, unit, lost)
    return Verdict(
        slo_limit=limit_of(judged),
        knee=knee,
        saturation=saturation,
        collapse=_noted(collapse, unused_loads),
        onset=errors_onset(reachable, unit) or Finding(Status.NOT_REACHED, message("not reached")),
        cliffs=tuple(find_cliffs(served, unit)),
        thresholds=judged,
        derived=not thresholds,
        unit=unit,
        unreachable=lost,
        empty=frozenset(empty),
        outages=unrelated,
        gold=limit_of(golds(judged)) if any(threshold.gold for threshold in judged) else None,
    )


def _noted(finding: Finding, notes: Sequence[Message]) -> Finding:
    """A finding with notes about the loads that it leaves out."""
    return replace(finding, why=clauses([finding.why, *notes]))
