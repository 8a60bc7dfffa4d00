"""The pictures whose axis is the load: the verdict, throughput, latency and its tail, distributions, errors."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, MultipleLocator

from llmlocust.analysis.breakpoints.steps import Finding, name_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.metrics.histogram import Histogram, bounds_of
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.report.charts.drawing import (
    BLUE,
    GREEN,
    GRID,
    HATCH,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    SURFACE,
    Picture,
    across,
    blocks,
    drawable,
    hatch,
    is_wide,
    legend,
    load_axis,
    load_words,
    log_seconds,
    picture,
    place_of,
)
from llmlocust.report.sections.four_numbers import NUMBERS, STATUS
from llmlocust.text import figures as words

_NUMBER_COLOURS = {"slo_limit": GREEN, "knee": SKY, "saturation": ORANGE, "collapse": RED}
_NUMBER_MARKERS = {"slo_limit": "o", "knee": "D", "saturation": "s", "collapse": "X"}
_KEEP_LOADS = 12


@dataclass(frozen=True)
class Scene:
    """What the pictures of a run are drawn from."""

    levels: Sequence[LevelFigures]
    verdict: Verdict
    goodput: Mapping[int, float] = field(default_factory=dict)
    """Requests a second that met every limit, by level."""
    standing: Mapping[int, str] = field(default_factory=dict)
    """How each level stands to the limits, by its index: a word of STANDINGS, or another where it is not known."""
    doubted: Collection[int] = ()
    """The levels that are not to be trusted."""


STANDINGS = {"gold": ("✓", GREEN), "holds": ("✓", GREEN), "tolerated": ("~", ORANGE), "fails": ("✗", RED)}
"""How a level can stand to the limits, with its sign and its colour."""


# -- the verdict in one picture


def headline_line(levels: Sequence[LevelFigures]) -> tuple[str, str] | None:
    """The latency that says most and is known at more than one level, or at the only one."""
    for metric, statistic in (("ttft", "p95"), ("e2e", "p95"), ("e2e", "mean")):
        known = [each for each in levels if each.metric(metric)[statistic] > 0]
        if len(known) >= min(2, max(1, len(levels))):
            return metric, statistic
    return None


def at_a_glance(scene: Scene, caption: str) -> Picture | None:
    """The verdict drawn: how each level stands, the four numbers with their intervals, throughput and latency."""
    shown = [each for each in drawable(scene.levels) if not math.isnan(each.throughput)]
    if not shown:
        return None
    line = headline_line(shown)

    def draw(figure: Figure, narrow: bool) -> None:
        heights = [1.5, 1.5] + ([1.6] if line else [])
        numbers, rate, *more = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        load_axis(numbers, shown, scene.verdict.unit)
        _numbers(numbers, scene, shown, narrow)
        _rates(rate, scene, shown, narrow)
        for axes in more:
            axes.set_yscale("log")
            _latency_line(axes, shown, *(line or ("", "")), BLUE, "-", "o", shade=True)
            _limit_lines(axes, scene.verdict, {line[0]} if line else set())
            log_seconds(axes.yaxis)
            axes.set_title(name_of(*(line or ("",))))
        last = (rate, *more)[-1]
        for axes in (numbers, rate, *more):
            if axes is not last:
                axes.set_xlabel("")
                axes.tick_params(labelbottom=False, length=0)
        load_axis(last, shown, scene.verdict.unit)
        for axes in (rate, *more):
            _zones(axes, scene.verdict)
            hatch(axes, shown, scene.doubted)
            _drop_lines(axes, scene.verdict)

    return picture("verdict", "The verdict in one picture", caption, 5.4 if line else 3.9, draw, tall=1.05)


def _numbers(axes: Axes, scene: Scene, levels: Sequence[LevelFigures], narrow: bool) -> None:
    """How each level stands, and the four numbers: a bar for the interval, a mark at the best guess."""
    axes.set_ylim(-0.7, 4.6)
    axes.invert_yaxis()
    _standings(axes, scene, levels)
    for row, (name, finding) in enumerate(scene.verdict.numbers().items(), 1):
        if finding.reached:
            _interval(axes, finding, levels[-1].load, row, name)
        else:
            axes.text(
                0.99,
                row,
                STATUS[finding.status],
                ha="right",
                va="center",
                color=MUTED,
                size=7.5,
                transform=across(axes),
            )
    axes.set_yticks(range(5), ["Levels", *NUMBERS.values()], color=INK, size=7.5 if narrow else 8.5)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _standings(axes: Axes, scene: Scene, levels: Sequence[LevelFigures]) -> None:
    """A sign for each level; where they have no room beside each other, the worst of its neighbours' signs."""
    room = 0.016 if is_wide(axes) else 0.045
    groups: list[list[LevelFigures]] = []
    for each in levels:
        if groups and place_of(axes, each.load) - place_of(axes, groups[-1][0].load) < room:
            groups[-1].append(each)
        else:
            groups.append([each])
    worst = list(STANDINGS)
    for group in groups:
        known = [standing for each in group if (standing := scene.standing.get(each.level)) in worst]
        sign, colour = STANDINGS[max(known, key=worst.index)] if known else ("–", MUTED)
        sign += "?" if any(each.level in scene.doubted for each in group) else ""
        axes.text(group[0].load, 0, sign, ha="center", va="center", color=colour, size=9.0, weight="bold")


