"""The pictures of a run, and a caption for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmlocust.analysis.breakpoints.steps import kind_name
from llmlocust.analysis.phases.phases import climbs
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.report.charts import by_load as charts
from llmlocust.report.charts import by_time as time_charts
from llmlocust.report.charts import search_path
from llmlocust.report.charts.by_load import Scene
from llmlocust.report.charts.drawing import Picture, drawable
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import mapping
from llmlocust.text import figures as words
from llmlocust.text.message import Message, enumeration, message, sentences, term

_MAX_NAMED = 12


def pictures(run: RunData, scene: Scene) -> list[Picture]:
    """All pictures except `at_a_glance`. Pictures by load show the ramp, pictures by time all levels."""
    heat = time_charts.heat(run.requests, run.levels, scene.doubted, _heat_caption(run))
    over_time = time_charts.over_time(run.timeline, run.levels, scene.doubted, _time_caption(run))
    if scene.verdict.windows or not climbs(run.levels):
        return [picture for picture in (over_time, heat) if picture is not None]
    spread = {metric: run.distributions(metric) for metric in ("ttft", "itl")}
    if not spread["ttft"]:
        spread = {"e2e": run.distributions("e2e")}
    against_load = len({level.load for level in drawable(scene.levels)}) > 1
    drawn = [
        charts.latency(scene, _latency_caption(scene)) if against_load else None,
        charts.tail(scene, spread, _tail_caption(scene, spread)),
        heat,
        charts.errors(scene, _errors_caption(scene)),
        charts.tokens(scene, _tokens_caption(scene)) if against_load else None,
        charts.distributions(scene, spread, _spread_caption(scene, spread)),
        over_time,
    ]
    return [picture for picture in drawn if picture is not None]


def search_picture(run: RunData, scene: Scene) -> Picture | None:
    return search_path.search(mapping(run.info.get("plan")), scene.verdict.unit)


def at_a_glance(scene: Scene) -> Picture | None:
    return charts.at_a_glance(scene, _glance_caption(scene))


def _glance_caption(scene: Scene) -> str:
    limit, unit = scene.verdict.slo_limit, scene.verdict.unit
    caption: list[str] = []
    if limit.reached and limit.level_ok is not None and limit.level_bad is not None:
        caption.append(
            message(
                "All thresholds are met up to {good} (left), and one is violated from {bad} (right); between them is unknown.",
                good=words.load(limit.level_ok),
                bad=words.with_unit(limit.level_bad, unit),
            )
        )
    caption.append(message("Bars are the 95 % intervals of the four numbers, marks the best estimates."))
    tiers = {scene.tiers.get(level.level, "") for level in drawable(scene.levels)}
    if signs := [sign for tier, sign in _SIGNS.items() if tier in tiers]:
        caption.append(message("Levels: {signs}.", signs=enumeration(signs)))
    return sentences([*caption, *_hatching(scene)])


_SIGNS = {
    "gold": term("✓ gold"),
    "passes": term("✓ passes"),
    "tolerated": term("~ tolerated"),
    "fails": term("✗ fails"),
}
"""The signs of the results of levels, with their meanings."""


def _hatching(scene: Scene) -> list[Message]:
    """The meaning of the hatching; empty if nothing is hatched."""
    doubted = sorted({level.load for level in drawable(scene.levels) if level.level in scene.doubted})
    if not doubted:
        return []
    if len(doubted) > _MAX_NAMED:
        return [message("Hatched: {count} levels, for which checks failed.", count=len(doubted))]
    loads = words.loads(doubted, scene.verdict.unit)
    return [message("Hatched: {loads}, for which checks failed.", loads=loads)]


def _tokens_caption(scene: Scene) -> str:
    known = [level for level in drawable(scene.levels) if level.output_tokens_per_s > 0]
    if not known:
        return ""
    best = max(known, key=lambda level: level.output_tokens_per_s)
    return message(
        "The maximum is {rate} output tokens/s, at {load}.",
        rate=words.digits(best.output_tokens_per_s),
        load=words.with_unit(best.load, scene.verdict.unit),
    )


def _latency_caption(scene: Scene) -> str:
    known = drawable(scene.levels)
    for metric, statistic in (("ttft", "p95"), ("e2e", "p95"), ("e2e", "mean")):
        values = [(level.load, level.metric(metric)[statistic]) for level in known]
        values = [(load, value) for load, value in values if math.isfinite(value)]
        if len(values) > 1:
            (low, first), (high, last) = values[0], values[-1]
            change = message(
                "The {metric} from {low} to {high}: {change}.",
                metric=_full_name(metric, statistic),
                low=words.load(low),
                high=words.with_unit(high, scene.verdict.unit),
                change=words.change(first, last),
            )
            return sentences([change, message("The scale is logarithmic; shades are 95 % intervals of the p95.")])
    return message("The scale is logarithmic.")


def _full_name(metric: str, statistic: str) -> Message:
    """The name of a figure in a sentence, such as p95 time to first token."""
    name = term(METRICS[metric].name)
    if statistic == "mean":
        return message("mean {metric}", metric=name)
    return message("{statistic} {metric}", statistic=statistic, metric=name)


def _tail_caption(scene: Scene, spread: Mapping[str, Mapping[int, Any]]) -> str:
    histograms = next((spread[name] for name in ("ttft", "e2e") if spread.get(name)), {})
    known = [
        level for level in drawable(scene.levels) if level.level in histograms and histograms[level.level].count >= 100
    ]
    scales = message("Both scales are logarithmic: p90, p99 and p99.9 are equally far apart.")
    if not known:
        return scales
    last = known[-1]
    middle, slow = (histograms[last.level].quantile(q) for q in (0.5, 0.99))
    load, change = words.with_unit(last.load, scene.verdict.unit), words.change(middle, slow)
    return sentences([message("At {load} from p50 to p99: {change}.", load=load, change=change), scales])


def _heat_caption(run: RunData) -> str:
    cells = message("Each cell is an interval of time and of latency; darker cells have more requests.")
    caption = [cells, message("The scale is logarithmic.")]
    metric_and_rows = None if run.requests is None else time_charts.heat_rows(run.requests)
    if metric_and_rows is None:
        return sentences(caption)
    _, rows = metric_and_rows
    count = words.digits(float(len(rows)))
    if (rows["weight"] > 1.0).any():
        shown = message("{count} rows, by send time: a sample that represents all requests.", count=count)
    else:
        shown = message("{count} requests, by send time.", count=count)
    return sentences([shown, *caption])


def _spread_caption(scene: Scene, spread: Mapping[str, Mapping[int, Any]]) -> str:
    marks = message("Each hill is one level: the dot is its median, the square its p95, the triangle its p99.")
    itls = spread.get("itl", {})
    first, last = _ends(scene, itls)
    if first is None or last is None:
        return marks
    change = message(
        "The median inter-token latency from {low} to {high}: {change}.",
        low=words.load(first.load),
        high=words.load(last.load),
        change=words.change(itls[first.level].quantile(0.5), itls[last.level].quantile(0.5)),
    )
    return sentences([change, marks])


def _ends(scene: Scene, histograms: Mapping[int, Any]) -> tuple[LevelFigures | None, LevelFigures | None]:
    known = [level for level in drawable(scene.levels) if histograms.get(level.level)]
    return (known[0], known[-1]) if len(known) > 1 else (None, None)


def _time_caption(run: RunData) -> str:
    timeline = run.timeline
    caption = [message("Shaded bands are the measurement windows of the levels, labelled with their loads.")]
    if any(level.phase for level in run.levels):
        caption.append(message("The phases of the plan are above them."))
    if timeline is not None and "in_flight" in timeline and (timeline["in_flight"] > 0).any():
        count = words.digits(float(timeline["in_flight"].max()))
        caption.insert(0, message("At most {count} requests were in flight at once.", count=count))
    return sentences(caption)


def _errors_caption(scene: Scene) -> str:
    totals = charts.error_totals(scene.levels)
    if not totals or not all(level.counted for level in scene.levels):
        return message("Shares of the requests of each level that failed.")
    sent = sum(level.attempted for level in scene.levels)
    return sentences([_failures(totals, sent), message("Bars are shares of each level's requests.")])


def _failures(totals: Mapping[str, int], sent: int) -> Message:
    """How many requests failed, and how many of them with the most frequent kind of error."""
    failed, (kind, count) = sum(totals.values()), next(iter(totals.items()))
    if kind == "failed":  # the kind is not known
        return message("{failed} of {sent} requests failed.", failed=failed, sent=sent)
    if count == failed:
        name = kind_name(kind)
        return message("{failed} of {sent} requests failed, all of them: {kind}.", failed=failed, sent=sent, kind=name)
    return message(
        "{failed} of {sent} requests failed, {count} of them: {kind}.",
        failed=failed,
        sent=sent,
        count=count,
        kind=kind_name(kind),
    )
