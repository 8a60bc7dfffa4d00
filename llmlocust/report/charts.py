"""The pictures, as SVG that takes its colours from the page.

matplotlib draws in sentinel colours, which are then replaced by CSS variables: one picture serves light, dark and
print. Text stays text. Every picture is drawn twice, wide and narrow, and the page shows the one that fits.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    MultipleLocator,
    NullFormatter,
    NullLocator,
)

from llmlocust.analysis import words
from llmlocust.analysis.breakpoints import Verdict
from llmlocust.numbers.formats import ERROR_KINDS
from llmlocust.numbers.histogram import Histogram, bounds_of
from llmlocust.numbers.levels import LevelFigures

INK, MUTED, GRID, BAND, SURFACE = "#010101", "#020202", "#030303", "#040404", "#050505"
SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006")
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", BAND: "band", SURFACE: "surface"} | {
    sentinel: f"s{number}" for number, sentinel in enumerate(SERIES, 1)
}
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _SKY = SERIES
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "llmlocust",
    "text.parse_math": False,
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}
NUMBERS = {"slo_limit": "SLO limit", "knee": "Knee", "capacity": "Capacity", "collapse": "Collapse"}
_NUMBER_COLOURS = {"slo_limit": _GREEN, "knee": _SKY, "capacity": _ORANGE, "collapse": _RED}
_KEEP_LOADS = 12


@dataclass(frozen=True)
class Picture:
    name: str
    title: str
    caption: str
    """What is seen in this run, in a sentence."""
    wide: str
    narrow: str


Draw = Callable[[Figure, bool], None]


def picture(name: str, title: str, caption: str, height: float, draw: Draw, *, tall: float = 0.95) -> Picture:
    """Draw both sizes. `draw` gets a figure and whether it is the narrow one, which is `tall` times as high."""
    made = []
    for narrow in (False, True):
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(3.5, height * tall) if narrow else (9.4, height), layout="constrained")
            FigureCanvasSVG(figure)
            draw(figure, narrow)
            out = io.StringIO()
            figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        made.append(_inline(out.getvalue(), f"{name}-{'narrow' if narrow else 'wide'}", title, caption))
    return Picture(name, title, caption, *made)


def _inline(svg: str, name: str, title: str, caption: str) -> str:
    """The file that matplotlib makes as an element of a page: our colours, ids of its own, a title, no size but the view box."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for sentinel, variable in _VARIABLES.items():
        svg = svg.replace(sentinel, f"var(--{variable})")
    svg = re.sub(r"font-family: ?[^;\"]+;?", "", svg)
    svg = re.sub(r"font: (?:\w+ )?([0-9.]+px) [^;\"]+", r"font-size: \1", svg)
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    box = re.search(r'viewBox="[^"]+"', svg)
    head = (
        f'<svg class="chart" '
        f'{box[0] if box else ""} role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(caption)}</desc>'
    )
    return head + svg[svg.index(">") + 1 :].strip()


# -- axes


def _load_axis(axes: Axes, levels: Sequence[LevelFigures], unit: str, *, labels: bool = True) -> None:
    loads = sorted({each.load for each in levels})
    if loads[-1] / loads[0] >= 30:
        axes.set_xscale("log")
        axes.set_xlim(loads[0] / 1.25, loads[-1] * 1.25)
    else:
        margin = (loads[-1] - loads[0]) * 0.05 or loads[0] * 0.5
        axes.set_xlim(max(0.0, loads[0] - margin), loads[-1] + margin)
    ticks = _apart(axes, loads, 0.055 if axes.get_figure().get_figwidth() > 5 else 0.12)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.load(value) if labels else ""))
    axes.grid(visible=False, axis="x")
    if labels:
        axes.set_xlabel("users" if unit == "users" else "requests offered a second")


def _apart(axes: Axes, loads: Sequence[float], room: float) -> list[float]:
    """The loads whose labels have room beside each other, the highest always."""
    low, high = axes.get_xlim()
    log = axes.get_xscale() == "log"

    def place(load: float) -> float:
        return math.log(load / low) / math.log(high / low) if log else (load - low) / (high - low)

    kept = [loads[-1]]
    for load in reversed(loads[:-1]):
        if place(kept[-1]) - place(load) > room:
            kept.append(load)
    return kept[::-1]


def _seconds(value: float, _: Any = None) -> str:
    return words.duration(value)