def _interval(axes: Axes, finding: Finding, top: float, row: int, name: str) -> None:
    colour = _NUMBER_COLOURS[name]
    least = axes.get_xlim()[0] or 0.01
    low, high = finding.low if finding.low is not None else least, finding.high if finding.high is not None else top
    axes.plot([max(low, least), high], [row, row], color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
    for end, known in ((low, finding.low), (high, finding.high)):
        if known is not None:
            axes.plot([end], [row], "|", color=colour, markersize=7)
    if finding.load is not None:
        axes.plot([finding.load], [row], _NUMBER_MARKERS[name], color=colour, markersize=6)


def _zones(axes: Axes, verdict: Verdict) -> None:
    """Safe on the left, broken on the right, and in between what is not known."""
    limit = verdict.slo_limit
    if not limit.reached:
        return
    least, most = axes.get_xlim()
    if limit.level_ok is not None:
        axes.axvspan(least, limit.level_ok, color=GREEN, alpha=0.09, linewidth=0, zorder=0)
    if limit.level_bad is not None:
        axes.axvspan(limit.level_bad, most, color=RED, alpha=0.09, linewidth=0, zorder=0)


def _drop_lines(axes: Axes, verdict: Verdict) -> None:
    for name, finding in verdict.numbers().items():
        if finding.reached and finding.load is not None:
            colour = _NUMBER_COLOURS[name]
            axes.axvline(finding.load, color=colour, linewidth=1.0, linestyle=(0, (3, 3)), zorder=0.9)


# -- throughput


def _rates(axes: Axes, scene: Scene, levels: Sequence[LevelFigures], narrow: bool) -> None:
    """Successful requests a second, with the noise of their counts; the good ones among them where they are fewer."""
    loads = [each.load for each in levels]
    values = np.array([each.throughput for each in levels])
    counted = np.array([max(1.0, each.throughput * each.window) for each in levels])
    spread = 1.96 * values / np.sqrt(np.where(np.isnan(counted), 1e9, counted))
    axes.fill_between(loads, np.maximum(0.0, values - spread), values + spread, color=BLUE, alpha=0.15, lw=0)
    axes.plot(loads, values, "o-", color=BLUE, label="successful", markevery=_every(loads))
    good = [(each.load, scene.goodput[each.level]) for each in levels if each.level in scene.goodput]
    if any(rate < 0.99 * each.throughput for each, (_, rate) in zip(levels, good, strict=False)):
        axes.plot(*zip(*good, strict=True), "s--", color=GREEN, label="within the limits", markevery=_every(good))
        style = {"fontsize": 7.5 if narrow else 8, "borderaxespad": 0.0, "handlelength": 2.0}
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, **style)
    _from_zero(axes, float(values.max()))
    axes.set_title("requests/s" if narrow else "requests a second")


_MARKED = 40


def _every(levels: Sequence[Any]) -> int:
    """Which of the points get a marker: hundreds of them would only be a thick line."""
    return math.ceil(len(levels) / _MARKED)


