"""Where a system breaks: four numbers and the cliffs between levels, from the figures of the levels. Pure.

Each number is a load with its 95 % interval (`low`, `high`) and why in one sentence; or it was not reached, up to the
highest load of the run. How each is found, and its noise: slo, knee, queueing, collapse, cliffs.

Seconds and shares inside; text says milliseconds where they read better.
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
    slo_limit: Finding
    knee: Finding
    saturation: Finding
    collapse: Finding
    onset: Finding
    """Where errors pass 1 %, whether or not throughput fell before; `collapse` is the earlier of the two."""
    cliffs: tuple[Cliff, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    """Those that were judged: the given ones, or the derived."""
    derived: bool = False
    unit: str = USERS
    gone: tuple[float, Message] | None = None
    """The first load at which the server was gone, and how that showed."""
    windows: str = ""
    """A sentence on the windows of a replayed trace, which is no ramp; empty for all else."""
    empty: frozenset[int] = frozenset()
    """The levels, by their index, whose answers were empty: of those nothing can be said."""
    outages: frozenset[int] = frozenset()
    """The levels, by index, that the verdict leaves out because of an outage that the load did not cause."""
    gold: Finding | None = None
    """The limit of the gold tier, where the thresholds have two tiers."""

    def numbers(self) -> dict[str, Finding]:
        return {name: getattr(self, name) for name in ("slo_limit", "knee", "saturation", "collapse")}

    def decisive(self, levels: Sequence[LevelFigures]) -> set[int]:
        """The levels that it rests on: those around each number, and the highest where nothing broke."""
        levels = [each for each in levels if each.level not in self.outages]
        found = [each for each in self.numbers().values() if each.reached]
        loads = {load for each in found for load in (each.level_ok, each.level_bad)}
        if not self.slo_limit.reached:
            loads.add(max((each.load for each in levels if each.load > 0), default=None))
        return {each.level for each in levels if each.load in loads}

    def rests(self, levels: Sequence[LevelFigures]) -> dict[str, set[int]]:
        """Which levels each number rests on: those that it lies between; one that was not reached on all of them.
        Limits that come from the lowest level rest on that one too.
        """
        levels = [each for each in levels if each.level not in self.outages]
        lowest = min((each.load for each in levels if each.load > 0), default=None)
        made = {}
        for name, finding in self.numbers().items():
            loads = {finding.level_ok, finding.level_bad}
            loads |= {lowest} if name == "slo_limit" and self.derived else set()
            made[name] = {each.level for each in levels if not finding.reached or each.load in loads}
        return made


def find(
    levels: Sequence[LevelFigures],
    thresholds: Sequence[Threshold] = (),
    goodput: Mapping[int, float] | None = None,
    gone: Mapping[int, float] | None = None,
    empty: Collection[int] = (),
    outages: Collection[int] = (),
) -> Verdict:
    """The verdict on a run. `goodput` is that of each level, by its index, where it is known; `gone` has the levels
    in which nothing could connect any more from some second on, until their end; `empty` those whose answers brought
    no tokens. Neither shows what load does to a server. `outages` are the levels in which nothing could
    connect for a while; the verdict leaves out those whose outage the load did not cause.
    """
    unit = levels[0].unit if levels else USERS
    passing = without_cause_in_load(levels, outages)
    gone = {level: seconds for level, seconds in (gone or {}).items() if level not in passing}
    steps = steps_of(each for each in levels if each.level not in passing)
    judged = tuple(thresholds) or derive(steps)
    lost = lost_server(steps, gone, unit)
    there = [step for step in steps if not step.among(gone)]
    served = [step for step in there if not step.among(empty)]
    curve = [step for step in served if math.isfinite(step.throughput)]
    passed_over = [
        *left_out((each.load for each in levels if each.level in passing), unit, message("they had an outage")),
        *left_out((each.load for each in levels if each.lacks_requests), unit, message("no request was sent there")),
    ]
    missing = [
        *passed_over,
        *left_out((step.load for step in steps if step.among(gone)), unit, message("the server was gone")),
        *left_out((step.load for step in steps if step.among(empty)), unit, message("their answers were empty")),
    ]
    if missing and not curve:
        nothing = message("nothing succeeded at any level")
        reason = clauses(missing) if any(step.ok for step in steps) else nothing
        knee = saturation = Finding(Status.UNKNOWN, message("cannot be told: {reason}", reason=reason))
    else:
        knee, saturation = (_noted(each, missing) for each in (find_knee(curve, unit), find_saturation(curve, unit)))

    def limit_of(tier: Sequence[Threshold]) -> Finding:
        limit = find_slo_limit(steps, tier, goodput or {}, unit, derived=not thresholds, lost=lost, empty=empty)
        return _noted(limit, passed_over)

    collapse = find_collapse(steps, there, curve, unit, lost)
    return Verdict(
        slo_limit=limit_of(judged),
        knee=knee,
        saturation=saturation,
        collapse=_noted(collapse, passed_over),
        onset=errors_onset(there, unit) or Finding(Status.NOT_REACHED, message("not reached")),
        cliffs=tuple(find_cliffs(served, unit)),
        thresholds=judged,
        derived=not thresholds,
        unit=unit,
        gone=lost,
        empty=frozenset(empty),
        outages=passing,
        gold=limit_of(golds(judged)) if any(each.gold for each in judged) else None,
    )


def _noted(finding: Finding, notes: Sequence[Message]) -> Finding:
    """A finding that also says which loads it leaves out."""
    return replace(finding, why=clauses([finding.why, *notes]))