def _log_seconds(axis: Any) -> None:
    axis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0), numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_seconds))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes, narrow: bool, columns: int = 6) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=min(columns, 2) if narrow else columns,
            borderaxespad=0.2,
            columnspacing=1.2,
            handlelength=2.0,
            borderpad=0.0,
        )


def drawable(levels: Sequence[LevelFigures]) -> list[LevelFigures]:
    """The levels with a place on an axis of loads, lowest first."""
    useful = [each for each in levels if 1e-6 < each.load < 1e9 and each.requests]
    return sorted(useful, key=lambda each: each.load)


# -- the pictures


def throughput(levels: Sequence[LevelFigures], verdict: Verdict, caption: str) -> Picture | None:
    shown = [each for each in drawable(levels) if not math.isnan(each.throughput)]
    if not shown:
        return None
    tokens = [each for each in shown if each.output_tokens_per_s > 0]

    def draw(figure: Figure, narrow: bool) -> None:
        heights = [0.62, 2.0] + ([1.3] if tokens else [])
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _ranges(panels[0], verdict, shown[-1].load, narrow)
        _curve(panels[1], shown, "throughput", _BLUE, "successful requests a second")
        if tokens:
            _curve(panels[2], tokens, "output_tokens_per_s", _PURPLE, "output tokens a second")
        for axes in panels[:-1]:
            _load_axis(axes, shown, verdict.unit)
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False, length=0)
        _load_axis(panels[-1], shown, verdict.unit)
        _drop_lines(panels[1:], verdict)

    return picture("throughput", "Throughput against load", caption, 5.2 if tokens else 3.9, draw)


