"""The table of the parts of a plan: a row each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llmlocust.analysis.breakpoints.steps import name_of
from llmlocust.analysis.phases.phases import RunPart, span
from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.phases import IN_PHASES, Parts
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import PARTS
from llmlocust.text import figures as words

HEADS = ("requests", "failed", "ok/s", "good/s", "tokens/s", *(f"{METRICS[key].short} p95" for key in IN_PHASES))


def table(assessment: Assessment) -> dict[str, Any] | None:
    """The table's heads and rows; None where the plan has no parts."""
    told = assessment.parts
    if not told:
        return None
    columns = _columns(told)
    rows = [
        {
            "name": part.name,
            "means": PARTS.get(part.name, ""),
            "load": loads(part),
            "time": span(part.seconds),
            "limits": _stand(assessment, part.levels),
            "cells": [cells[place] for _, cells in columns],
        }
        for place, part in enumerate(told.parts)
    ]
    return {"heads": [head for head, _ in columns], "rows": rows}


def _columns(told: Parts) -> list[tuple[str, list[str]]]:
    """The heads that have anything to tell, each with a cell for each part."""
    rows = [_cells(part, told) for part in told.parts]
    made = zip(HEADS, zip(*rows, strict=True), strict=True)
    return [(head, list(cells)) for head, cells in made if any(cell != words.UNKNOWN for cell in cells)]


def _cells(part: RunPart, told: Parts) -> list[str]:
    """In the order of HEADS."""
    whole = part.whole
    tokens = {each.level: each.output_tokens_per_s for each in part.levels}
    return [
        str(whole.requests),
        words.share(whole.errors),
        *(words.digits(each) for each in (whole.throughput, part.a_second(told.goodput), part.a_second(tokens))),
        *(_slowest(part, told, metric) for metric in IN_PHASES),
    ]


def _slowest(part: RunPart, judged: Parts, metric: str) -> str:
    """The p95 of all its requests together; where the load generator was late, no further off than a level's."""
    told = [(each.metric(metric)["p95"], each.metric(metric).range_of("p95")) for each in part.levels]
    unsure = [(value - between[0], between[1] - value) for value, between in told if between]
    p95 = judged.p95(part, metric)
    if not unsure or math.isnan(p95):
        return words.duration(p95)
    below, above = (max(ends) for ends in zip(*unsure, strict=True))
    return words.span(max(0.0, p95 - below), p95 + above)


def _stand(assessment: Assessment, levels: Sequence[LevelFigures]) -> str:
    """How the levels of a part stand to the limits."""
    found = [assessment.tier(each) for each in levels]
    if len(set(found)) == 1:
        return found[0]
    return f"fails at {found.count('fails')} of {len(found)}" if "fails" in found else "holds where it is known"


def loads(part: RunPart) -> str:
    """5, or 5 → 50."""
    ends = [words.load(part.levels[0].load), words.load(part.levels[-1].load)]
    return " → ".join(dict.fromkeys(ends))


def brief(part: RunPart, told: Parts, unit: str) -> str:
    """A part in a line of a terminal."""
    metric = "ttft" if any(each.metric("ttft").count for each in part.levels) else "e2e"
    name = f"{name_of(metric, 'p95')} {words.duration(told.p95(part, metric))}"
    failed = words.share(part.whole.errors)
    return f"{loads(part)} {words.unit_of(unit)} for {span(part.seconds)}, {name}, {failed} failed"