def _from_zero(axes: Axes, most: float) -> None:
    axes.set_ylim(0.0, most * 1.18 if most > 0.0 else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def tokens(scene: Scene, caption: str) -> Picture | None:
    shown = [each for each in drawable(scene.levels) if each.output_tokens_per_s > 0]
    if not shown:
        return None

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        loads, values = [each.load for each in shown], [each.output_tokens_per_s for each in shown]
        axes.plot(loads, values, "o-", color=PURPLE, markevery=_every(loads))
        _from_zero(axes, max(values))
        load_axis(axes, shown, scene.verdict.unit)
        hatch(axes, shown, scene.doubted)
        axes.set_title("output tokens a second")

    return picture("tokens", "Tokens against load", caption, 2.7, draw, tall=0.9)


# -- latency


_LINES = (
    ("ttft", "p50", BLUE, "-", "o"),
    ("ttft", "p95", BLUE, "--", "s"),
    ("ttft", "p99", BLUE, ":", "^"),
    ("e2e", "p50", ORANGE, "-", "o"),
    ("e2e", "p95", ORANGE, "--", "s"),
    ("e2e", "p99", ORANGE, ":", "^"),
    ("e2e", "mean", GREEN, "-", "D"),
)


def _lines_of(levels: Sequence[LevelFigures]) -> list[tuple[str, str, str, str, str]]:
    known = [line for line in _LINES if any(each.metric(line[0])[line[1]] > 0 for each in levels)]
    if any(line[0] == "ttft" for line in known):
        return [line for line in known if line[0] == "ttft" or line[1] == "p95"] or known
    percentiles = [line for line in known if line[1] != "mean"]
    return percentiles or known


def _latency_line(
    axes: Axes,
    levels: Sequence[LevelFigures],
    metric: str,
    statistic: str,
    colour: str,
    dashes: str,
    marker: str,
    *,
    shade: bool,
) -> None:
    known = [each for each in levels if each.metric(metric)[statistic] > 0]
    loads = [each.load for each in known]
    values = [each.metric(metric)[statistic] for each in known]
    label = name_of(metric, statistic)
    style: dict[str, Any] = {"linestyle": dashes, "marker": marker, "markevery": _every(known)}
    axes.plot(loads, values, color=colour, label=label, **style)
    if shade:
        ranges = [each.metric(metric).intervals.get(statistic, (math.nan, math.nan)) for each in known]
        lows, highs = [low for low, _ in ranges], [high for _, high in ranges]
        axes.fill_between(loads, lows, highs, color=colour, alpha=0.13, linewidth=0)


def _limit_lines(axes: Axes, verdict: Verdict, metrics: Collection[str]) -> None:
    for threshold in verdict.thresholds:
        if threshold.metric not in metrics:
            continue
        if threshold.gold is not None:
            axes.axhline(threshold.gold.bound, color=GREEN, linewidth=1.0, linestyle=(0, (2, 3)))
        axes.axhline(threshold.bound, color=RED, linewidth=1.0, linestyle=(0, (6, 3)))
        place = {"ha": "left", "va": "bottom", "transform": across(axes)}
        axes.text(0.008, threshold.bound, str(threshold), color=RED, size=7.5, **place)


def latency(scene: Scene, caption: str) -> Picture | None:
    shown = drawable(scene.levels)
    lines = _lines_of(shown)
    if not lines:
        return None

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.set_yscale("log")
        for metric, statistic, colour, dashes, marker in lines:
            _latency_line(axes, shown, metric, statistic, colour, dashes, marker, shade=statistic == "p95")
        _limit_lines(axes, scene.verdict, {line[0] for line in lines})
        log_seconds(axes.yaxis)
        load_axis(axes, shown, scene.verdict.unit)
        hatch(axes, shown, scene.doubted)
        legend(axes, narrow)

    return picture("latency", "Latency against load", caption, 3.9, draw)


_TAIL = (0.5, 0.9, 0.99, 0.999)
_MOST_TAILS = 6
_BEYOND = 4
"""Values that must lie beyond a percentile for it to be drawn: fewer are single requests."""


def tail(scene: Scene, by_metric: Mapping[str, Mapping[int, Histogram]], caption: str) -> Picture | None:
    """How much slower the slow ones are: latency by percentile, on a scale on which each nine is as wide."""
    metric = next((name for name in ("ttft", "e2e") if by_metric.get(name)), None)
    if metric is None:
        return None
    found = by_metric[metric]
    known = [each for each in drawable(scene.levels) if each.level in found and found[each.level].count >= 2 * _BEYOND]
    shown = _spread(known, _MOST_TAILS)
    if not shown:
        return None

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for each, colour, marker in zip(shown, (SKY, BLUE, GREEN, PURPLE, ORANGE, RED), "os^Dv*", strict=False):
            nines, values = _tail_of(found[each.level])
            every = max(1, len(nines) // 8)
            label = words.with_unit(each.load, scene.verdict.unit)
            axes.plot(nines, values, color=colour, marker=marker, markevery=every, label=label)
        axes.xaxis.set_major_locator(FixedLocator([1.0 / (1.0 - q) for q in _TAIL]))
        axes.xaxis.set_minor_locator(FixedLocator([]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 - 100.0 / value:.4g} %"))
        axes.set_xlabel(f"share of requests no slower ({METRICS[metric].short})")
        log_seconds(axes.yaxis)
        legend(axes, narrow)

    return picture("tail", "How slow the slow ones are", caption, 3.7, draw)


def _tail_of(histogram: Histogram) -> tuple[list[float], list[float]]:
    """1/(1−q) and the value at q, as far out as there are values beyond."""
    most = min(1000.0, histogram.count / _BEYOND)
    nines = np.geomspace(2.0, max(2.0, most), 40).tolist()
    return nines, [histogram.quantile(1.0 - 1.0 / each) for each in nines]


def _spread(levels: Sequence[LevelFigures], most: int) -> list[LevelFigures]:
    """At most so many of them, the first and the last among them."""
    if len(levels) <= most:
        return list(levels)
    return [levels[place] for place in np.linspace(0, len(levels) - 1, most).round().astype(int)]


# -- distributions


def distributions(scene: Scene, by_metric: Mapping[str, Mapping[int, Histogram]], caption: str) -> Picture | None:
    shown = _spread(drawable(scene.levels), _KEEP_LOADS)
    metrics = [name for name, found in by_metric.items() if any(found.get(each.level) for each in shown)]
    if not metrics:
        return None
    height = 1.0 + 0.33 * max(4, len(shown))

    def draw(figure: Figure, narrow: bool) -> None:
        rows, columns = (len(metrics), 1) if narrow else (1, len(metrics))
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for number, (axes, metric) in enumerate(zip(panels, metrics, strict=False)):
            _ridges(axes, shown, by_metric[metric], BLUE if metric == "ttft" else PURPLE)
            _hatch_rows(axes, shown, scene.doubted)
            axes.set_title(METRICS[metric].name)
            if number == 0 or narrow:
                axes.set_ylabel("users" if shown[0].unit == "users" else "requests/s")

    return picture("distributions", "Distributions by level", caption, height, draw, tall=1.6)


def _ridges(axes: Axes, levels: Sequence[LevelFigures], found: Mapping[int, Histogram], colour: str) -> None:
    known = [found[each.level] for each in levels if found.get(each.level)]
    least = max(1e-4, min(each.quantile(0.005) for each in known))
    most = max(least * 3.0, max(each.quantile(0.999) for each in known))
    edges = np.geomspace(least / 1.3, most * 1.3, 72)
    middles = np.sqrt(edges[:-1] * edges[1:])
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    for row, level in enumerate(levels):
        axes.axhline(row, color=GRID, linewidth=0.7, zorder=1)
        histogram = found.get(level.level)
        if not histogram:
            continue
        density = _density(histogram, edges)
        density[density < 0.004] = math.nan
        axes.fill_between(middles, row, row + 0.92 * density, color=colour, alpha=0.28, linewidth=0, zorder=2)
        axes.plot(middles, row + 0.92 * density, color=colour, linewidth=1.0, zorder=2.1)
        for q, marker in ((0.5, "o"), (0.95, "s"), (0.99, "^")):
            axes.plot([histogram.quantile(q)], [row], marker, color=INK, markersize=3.2, zorder=3)
    axes.set_yticks(range(len(levels)), [words.load(each.load) for each in levels])
    axes.set_ylim(-0.3, len(levels) + 0.05)
    axes.grid(visible=False, axis="y")
    log_seconds(axes.xaxis)
    # a wide range needs fewer labels
    subs = (
        (1.0,)
        if most / least > (300 if is_wide(axes) else 30)
        else (1.0, 3.0)
        if most / least > 30
        else (1.0, 2.0, 5.0)
    )
    axes.xaxis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=8))


def _hatch_rows(axes: Axes, levels: Sequence[LevelFigures], doubted: Collection[int]) -> None:
    for row, each in enumerate(levels):
        if each.level in doubted:
            axes.axhspan(row, row + 0.95, facecolor="none", edgecolor=HATCH, hatch="///", linewidth=0, zorder=0.6)


def _density(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    """Counts by bin, each bucket spread over the bins that it overlaps; smoothed a little; 1 at its highest."""
    cumulated = np.zeros(len(edges))
    for bucket, count in histogram.items():
        low, high = bounds_of(bucket)
        part = np.clip((edges - low) / (high - low), 0.0, 1.0) if high > low else (edges >= low).astype(float)
        cumulated += count * part
    counts = np.diff(cumulated)
    for _ in range(1 if histogram.count > 300 else 4):  # few values make many hills by chance
        counts = np.convolve(counts, [0.06, 0.24, 0.4, 0.24, 0.06], mode="same")
    return counts / counts.max() if counts.max() > 0 else counts


# -- errors


_ERROR_STYLES = ((RED, ""), (ORANGE, "////"), (PURPLE, "...."), (SKY, "xxxx"), (BLUE, "----"))


def error_totals(levels: Sequence[LevelFigures]) -> dict[str, int]:
    """How many requests failed, by kind, the most frequent first."""
    totals: dict[str, int] = {}
    for each in levels:
        for kind, count in each.error_kinds.items():
            totals[kind] = totals.get(kind, 0) + count
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def errors(scene: Scene, caption: str) -> Picture | None:
    shown = drawable(scene.levels)
    if not error_totals(shown):
        return None
    groups = _error_groups(list(error_totals(shown)))

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        places = np.arange(len(shown))
        bottom = np.zeros(len(shown))
        for kinds, label, colour, pattern in groups:
            parts = np.array([sum(each.error_kinds.get(kind, 0) for kind in kinds) / each.attempted for each in shown])
            bars = [
                (place - 0.31, low, place + 0.31, low + part * 100.0)
                for place, low, part in zip(places, bottom, parts, strict=True)
                if part > 0.0
            ]
            style: dict[str, Any] = {"facecolor": colour, "hatch": pattern, "edgecolor": SURFACE, "linewidth": 0.8}
            blocks(axes, bars, label=label, **style)
            bottom += parts * 100.0
        every = max(1, math.ceil(len(shown) / (8 if narrow else 24)))
        axes.set_xticks(places[::every], [words.load(each.load) for each in shown[::every]])
        axes.set_xlabel(load_words(shown[0].unit))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        whole = float(bottom.max()) > 80.0
        axes.yaxis.set_major_locator(MultipleLocator(25.0) if whole else MaxNLocator(4))
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.set_ylim(0.0, 104.0 if whole else float(bottom.max()) * 1.12)
        axes.grid(visible=False, axis="x")
        for place, each in enumerate(shown):
            if each.level in scene.doubted:
                style = {"facecolor": "none", "edgecolor": HATCH, "hatch": "///", "linewidth": 0, "zorder": 0.6}
                axes.axvspan(place - 0.5, place + 0.5, **style)
        legend(axes, narrow, 1 if narrow else 3)

    return picture("errors", "Errors by kind", caption, 3.1, draw)


def _error_groups(ranked: Sequence[str]) -> list[tuple[list[str], str, str, str]]:
    """Kinds, their name, colour and hatch: the most frequent by themselves, the rest together."""
    named = ranked[: len(_ERROR_STYLES)]
    groups = [([kind], ERROR_KINDS.get(kind, kind), *style) for kind, style in zip(named, _ERROR_STYLES, strict=False)]
    rest = list(ranked[len(named) :])
    return [*groups, (rest, "others", MUTED, "")] if rest else groups