def _ranges(axes: Axes, verdict: Verdict, top: float, narrow: bool) -> None:
    """The four numbers: a bar between the two levels, a dot at the point between."""
    axes.set_ylim(-0.6, 3.6)
    axes.invert_yaxis()
    for row, (name, finding) in enumerate(verdict.numbers().items()):
        colour = _NUMBER_COLOURS[name]
        if not finding.reached:
            words_ = "cannot be told" if finding.why.startswith("cannot") else "not reached"
            axes.text(0.99, row, words_, ha="right", va="center", color=MUTED, size=7.5, transform=_across(axes))
            continue
        low, high = finding.low, finding.high
        bar = [low if low is not None else axes.get_xlim()[0] or 0.01, high if high is not None else top]
        axes.plot(bar, [row, row], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
        if finding.load is not None:
            axes.plot([finding.load], [row], "o", color=colour, markersize=5.5)
    axes.set_yticks(range(4), list(NUMBERS.values()), color=INK, size=7.5 if narrow else 8)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _across(axes: Axes) -> Any:
    return axes.get_yaxis_transform()


def _drop_lines(panels: Sequence[Axes], verdict: Verdict) -> None:
    for name, finding in verdict.numbers().items():
        if finding.reached and finding.load is not None:
            for axes in panels:
                axes.axvline(
                    finding.load, color=_NUMBER_COLOURS[name], linewidth=1.0, linestyle=(0, (3, 3)), zorder=0.9
                )


def _curve(axes: Axes, levels: Sequence[LevelFigures], name: str, colour: str, title: str) -> None:
    loads = [each.load for each in levels]
    values = np.array([getattr(each, name) for each in levels])
    axes.plot(loads, values, "o-", color=colour)
    if name == "throughput":
        counted = np.array([max(1.0, each.throughput * each.window) for each in levels])
        spread = 1.96 * values / np.sqrt(np.where(np.isnan(counted), 1e9, counted))
        axes.fill_between(loads, np.maximum(0.0, values - spread), values + spread, color=colour, alpha=0.15, lw=0)
    axes.set_ylim(bottom=0.0, top=None if values.max() > 0.0 else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(title)


_LINES = (
    ("ttft", "p50", _BLUE, "-", "o"),
    ("ttft", "p95", _BLUE, "--", "s"),
    ("ttft", "p99", _BLUE, ":", "^"),
    ("e2e", "p50", _ORANGE, "-", "o"),
    ("e2e", "p95", _ORANGE, "--", "s"),
    ("e2e", "p99", _ORANGE, ":", "^"),
    ("e2e", "mean", _GREEN, "-", "D"),
)
_SHORT = {"ttft": "TTFT", "e2e": "end to end", "gap": "token gap", "tpot": "TPOT"}


def _lines_of(levels: Sequence[LevelFigures]) -> list[tuple[str, str, str, str, str]]:
    known = [line for line in _LINES if any(each.metric(line[0])[line[1]] > 0 for each in levels)]
    if any(line[0] == "ttft" for line in known):
        return [line for line in known if line[0] == "ttft" or line[1] == "p95"] or known
    percentiles = [line for line in known if line[1] != "mean"]
    return percentiles or known


def latency(levels: Sequence[LevelFigures], verdict: Verdict, caption: str) -> Picture | None:
    shown = drawable(levels)
    lines = _lines_of(shown)
    if not lines:
        return None

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.set_yscale("log")
        for metric, statistic, colour, dashes, marker in lines:
            known = [each for each in shown if each.metric(metric)[statistic] > 0]
            loads = [each.load for each in known]
            values = [each.metric(metric)[statistic] for each in known]
            label = f"{statistic.replace('_', '.')} {_SHORT[metric]}"
            axes.plot(loads, values, linestyle=dashes, marker=marker, color=colour, label=label)
            ranges = [each.metric(metric).intervals.get(statistic, (math.nan, math.nan)) for each in known]
            if statistic == "p95":
                lows, highs = [low for low, _ in ranges], [high for _, high in ranges]
                axes.fill_between(loads, lows, highs, color=colour, alpha=0.13, linewidth=0)
        for threshold in verdict.thresholds:
            if threshold.metric in {line[0] for line in lines}:
                axes.axhline(threshold.bound, color=_RED, linewidth=1.0, linestyle=(0, (6, 3)))
                axes.text(
                    0.008,
                    threshold.bound,
                    str(threshold),
                    color=_RED,
                    size=7.5,
                    ha="left",
                    va="bottom",
                    transform=_across(axes),
                )
        _log_seconds(axes.yaxis)
        _load_axis(axes, shown, verdict.unit)
        _legend(axes, narrow)

    return picture("latency", "Latency against load", caption, 3.9, draw)


def distributions(
    levels: Sequence[LevelFigures], by_metric: Mapping[str, Mapping[int, Histogram]], caption: str
) -> Picture | None:
    shown = drawable(levels)
    if len(shown) > _KEEP_LOADS:
        picked = np.linspace(0, len(shown) - 1, _KEEP_LOADS).round().astype(int)
        shown = [shown[place] for place in picked]
    metrics = [name for name, found in by_metric.items() if any(found.get(each.level) for each in shown)]
    if not metrics:
        return None
    height = 1.0 + 0.33 * max(4, len(shown))

    def draw(figure: Figure, narrow: bool) -> None:
        rows, columns = (len(metrics), 1) if narrow else (1, len(metrics))
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for number, (axes, metric) in enumerate(zip(panels, metrics, strict=False)):
            _ridges(axes, shown, by_metric[metric], SERIES[0] if metric == "ttft" else SERIES[4])
            axes.set_title({"ttft": "time to first token", "gap": "gap between tokens"}.get(metric, _SHORT[metric]))
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
    _log_seconds(axes.xaxis)
    # a wide range needs fewer labels
    narrow = axes.get_figure().get_figwidth() < 5
    subs = (1.0,) if most / least > (30 if narrow else 300) else (1.0, 3.0) if most / least > 30 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=8))


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


def over_time(timeline: pd.DataFrame | None, levels: Sequence[LevelFigures], caption: str) -> Picture | None:
    if timeline is None:
        return None
    frame = timeline.dropna(subset=["time"]).sort_values("time").reset_index(drop=True)
    if len(frame) < 3:
        return None
    start = float(frame["time"].iloc[0])
    frame["time"] -= start
    frames = {narrow: _thinned(frame, 90 if narrow else 200) for narrow in (False, True)}
    panels_wanted = [
        ("users", [("users", _MUTED_LINE), ("in_flight", _ORANGE)]),
        ("requests ended a second", [("ended", _BLUE), ("failed", _RED)]),
        ("output tokens a second", [("tokens", _PURPLE)]),
    ]
    kept = [(title, [line for line in lines if _has(frame, line[0])]) for title, lines in panels_wanted]
    kept = [(title, lines) for title, lines in kept if lines]

    def draw(figure: Figure, narrow: bool) -> None:
        frame = frames[narrow]
        panels = figure.subplots(len(kept), 1, sharex=True, squeeze=False)[:, 0]
        for number, (axes, (title, lines)) in enumerate(zip(panels, kept, strict=True)):
            _level_bands(axes, levels, start, named=number == 0, most=7 if narrow else 16)
            for column, colour in lines:
                style = {"drawstyle": "steps-post"} if column == "users" else {}
                axes.plot(
                    frame["time"], frame[column], color=colour, linewidth=1.3, label=_COLUMN_WORDS[column], **style
                )
            axes.set_ylim(bottom=0.0)
            axes.set_xlim(0.0, float(frame["time"].iloc[-1]) or 1.0)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.grid(visible=False, axis="x")
            if len(lines) > 1:
                axes.legend(loc="upper left", ncols=2, fontsize=8, borderaxespad=0.2, handlelength=1.6)
            axes.set_title(title, pad=8.0 if number else 16.0)
        span = float(frame["time"].iloc[-1])
        panels[-1].xaxis.set_major_locator(MultipleLocator(_round_time(span / (4 if narrow else 9))))
        panels[-1].xaxis.set_major_formatter(FuncFormatter(_clock))
        panels[-1].set_xlabel("minutes:seconds since the run began")

    return picture("time", "The run over time", caption, 1.0 + 1.45 * len(kept), draw)


