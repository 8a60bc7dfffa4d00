"""Which pictures a run has, and what each says of it in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmlocust.analysis.phases.phases import climbs
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.report.charts import by_load as charts
from llmlocust.report.charts import by_time as time_charts
from llmlocust.report.charts import search_path
from llmlocust.report.charts.by_load import Scene
from llmlocust.report.charts.drawing import Picture, drawable
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import mapping
from llmlocust.text import figures as words

_MOST_NAMED = 12


def pictures(run: RunData, scene: Scene) -> list[Picture]:
    """All but the first, which is `at_a_glance`. Those by load are of the ramp, those over time of all levels."""
    heat = time_charts.heat(run.requests, run.levels, scene.doubted, _heat_caption(run))
    over_time = time_charts.over_time(run.timeline, run.levels, scene.doubted, _time_caption(run))
    if scene.verdict.windows or not climbs(run.levels):
        return [each for each in (over_time, heat) if each is not None]
    spread = {metric: run.distributions(metric) for metric in ("ttft", "itl")}
    if not spread["ttft"]:
        spread = {"e2e": run.distributions("e2e")}
    against_load = len({each.load for each in drawable(scene.levels)}) > 1
    made = [
        charts.latency(scene, _latency_caption(scene)) if against_load else None,
        charts.tail(scene, spread, _tail_caption(scene, spread)),
        heat,
        charts.errors(scene, _errors_caption(scene)),
        charts.tokens(scene, _tokens_caption(scene)) if against_load else None,
        charts.distributions(scene, spread, _spread_caption(scene, spread)),
        over_time,
    ]
    return [each for each in made if each is not None]


def how_it_was_found(run: RunData, scene: Scene) -> Picture | None:
    return search_path.search(mapping(run.info.get("plan")), scene.verdict.unit)


def at_a_glance(scene: Scene) -> Picture | None:
    return charts.at_a_glance(scene, _glance_caption(scene))


def _glance_caption(scene: Scene) -> str:
    limit, unit = scene.verdict.slo_limit, scene.verdict.unit
    said = []
    if limit.reached and limit.level_ok is not None and limit.level_bad is not None:
        said.append(
            f"Up to {words.load(limit.level_ok)} on the left every limit holds, from "
            f"{words.with_unit(limit.level_bad, unit)} on the right one breaks; between them is not known."
        )
    said.append("Bars are the intervals of the four numbers, marks the best guesses.")
    standings = {scene.standing.get(each.level, "") for each in drawable(scene.levels)}
    signs = [f"{sign} {name}" for name, (sign, _) in charts.STANDINGS.items() if name in standings]
    if signs:
        said.append(f"Of the levels: {', '.join(signs)}.")
    said += _doubt(scene)
    return " ".join(said)


def _doubt(scene: Scene) -> list[str]:
    """What the hatching means, where there is any."""
    doubted = sorted({each.load for each in drawable(scene.levels) if each.level in scene.doubted})
    if not doubted:
        return []
    if len(doubted) > _MOST_NAMED:
        return [f"Hatched: {len(doubted)} levels, which the checks doubt."]
    named = words.series([words.load(load) for load in doubted])
    unit = words.unit_of(scene.verdict.unit, doubted[0] if len(doubted) == 1 else 2)
    return [f"Hatched: {named} {unit}, which the checks doubt."]


def _tokens_caption(scene: Scene) -> str:
    known = [each for each in drawable(scene.levels) if each.output_tokens_per_s > 0]
    if not known:
        return ""
    best = max(known, key=lambda each: each.output_tokens_per_s)
    most = words.with_unit(best.load, scene.verdict.unit)
    return f"The most was {words.digits(best.output_tokens_per_s)} output tokens/s at {most}."


def _latency_caption(scene: Scene) -> str:
    known = drawable(scene.levels)
    for metric, statistic in (("ttft", "p95"), ("e2e", "p95"), ("e2e", "mean")):
        values = [(each.load, each.metric(metric)[statistic]) for each in known]
        values = [(load, value) for load, value in values if math.isfinite(value)]
        if len(values) > 1:
            (low, first), (high, last) = values[0], values[-1]
            return (
                f"The {statistic} {METRICS[metric].name} goes {words.change(first, last)} between {words.load(low)} and "
                f"{words.with_unit(high, scene.verdict.unit)}. The scale is logarithmic; shades are 95 % intervals of the p95."
            )
    return "The scale is logarithmic."


def _tail_caption(scene: Scene, spread: Mapping[str, Mapping[int, Any]]) -> str:
    found = next((spread[name] for name in ("ttft", "e2e") if spread.get(name)), {})
    known = [each for each in drawable(scene.levels) if each.level in found and found[each.level].count >= 100]
    said = "Each nine of the percentile is as wide as the one before it; both scales are logarithmic."
    if not known:
        return said
    last = known[-1]
    middle, slow = (found[last.level].quantile(q) for q in (0.5, 0.99))
    return f"At {words.with_unit(last.load, scene.verdict.unit)} from p50 to p99: {words.change(middle, slow)}. {said}"


def _heat_caption(run: RunData) -> str:
    said = "Each cell is a span of time and of latency, the darker the more requests; the scale is logarithmic."
    found = None if run.requests is None else time_charts.heat_rows(run.requests)
    if found is None:
        return said
    _, rows = found
    shown = f"{words.digits(float(len(rows)))} requests by when they were sent."
    if (rows["weight"] > 1.0).any():
        shown = f"{words.digits(float(len(rows)))} rows by when they were sent, a sample that counts for all."
    return f"{shown} {said}"


def _spread_caption(scene: Scene, spread: Mapping[str, Mapping[int, Any]]) -> str:
    marks = "Each hill is one level; the dot is its median, the square its p95, the triangle its p99."
    gaps = spread.get("itl", {})
    first, last = _ends(scene, gaps)
    if first is None or last is None:
        return marks
    told = words.change(gaps[first.level].quantile(0.5), gaps[last.level].quantile(0.5))
    return (
        f"The median gap between tokens goes {told} from {words.load(first.load)} to {words.load(last.load)}. {marks}"
    )


def _ends(scene: Scene, found: Mapping[int, Any]) -> tuple[LevelFigures | None, LevelFigures | None]:
    known = [each for each in drawable(scene.levels) if found.get(each.level)]
    return (known[0], known[-1]) if len(known) > 1 else (None, None)


def _time_caption(run: RunData) -> str:
    timeline = run.timeline
    said = "Shaded bands are the measured windows of the levels, named by their load."
    if any(each.phase for each in run.levels):
        said += " Above them the phases of the plan."
    if timeline is not None and "in_flight" in timeline and (timeline["in_flight"] > 0).any():
        return f"At most {words.digits(float(timeline['in_flight'].max()))} requests were in flight at once. {said}"
    return said


def _errors_caption(scene: Scene) -> str:
    totals = charts.error_totals(scene.levels)
    if not totals or not all(each.counted for each in scene.levels):
        return "Shares of the requests of each level that failed."
    kind = next(iter(totals))
    failed, sent = sum(totals.values()), sum(each.attempted for each in scene.levels)
    most = "all" if totals[kind] == failed else str(totals[kind])
    named = "" if kind == "failed" else f", {most} of them: {ERROR_KINDS.get(kind, kind)}"
    return f"{failed} of {sent} requests failed{named}. Bars are shares of each level's requests."
