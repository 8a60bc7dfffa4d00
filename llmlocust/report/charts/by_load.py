"""Pictures with the load as their axis: the verdict, throughput, latency and its tail, distributions, errors."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, MultipleLocator

from llmlocust.analysis.breakpoints.steps import Finding, kind_name, name_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.metrics.histogram import Histogram, bounds_of
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
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
from llmlocust.report.languages.page_language import spoken
from llmlocust.report.sections.four_numbers import NUMBERS, STATUS
from llmlocust.text import figures as words
from llmlocust.text.message import message, term

NUMBER_COLOURS = {"slo_limit": GREEN, "knee": SKY, "saturation": ORANGE, "collapse": RED}
NUMBER_MARKERS = {"slo_limit": "o", "knee": "D", "saturation": "s", "collapse": "X"}
_KEEP_LOADS = 12


@dataclass(frozen=True)
class Scene:
    """The data that the pictures of a run are drawn from."""

    levels: Sequence[LevelFigures]
    verdict: Verdict
    goodput: Mapping[int, float] = field(default_factory=dict)
    """Requests per second that met every threshold, by level."""
    tiers: Mapping[int, str] = field(default_factory=dict)
    """Result of each level by its index: a key of TIERS, or another word if it is unknown."""
    doubted: Collection[int] = ()
    """The levels that are not valid."""


TIERS = {"gold": ("✓", GREEN), "passes": ("✓", GREEN), "tolerated": ("~", ORANGE), "fails": ("✗", RED)}
"""Sign and colour of each result of a level."""


# -- the verdict in one picture


def headline_line(levels: Sequence[LevelFigures]) -> tuple[str, str] | None:
    """The most informative latency that is known at two levels or at the only one; None if there is none."""
    for metric, statistic in (("ttft", "p95"), ("e2e", "p95"), ("e2e", "mean")):
        known = [level for level in levels if level.metric(metric)[statistic] > 0]
        if len(known) >= min(2, max(1, len(levels))):
            return metric, statistic
    return None


def at_a_glance(scene: Scene, caption: str) -> Picture | None:
    """The verdict as a picture: result of each level, the four numbers with their intervals, throughput and latency."""
    shown = [level for level in drawable(scene.levels) if not math.isnan(level.throughput)]
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
            axes.set_title(spoken(name_of(*(line or ("",)))))
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

    return picture("verdict", message("The verdict in one picture"), caption, 5.4 if line else 3.9, draw, tall=1.05)


def _numbers(axes: Axes, scene: Scene, levels: Sequence[LevelFigures], narrow: bool) -> None:
    """Draw the results of the levels and the four numbers: a bar for the interval, a mark at the best estimate."""
    axes.set_ylim(-0.7, 4.6)
    axes.invert_yaxis()
    _tiers(axes, scene, levels)
    for row, (name, finding) in enumerate(scene.verdict.numbers().items(), 1):
        if finding.reached:
            _interval(axes, finding, levels[-1].load, row, name)
        else:
            axes.text(
                0.99,
                row,
                spoken(STATUS[finding.status]),
                ha="right",
                va="center",
                color=MUTED,
                size=7.5,
                transform=across(axes),
            )
    rows = [spoken(name) for name in (message("Levels"), *NUMBERS.values())]
    axes.set_yticks(range(5), rows, color=INK, size=7.5 if narrow else 8.5)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _tiers(axes: Axes, scene: Scene, levels: Sequence[LevelFigures]) -> None:
    """Draw a sign for each level. Levels without room for their own share the worst sign."""
    room = 0.022 if is_wide(axes) else 0.068
    groups: list[list[LevelFigures]] = []
    for level in levels:
        if groups and place_of(axes, level.load) - place_of(axes, groups[-1][0].load) < room:
            groups[-1].append(level)
        else:
            groups.append([level])
    worst = list(TIERS)
    for group in groups:
        known = [tier for level in group if (tier := scene.tiers.get(level.level)) in worst]
        sign, colour = TIERS[max(known, key=worst.index)] if known else ("–", MUTED)
        sign += "?" if any(level.level in scene.doubted for level in group) else ""
        axes.text(group[0].load, 0, sign, ha="center", va="center", color=colour, size=9.0, weight="bold")


def _interval(axes: Axes, finding: Finding, top: float, row: int, name: str) -> None:
    colour = NUMBER_COLOURS[name]
    left = axes.get_xlim()[0] or 0.01
    low, high = finding.low if finding.low is not None else left, finding.high if finding.high is not None else top
    axes.plot([max(low, left), high], [row, row], color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
    for end, known in ((low, finding.low), (high, finding.high)):
        if known is not None:
            axes.plot([end], [row], "|", color=colour, markersize=7)
    if finding.load is not None:
        axes.plot([finding.load], [row], NUMBER_MARKERS[name], color=colour, markersize=6)


def _zones(axes: Axes, verdict: Verdict) -> None:
    """Shade the loads that meet every threshold green and those that violate one red; between them is unknown."""
    limit = verdict.slo_limit
    if not limit.reached:
        return
    left, right = axes.get_xlim()
    if limit.level_ok is not None:
        axes.axvspan(left, limit.level_ok, color=GREEN, alpha=0.09, linewidth=0, zorder=0)
    if limit.level_bad is not None:
        axes.axvspan(limit.level_bad, right, color=RED, alpha=0.09, linewidth=0, zorder=0)


def _drop_lines(axes: Axes, verdict: Verdict) -> None:
    for name, finding in verdict.numbers().items():
        if finding.reached and finding.load is not None:
            colour = NUMBER_COLOURS[name]
            axes.axvline(finding.load, color=colour, linewidth=1.0, linestyle=(0, (3, 3)), zorder=0.9)


# -- throughput


def _rates(axes: Axes, scene: Scene, levels: Sequence[LevelFigures], narrow: bool) -> None:
    """Draw throughput with the noise of its counts, and goodput if it is lower."""
    loads = [level.load for level in levels]
    values = np.array([level.throughput for level in levels])
    counted = np.array([max(1.0, level.throughput * level.window) for level in levels])
    spread = 1.96 * values / np.sqrt(np.where(np.isnan(counted), 1e9, counted))
    axes.fill_between(loads, np.maximum(0.0, values - spread), values + spread, color=BLUE, alpha=0.15, lw=0)
    axes.plot(loads, values, "o-", color=BLUE, label=spoken(message("successful")), markevery=_every(loads))
    good = [(level.load, scene.goodput[level.level]) for level in levels if level.level in scene.goodput]
    if any(rate < 0.99 * level.throughput for level, (_, rate) in zip(levels, good, strict=False)):
        label = spoken(message("meets all thresholds"))
        axes.plot(*zip(*good, strict=True), "s--", color=GREEN, label=label, markevery=_every(good))
        style = {"fontsize": 7.5 if narrow else 8, "borderaxespad": 0.0, "handlelength": 1.5 if narrow else 2.0}
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, **style)
    _from_zero(axes, float(values.max()))
    axes.set_title(spoken(message("requests/s") if narrow else message("requests per second")))


_MARKED = 40


def _every(levels: Sequence[Any]) -> int:
    """Every n-th point gets a marker: hundreds of markers would look like a thick line."""
    return math.ceil(len(levels) / _MARKED)


def _from_zero(axes: Axes, top: float) -> None:
    axes.set_ylim(0.0, top * 1.18 if top > 0.0 else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def tokens(scene: Scene, caption: str) -> Picture | None:
    shown = [level for level in drawable(scene.levels) if level.output_tokens_per_s > 0]
    if not shown:
        return None

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        loads, values = [level.load for level in shown], [level.output_tokens_per_s for level in shown]
        axes.plot(loads, values, "o-", color=PURPLE, markevery=_every(loads))
        _from_zero(axes, max(values))
        load_axis(axes, shown, scene.verdict.unit)
        hatch(axes, shown, scene.doubted)
        axes.set_title(spoken(message("output tokens per second")))

    return picture("tokens", message("Tokens against load"), caption, 2.7, draw, tall=0.9)


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
    known = [line for line in _LINES if any(level.metric(line[0])[line[1]] > 0 for level in levels)]
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
    known = [level for level in levels if level.metric(metric)[statistic] > 0]
    loads = [level.load for level in known]
    values = [level.metric(metric)[statistic] for level in known]
    label = spoken(name_of(metric, statistic))
    style: dict[str, Any] = {"linestyle": dashes, "marker": marker, "markevery": _every(known)}
    axes.plot(loads, values, color=colour, label=label, **style)
    if shade:
        ranges = [level.metric(metric).intervals.get(statistic, (math.nan, math.nan)) for level in known]
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

    return picture("latency", message("Latency against load"), caption, 3.9, draw)


_TAIL = (0.5, 0.9, 0.99, 0.999)
_MAX_TAILS = 6
_BEYOND = 4
"""Minimum values beyond a percentile that is drawn: fewer are single requests."""


def tail(scene: Scene, by_metric: Mapping[str, Mapping[int, Histogram]], caption: str) -> Picture | None:
    """Latency by percentile, on a scale on which p90, p99 and p99.9 are equally far apart."""
    metric = next((name for name in ("ttft", "e2e") if by_metric.get(name)), None)
    if metric is None:
        return None
    histograms = by_metric[metric]
    known = [
        level
        for level in drawable(scene.levels)
        if level.level in histograms and histograms[level.level].count >= 2 * _BEYOND
    ]
    shown = _spread(known, _MAX_TAILS)
    if not shown:
        return None

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for level, colour, marker in zip(shown, (SKY, BLUE, GREEN, PURPLE, ORANGE, RED), "os^Dv*", strict=False):
            inverses, values = _tail_of(histograms[level.level])
            every = max(1, len(inverses) // 8)
            label = spoken(words.with_unit(level.load, scene.verdict.unit))
            axes.plot(inverses, values, color=colour, marker=marker, markevery=every, label=label)
        axes.xaxis.set_major_locator(FixedLocator([1.0 / (1.0 - q) for q in _TAIL]))
        axes.xaxis.set_minor_locator(FixedLocator([]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 - 100.0 / value:.4g} %"))
        name = term(METRICS[metric].short)
        axes.set_xlabel(spoken(message("share of requests up to this latency ({metric})", metric=name)))
        log_seconds(axes.yaxis)
        legend(axes, narrow)

    return picture("tail", message("Latency by percentile"), caption, 3.7, draw)


def _tail_of(histogram: Histogram) -> tuple[list[float], list[float]]:
    """1/(1−q) and the value at q, up to the highest quantile with enough values beyond it."""
    highest = min(1000.0, histogram.count / _BEYOND)
    inverses = np.geomspace(2.0, max(2.0, highest), 40).tolist()
    return inverses, [histogram.quantile(1.0 - 1.0 / inverse) for inverse in inverses]


def _spread(levels: Sequence[LevelFigures], count: int) -> list[LevelFigures]:
    """At most `count` of the levels, evenly spaced, with the first and the last."""
    if len(levels) <= count:
        return list(levels)
    return [levels[place] for place in np.linspace(0, len(levels) - 1, count).round().astype(int)]


# -- distributions


def distributions(scene: Scene, by_metric: Mapping[str, Mapping[int, Histogram]], caption: str) -> Picture | None:
    shown = _spread(drawable(scene.levels), _KEEP_LOADS)
    metrics = [name for name, histograms in by_metric.items() if any(histograms.get(level.level) for level in shown)]
    if not metrics:
        return None
    height = 1.0 + 0.33 * max(4, len(shown))

    def draw(figure: Figure, narrow: bool) -> None:
        rows, columns = (len(metrics), 1) if narrow else (1, len(metrics))
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for number, (axes, metric) in enumerate(zip(panels, metrics, strict=False)):
            _ridges(axes, shown, by_metric[metric], BLUE if metric == "ttft" else PURPLE)
            _hatch_rows(axes, shown, scene.doubted)
            axes.set_title(spoken(term(METRICS[metric].name)))
            if number == 0 or narrow:
                axes.set_ylabel(spoken(words.unit_of(shown[0].unit)))

    return picture("distributions", message("Distributions by level"), caption, height, draw, tall=1.6)


def _ridges(axes: Axes, levels: Sequence[LevelFigures], histograms: Mapping[int, Histogram], colour: str) -> None:
    known = [histograms[level.level] for level in levels if histograms.get(level.level)]
    low = max(1e-4, min(histogram.quantile(0.005) for histogram in known))
    high = max(low * 3.0, max(histogram.quantile(0.999) for histogram in known))
    edges = np.geomspace(low / 1.3, high * 1.3, 72)
    middles = np.sqrt(edges[:-1] * edges[1:])
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    for row, level in enumerate(levels):
        axes.axhline(row, color=GRID, linewidth=0.7, zorder=1)
        histogram = histograms.get(level.level)
        if not histogram:
            continue
        density = _density(histogram, edges)
        density[density < 0.004] = math.nan
        axes.fill_between(middles, row, row + 0.92 * density, color=colour, alpha=0.28, linewidth=0, zorder=2)
        axes.plot(middles, row + 0.92 * density, color=colour, linewidth=1.0, zorder=2.1)
        for q, marker in ((0.5, "o"), (0.95, "s"), (0.99, "^")):
            axes.plot([histogram.quantile(q)], [row], marker, color=INK, markersize=3.2, zorder=3)
    axes.set_yticks(range(len(levels)), [words.load(level.load) for level in levels])
    axes.set_ylim(-0.3, len(levels) + 0.05)
    axes.grid(visible=False, axis="y")
    log_seconds(axes.xaxis)
    # a wide range needs fewer labels
    subs = (1.0,) if high / low > (300 if is_wide(axes) else 30) else (1.0, 3.0) if high / low > 30 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=8))


def _hatch_rows(axes: Axes, levels: Sequence[LevelFigures], doubted: Collection[int]) -> None:
    for row, level in enumerate(levels):
        if level.level in doubted:
            axes.axhspan(row, row + 0.95, facecolor="none", edgecolor=HATCH, hatch="///", linewidth=0, zorder=0.6)


def _density(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    """Smoothed counts by bin, scaled to a maximum of 1. A bucket is spread over the bins that it overlaps."""
    cumulated = np.zeros(len(edges))
    for bucket, count in histogram.items():
        low, high = bounds_of(bucket)
        share = np.clip((edges - low) / (high - low), 0.0, 1.0) if high > low else (edges >= low).astype(float)
        cumulated += count * share
    counts = np.diff(cumulated)
    for _ in range(1 if histogram.count > 300 else 4):  # few values have several peaks by chance
        counts = np.convolve(counts, [0.06, 0.24, 0.4, 0.24, 0.06], mode="same")
    return counts / counts.max() if counts.max() > 0 else counts


# -- errors


_NARROW_LABEL = 40
"""Letters of a kind of errors that fit into a line of the narrow picture."""
_ERROR_STYLES = ((RED, ""), (ORANGE, "////"), (PURPLE, "...."), (SKY, "xxxx"), (BLUE, "----"))


def error_totals(levels: Sequence[LevelFigures]) -> dict[str, int]:
    """Number of failed requests by kind, the most frequent first."""
    totals: dict[str, int] = {}
    for level in levels:
        for kind, count in level.error_kinds.items():
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
            shares = np.array(
                [sum(level.error_kinds.get(kind, 0) for kind in kinds) / level.attempted for level in shown]
            )
            bars = [
                (place - 0.31, low, place + 0.31, low + share * 100.0)
                for place, low, share in zip(places, bottom, shares, strict=True)
                if share > 0.0
            ]
            style: dict[str, Any] = {"facecolor": colour, "hatch": pattern, "edgecolor": SURFACE, "linewidth": 0.8}
            name = fill(spoken(label), _NARROW_LABEL) if narrow else spoken(label)
            blocks(axes, bars, label=name, **style)
            bottom += shares * 100.0
        every = max(1, math.ceil(len(shown) / (8 if narrow else 24)))
        axes.set_xticks(places[::every], [words.load(level.load) for level in shown[::every]])
        axes.set_xlabel(spoken(load_words(shown[0].unit)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        whole = float(bottom.max()) > 80.0
        axes.yaxis.set_major_locator(MultipleLocator(25.0) if whole else MaxNLocator(4))
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.set_ylim(0.0, 104.0 if whole else float(bottom.max()) * 1.12)
        axes.grid(visible=False, axis="x")
        for place, level in enumerate(shown):
            if level.level in scene.doubted:
                style = {"facecolor": "none", "edgecolor": HATCH, "hatch": "///", "linewidth": 0, "zorder": 0.6}
                axes.axvspan(place - 0.5, place + 0.5, **style)
        legend(axes, narrow, 1 if narrow else 3)

    return picture("errors", message("Errors by kind"), caption, 3.1, draw)


def _error_groups(ranked: Sequence[str]) -> list[tuple[list[str], str, str, str]]:
    """Kinds with name, colour and hatch: the most frequent each on its own, the others together."""
    named = ranked[: len(_ERROR_STYLES)]
    groups = [([kind], kind_name(kind), *style) for kind, style in zip(named, _ERROR_STYLES, strict=False)]
    rest = list(ranked[len(named) :])
    return [*groups, (rest, message("others"), MUTED, "")] if rest else groups
