"""The picture of a comparison: each figure over the load, with one line for each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llmlocust.analysis.breakpoints.steps import name_of
from llmlocust.assessment.assessment import Assessment
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.report.charts.drawing import MORE, SERIES, Picture, drawable, load_axis, log_seconds, picture
from llmlocust.report.languages.page_language import spoken
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term

_COLOURS = (*SERIES[:5], *MORE, SERIES[5])
_MARKERS = "osD^vXP*<>"
_DASHES = (
    "-",
    "--",
    ":",
    "-.",
    (0, (5, 1)),
    (0, (1, 1)),
    (0, (3, 1, 1, 1)),
    (0, (8, 3)),
    (0, (2, 4)),
    (0, (6, 2, 1, 2)),
)
"""Dashes for ten runs; with the markers, they distinguish lines whose colours look alike."""
_FEW = 3
"""Runs whose intervals can be shaded without hiding each other."""


@dataclass(frozen=True)
class _Curve:
    title: str
    of: Callable[[LevelFigures], float]
    interval: Callable[[LevelFigures], tuple[float, float]] | None = None
    """The 95 % interval of a duration; None for rates. Durations have a logarithmic scale."""

    def known(self, run: Sequence[LevelFigures]) -> list[LevelFigures]:
        return [level for level in run if self.of(level) > 0.0]


def _latency(metric: str, statistic: str) -> _Curve:
    return _Curve(
        name_of(metric, statistic),
        lambda level: level.metric(metric)[statistic],
        lambda level: level.metric(metric).intervals.get(statistic, (math.nan, math.nan)),
    )


_CURVES = (
    *(_latency(key, statistic) for key, metric in METRICS.items() for statistic in metric.drawn),
    _Curve(term("requests per second"), lambda level: level.throughput),
    _Curve(term("output tokens per second"), lambda level: level.output_tokens_per_s),
)
_MAX_PANELS = 6
_LINE, _KEY = 115, 11
"""Characters that fit into a line of the legend, and those that the sample of a line takes."""
_MAX_NAME = 36


def curves(labels: Sequence[str], assessments: Sequence[Assessment]) -> Picture | None:
    """The picture of all figures that at least two runs have; None if there are none."""
    runs = [drawable(assessment.comparable) for assessment in assessments]
    names = [label if len(label) <= _MAX_NAME else f"{label[:_MAX_NAME]}…" for label in labels]
    shown = [curve for curve in _CURVES if sum(bool(curve.known(run)) for run in runs) > 1]
    while len(shown) > _MAX_PANELS:
        shown.pop(4)  # end to end, the least informative beside the others
    if not shown:
        return None
    caption = [_caption(shown[0], labels, runs, assessments[0].unit), message("Time scales are logarithmic.")]
    if len(runs) <= _FEW:
        caption.append(message("Shades are 95 % intervals."))

    def draw(figure: Figure, narrow: bool) -> None:
        beside = 1 if narrow else 2
        panels = figure.subplots(math.ceil(len(shown) / beside), beside, squeeze=False).flat
        for axes, curve in zip(panels, shown, strict=False):
            _panel(axes, curve, names, runs, assessments[0].unit)
        for axes in list(figure.axes)[len(shown) :]:
            axes.set_visible(False)
        handles, _ = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=1 if narrow else columns, handlelength=3.2)

    columns = max(1, min(5, _LINE // (_KEY + max(map(len, names)))))
    height = 2.5 * math.ceil(len(shown) / 2) + 0.25 * math.ceil(len(labels) / columns)
    tall = (1.9 * len(shown) + 0.2 * len(labels)) / height
    return picture("curves", message("Over the load"), sentences(caption), height, draw, tall=tall)


def _panel(axes: Axes, curve: _Curve, labels: Sequence[str], runs: Sequence[Sequence[LevelFigures]], unit: str) -> None:
    if curve.interval is not None:
        axes.set_yscale("log")
    for place, (label, run) in enumerate(zip(labels, runs, strict=True)):
        _line(axes, curve, label, curve.known(run), place, shade=len(runs) <= _FEW)
    if curve.interval is not None:
        log_seconds(axes.yaxis)
    else:
        axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    load_axis(axes, [level for run in runs for level in curve.known(run)], unit)
    axes.set_title(spoken(curve.title))


def _line(axes: Axes, curve: _Curve, label: str, levels: Sequence[LevelFigures], place: int, *, shade: bool) -> None:
    loads = [level.load for level in levels]
    colour = _COLOURS[place % len(_COLOURS)]
    style: dict[str, Any] = {
        "color": colour,
        "linestyle": _DASHES[place % len(_DASHES)],
        "marker": _MARKERS[place % len(_MARKERS)],
    }
    axes.plot(loads, [curve.of(level) for level in levels], label=label, linewidth=1.5, **style)
    if shade and curve.interval is not None:
        lows, highs = zip(*map(curve.interval, levels), strict=True) if levels else ((), ())
        axes.fill_between(loads, lows, highs, color=colour, alpha=0.13, linewidth=0)


def _caption(curve: _Curve, labels: Sequence[str], runs: Sequence[Sequence[LevelFigures]], unit: str) -> Message:
    """The first sentence of the caption: a curve at the highest load that all runs have."""
    loads = [{level.load for level in curve.known(run)} for run in runs]
    common = set.intersection(*(known for known in loads if known))
    if not common:
        return message("These runs have no common load.")
    load = max(common)
    at = words.with_unit(load, unit)
    figures = [next((curve.of(level) for level in run if level.load == load), math.nan) for run in runs]
    if curve.interval is None or any(map(math.isnan, figures)):
        return message("The highest load that all runs have is {load}.", load=at)
    best, worst = (place(range(len(runs)), key=lambda run: figures[run]) for place in (min, max))
    lowest, highest = words.duration(figures[best]), words.duration(figures[worst])
    if lowest == highest:
        return message("At {load} the {metric} is {time} in all runs.", load=at, metric=curve.title, time=lowest)
    return message(
        "At {load} the {metric} is lowest in {best}, {lowest}, and highest in {worst}, {highest}.",
        load=at,
        metric=curve.title,
        best=labels[best],
        lowest=lowest,
        worst=labels[worst],
        highest=highest,
    )
