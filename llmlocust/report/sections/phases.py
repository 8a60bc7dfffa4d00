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
from llmlocust.text.message import message, term

HEADS = (
    term("requests"),
    term("failed"),
    term("ok/s"),
    term("good/s"),
    term("tokens/s"),
    *(message("{metric} {statistic}", metric=term(METRICS[key].short), statistic="p95") for key in IN_PHASES),
)


def table(assessment: Assessment) -> dict[str, Any] | None:
    """Return the heads and rows of the table; None if the plan has no phases."""
    phases = assessment.phases
    if not phases:
        return None
    columns = _columns(phases)
    rows = [
        {
            "name": name_in_words(phase.name),
            "means": term(PHASES[phase.name]) if phase.name in PHASES else "",
            "load": loads(phase),
            "time": span(phase.seconds),
            "limits": _result(assessment, phase.levels),
            "cells": [cells[row] for _, cells in columns],
        }
        for row, phase in enumerate(phases.phases)
    ]
    return {"heads": [head for head, _ in columns], "rows": rows}


def name_in_words(phase: str) -> str:
    """Return the name of a phase: one of ours as a message, one of the user's as it is."""
    return term(phase) if phase in PHASES else phase


def _columns(phases: Phases) -> list[tuple[str, list[str]]]:
    """Return the heads of columns with a known figure, each with a cell for each phase."""
    rows = [_cells(phase, phases) for phase in phases.phases]
    columns = zip(HEADS, zip(*rows, strict=True), strict=True)
    return [(head, list(cells)) for head, cells in columns if any(cell != words.UNKNOWN for cell in cells)]


def _cells(phase: RunPhase, phases: Phases) -> list[str]:
    """Return the cells of a phase in the order of HEADS."""
    whole = phase.whole
    tokens = {level.level: level.output_tokens_per_s for level in phase.levels}
    rates = (whole.throughput, phase.a_second(phases.goodput), phase.a_second(tokens))
    return [
        str(whole.requests),
        words.share(whole.errors),
        *(words.digits(rate) for rate in rates),
        *(_p95(phase, phases, metric) for metric in IN_PHASES),
    ]


def _p95(phase: RunPhase, phases: Phases, metric: str) -> str:
    """Return the p95 of all requests of a phase; a range if the load generator read late, as wide as that of a level."""
    known = [(level.metric(metric)["p95"], level.metric(metric).range_of("p95")) for level in phase.levels]
    margins = [(value - ends[0], ends[1] - value) for value, ends in known if ends]
    p95 = phases.p95(phase, metric)
    if not margins or math.isnan(p95):
        return words.duration(p95)
    below, above = (max(sides) for sides in zip(*margins, strict=True))
    return words.span(max(0.0, p95 - below), p95 + above)


def _result(assessment: Assessment, levels: Sequence[LevelFigures]) -> str:
    """Return the result of the levels of a phase for the thresholds, in words."""
    results = [assessment.tier(level) for level in levels]
    if len(set(results)) == 1:
        return results[0]
    if "fails" in results:
        return message("fails at {count} of {total}", count=results.count("fails"), total=len(results))
    return message("passes where it is known")


def loads(phase: RunPhase) -> str:
    """Return the load of a phase in words: 5, or 5 → 50."""
    ends = [words.load(phase.levels[0].load), words.load(phase.levels[-1].load)]
    return " → ".join(dict.fromkeys(ends))


def brief(phase: RunPhase, phases: Phases, unit: str) -> str:
    """Return a line on a phase for a terminal."""
    metric = "ttft" if any(level.metric("ttft").count for level in phase.levels) else "e2e"
    p95 = f"{name_of(metric, 'p95')} {words.duration(phases.p95(phase, metric))}"
    failed = words.share(phase.whole.errors)
    return f"{loads(phase)} {words.unit_of(unit)} for {span(phase.seconds)}, {p95}, {failed} failed"