_MUTED_LINE = MUTED
_COLUMN_WORDS = {
    "users": "users",
    "in_flight": "requests in flight",
    "ended": "ended",
    "failed": "failed",
    "tokens": "tokens",
}


def _has(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool((frame[column].fillna(0.0) > 0).any())


def _thinned(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, each the mean of the seconds that it stands for."""
    if len(frame) <= most:
        return frame
    step = math.ceil(len(frame) / most)
    return frame.select_dtypes("number").groupby(np.arange(len(frame)) // step).mean()


def _round_time(seconds: float) -> float:
    """The next round step of a clock."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
    return float(next((step for step in steps if step >= seconds), math.ceil(seconds / 14400) * 14400))


def _clock(value: float, _: Any = None) -> str:
    return f"{int(value) // 60}:{int(value) % 60:02d}"


def _level_bands(axes: Axes, levels: Sequence[LevelFigures], start: float, *, named: bool, most: int) -> None:
    """Levels as bands, the measured window darker than the settling before it."""
    known = [each for each in levels if math.isfinite(each.began)]
    for number, each in enumerate(known):
        begin = each.began - start
        end = each.ended - start if math.isfinite(each.ended) else axes.get_xlim()[1]
        settled = each.settled - start if math.isfinite(each.settled) else end
        axes.axvspan(settled, end, color=BAND, alpha=1.0, linewidth=0, zorder=0)
        axes.axvline(begin, color=GRID, linewidth=0.8, zorder=0.5)
        if named and number % math.ceil(len(known) / most) == 0:
            axes.text(
                (settled + end) / 2.0,
                1.0,
                words.load(each.load),
                ha="center",
                va="bottom",
                size=7.5,
                color=MUTED,
                transform=axes.get_xaxis_transform(),
            )


def errors(levels: Sequence[LevelFigures], caption: str) -> Picture | None:
    shown = drawable(levels)
    if not any(each.failed for each in shown):
        return None
    totals: dict[str, int] = {}
    for each in shown:
        for kind, count in each.error_kinds.items():
            totals[kind] = totals.get(kind, 0) + count
    ranked = sorted(totals, key=lambda kind: -totals[kind])
    named, rest = ranked[:5], ranked[5:]
    order = (_RED, _ORANGE, _PURPLE, _SKY, _BLUE)

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        places = np.arange(len(shown))
        bottom = np.zeros(len(shown))
        groups = [([kind], ERROR_KINDS.get(kind, kind), order[n]) for n, kind in enumerate(named)]
        if rest:
            groups.append((rest, "others", MUTED))
        for kinds, label, colour in groups:
            parts = [sum(each.error_kinds.get(kind, 0) for kind in kinds) / each.requests for each in shown]
            parts = np.array(parts) * 100.0
            axes.bar(places, parts, 0.62, bottom=bottom, color=colour, label=label, edgecolor=SURFACE, linewidth=0.8)
            bottom += parts
        every = max(1, math.ceil(len(shown) / (8 if narrow else 24)))
        axes.set_xticks(places[::every], [words.load(each.load) for each in shown[::every]])
        axes.set_xlabel("users" if shown[0].unit == "users" else "requests offered a second")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        whole = float(bottom.max()) > 80.0
        axes.yaxis.set_major_locator(MultipleLocator(25.0) if whole else MaxNLocator(4))
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.set_ylim(0.0, 104.0 if whole else float(bottom.max()) * 1.12)
        axes.grid(visible=False, axis="x")
        _legend(axes, narrow, 1 if narrow else 3)

    return picture("errors", "Errors by kind", caption, 3.1, draw)
