"""The table of the phases of a plan, with a row for each phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llmlocust.analysis.breakpoints.steps import name_of
from llmlocust.analysis.phases.phases import RunPhase, span
from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.phases import IN_PHASES, Phases
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import PHASES
from llmlocust.text import figures as words

HEADS = ("requests", "failed", "ok/s", "good/s", "tokens/s", *(f"{METRICS[key].short} p95" for key in IN_PHASES))


def table(assessment: Assessment) -> dict[str, Any] | None:
    """Return the heads and rows of the table; None if the plan has no phases."""
    told = assessment.phases
    if not told:
        return None
    columns = _columns(told)
    rows = [
        {
            "name": phase.name,
            "means": PHASES.get(phase.name, ""),
            "load": loads(phase),
            "time": span(phase.seconds),
            "limits": _stand(assessment, phase.levels),
            "cells": [cells[place] for _, cells in columns],
        }
        for place, phase in enumerate(told.phases)
    ]
    return {"heads": [head for head, _ in columns], "rows": rows}


def _columns(told: Phases) -> list[tuple[str, list[str]]]:
    """Return the heads of columns with a known figure, each with a cell for each phase."""
    rows = [_cells(phase, told) for phase in told.phases]
    made = zip(HEADS, zip(*rows, strict=True), strict=True)
    return [(head, list(cells)) for head, cells in made if any(cell != words.UNKNOWN for cell in cells)]


def _cells(phase: RunPhase, told: Phases) -> list[str]:
    """Return the cells of a phase in the order of HEADS."""
    whole = phase.whole
    tokens = {each.level: each.output_tokens_per_s for each in phase.levels}
    return [
        str(whole.requests),
        words.share(whole.errors),
        *(words.digits(each) for each in (whole.throughput, phase.a_second(told.goodput), phase.a_second(tokens))),
        *(_slowest(phase, told, metric) for metric in IN_PHASES),
    ]


def _slowest(phase: RunPhase, judged: Phases, metric: str) -> str:
    """The p95 of all its requests together; where the load generator was late, no further off than a level's."""
    told = [(each.metric(metric)["p95"], each.metric(metric).range_of("p95")) for each in phase.levels]
    unsure = [(value - between[0], between[1] - value) for value, between in told if between]
    p95 = judged.p95(phase, metric)
    if not unsure or math.isnan(p95):
        return words.duration(p95)
    below, above = (max(ends) for ends in zip(*unsure, strict=True))
    return words.span(max(0.0, p95 - below), p95 + above)


def _stand(assessment: Assessment, levels: Sequence[LevelFigures]) -> str:
    """Return the result of the levels of a phase for the thresholds, in words."""
    found = [assessment.tier(each) for each in levels]
    if len(set(found)) == 1:
        return found[0]
    return f"fails at {found.count('fails')} of {len(found)}" if "fails" in found else "holds where it is known"


def loads(phase: RunPhase) -> str:
    """Return the load of a phase in words: 5, or 5 → 50."""
    ends = [words.load(phase.levels[0].load), words.load(phase.levels[-1].load)]
    return " → ".join(dict.fromkeys(ends))


def brief(phase: RunPhase, told: Phases, unit: str) -> str:
    """Return a line on a phase for a terminal."""
    metric = "ttft" if any(each.metric("ttft").count for each in phase.levels) else "e2e"
    name = f"{name_of(metric, 'p95')} {words.duration(told.p95(phase, metric))}"
    failed = words.share(phase.whole.errors)
    return f"{loads(phase)} {words.unit_of(unit)} for {span(phase.seconds)}, {name}, {failed} failed"
