"""The picture of a fault: good requests, first tokens, errors, requests in flight and telemetry on one time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from llmlocust.analysis.arrays import Floats
from llmlocust.analysis.faults.baseline import duration_of
from llmlocust.analysis.faults.fault_report import FaultReport
from llmlocust.analysis.faults.requests import WRONG_SUCCESS, Requests
from llmlocust.assessment.faults import Faults
from llmlocust.metrics.metric import METRICS
from llmlocust.report.charts.by_time import clock_axis
from llmlocust.report.charts.drawing import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Picture,
    blocks,
    log_seconds,
    picture,
)
from llmlocust.report.charts.telemetry import line_of
from llmlocust.report.languages.page_language import spoken
from llmlocust.report.sections.faults import kind_in_words
from llmlocust.report.sections.telemetry import start_of
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term

_MAX_PICTURES = 3
"""Pictures of the injections of one fault."""
_MAX_KINDS = 4
_AROUND, _MIN_AROUND = 2.0, 30.0
"""The time that is shown before a fault and after its recovery: a multiple of the outage, and seconds at least."""
_COLUMNS = {False: 120, True: 60}
"""Maximum number of buckets of the picture, wide and narrow."""
_MIN_TTFTS = 5
"""First tokens in a bucket without which it has no percentile."""
_KINDS: tuple[tuple[str, str], ...] = ((RED, "-"), (ORANGE, "--"), (PURPLE, ":"), (SKY, "-."), (MUTED, "-"))


def pictures(faults: Faults, reports: Sequence[FaultReport]) -> list[Picture]:
    """Return a picture of each of the first injections of a fault."""
    shown = [report for report in reports if report.course is not None][:_MAX_PICTURES]
    return [_picture(faults, report) for report in shown]


@dataclass(frozen=True)
class _Scene:
    """The content of a picture. Moments are seconds since the run began."""

    report: FaultReport
    requests: Requests
    telemetry: pd.DataFrame | None
    start: float

    @cached_property
    def fault(self) -> tuple[float, float]:
        fault = self.report.fault
        return (fault.began or 0.0) - self.start, (fault.lifted or 0.0) - self.start

    @cached_property
    def recovered(self) -> float | None:
        seconds = self.report.recovery.seconds
        return None if seconds is None else self.fault[1] + seconds

    @cached_property
    def span(self) -> tuple[float, float]:
        """The time that is shown."""
        course = self.report.course
        assert course is not None
        first, last = course.began - self.start, course.began - self.start + course.width * len(course.total)
        began, lifted = self.fault
        end = self.recovered
        around = max(_MIN_AROUND, _AROUND * ((end or lifted) - began))
        return max(first, began - around), last if end is None else min(last, end + around)

    def width(self, *, narrow: bool) -> float:
        """Return the length of a bucket: whole seconds."""
        began, ended = self.span
        return float(max(1, math.ceil((ended - began) / _COLUMNS[narrow])))


def _picture(faults: Faults, report: FaultReport) -> Picture:
    assert faults.requests is not None
    start = start_of(faults.run)
    until = report.course.began + report.course.width * len(report.course.total) if report.course else math.inf
    is_near = (faults.requests.due < until) & (
        faults.requests.ended >= (report.baseline.began if report.baseline else 0.0)
    )
    scene = _Scene(report, faults.requests.where(is_near), faults.run.telemetry, start)
    panels = [_draw_good, _draw_latency, *([_draw_errors] if _has_failures(scene) else []), _draw_in_flight]
    if _server_of(scene) is not None:
        panels.append(_draw_server)

    def draw(figure: Figure, narrow: bool) -> None:
        grid = figure.subplots(len(panels), 1, sharex=True)
        for place, (axes, draw_panel) in enumerate(zip(grid, panels, strict=True)):
            _mark(axes, scene, named=place == 0, narrow=narrow)
            draw_panel(axes, scene, narrow)
            axes.set_xlim(*scene.span)
            axes.grid(visible=False, axis="x")
        began, ended = scene.span
        clock_axis(grid[-1], ended - began, narrow)

    place, count = faults.place_of(report)
    title = message("“{name}”", name=report.fault.name)
    if count > 1:
        title = message(
            "“{name}”, injection {number} of {count}", name=report.fault.name, number=str(place), count=str(count)
        )
    name = f"fault-{next(number for number, other in enumerate(faults.reports) if other is report)}"
    return picture(name, title, _caption(scene), 1.0 + 1.3 * len(panels), draw, tall=1.1)


def _band(axes: Axes, begin: float, end: float, color: str, alpha: float) -> None:
    """Draw a time as a band behind the curves, over the whole height."""
    style: dict[str, Any] = {"facecolor": color, "edgecolor": "none", "alpha": alpha, "linewidth": 0, "zorder": 0}
    blocks(axes, [(begin, 0.0, end, 1.0)], transform=axes.get_xaxis_transform(), **style)


def _mark(axes: Axes, scene: _Scene, *, named: bool, narrow: bool) -> None:
    """Draw the fault as a band, and the recovery as a line with its interval."""
    across = axes.get_xaxis_transform()
    began, lifted = scene.fault
    _band(axes, began, max(lifted, began), RED, 0.14)
    recovery = scene.report.recovery
    if scene.recovered is not None:
        low, high = (lifted + (end or 0.0) for end in (recovery.low, recovery.high))
        _band(axes, low, high, GREEN, 0.25)
        axes.axvline(scene.recovered, color=GREEN, linewidth=1.2, zorder=0.9)
    if named:
        style: dict[str, Any] = {"va": "bottom", "size": 7.5 if narrow else 8.0, "transform": across, "clip_on": False}
        axes.text(began, 1.01, spoken(term("fault")), color=RED, ha="right", **style)
        if scene.recovered is not None:
            axes.text(scene.recovered, 1.01, spoken(term("recovered")), color=GREEN, ha="left", **style)


def _title(axes: Axes, title: Message, *, first: bool = False) -> None:
    axes.set_title(spoken(title), pad=16.0 if first else 6.0)


def _buckets(scene: _Scene, narrow: bool) -> Floats:
    """Return the edges of the buckets. One of them is the injection."""
    began, ended = scene.span
    width, fault = scene.width(narrow=narrow), scene.fault[0]
    before, after = math.floor((fault - began) / width), math.floor((ended - fault) / width)
    return np.asarray(fault + width * np.arange(-before, max(after, 1) + 1), dtype=np.float64)


def _draw_good(axes: Axes, scene: _Scene, narrow: bool) -> None:
    baseline, requests = scene.report.baseline, scene.requests
    assert baseline is not None
    edges = _buckets(scene, narrow)
    rows = requests.where(baseline.is_known(requests))
    moments = rows.due - scene.start
    total, _ = np.histogram(moments, edges, weights=rows.weight)
    good, _ = np.histogram(moments, edges, weights=rows.weight * baseline.is_good(rows))
    shares = np.where(total > 0, good / np.maximum(total, 1e-12), math.nan)
    _steps(axes, edges, shares, color=BLUE, linewidth=1.4)
    axes.axhline(baseline.target, color=INK, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.set_ylim(0.0, 1.06)
    axes.set_yticks([0.0, 0.5, 1.0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.share(value)))
    _title(axes, message("good requests, by due time"), first=True)


def _steps(axes: Axes, edges: Floats, values: Floats, **style: Any) -> None:
    """Draw a value for each bucket, up to the end of the last one."""
    axes.plot(edges, [*values, values[-1]], drawstyle="steps-post", **style)


def _draw_latency(axes: Axes, scene: _Scene, narrow: bool) -> None:
    report, requests = scene.report, scene.requests
    assert report.baseline is not None
    metric = report.baseline.metric
    edges = _buckets(scene, narrow)
    rows = requests.where(requests.is_ok)
    seconds = duration_of(rows, metric)
    for quantile, colour, dashes, label in ((0.95, ORANGE, "--", "p95"), (0.5, BLUE, "-", "p50")):
        values = _quantiles(rows.due - scene.start, seconds, edges, quantile)
        _steps(axes, edges, values, color=colour, linestyle=dashes, linewidth=1.3, label=label)
    axes.axhline(report.baseline.limit, color=INK, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.set_yscale("log")
    log_seconds(axes.yaxis)
    _legend(axes, narrow)
    _title(axes, message("{metric} of successful requests", metric=term(METRICS[metric].short)))


def _quantiles(moments: Floats, seconds: Floats, edges: Floats, quantile: float) -> Floats:
    is_known = ~np.isnan(seconds)
    moments, seconds = moments[is_known], seconds[is_known]
    places = np.searchsorted(moments, edges)
    values = [
        float(np.quantile(seconds[first:last], quantile)) if last - first >= _MIN_TTFTS else math.nan
        for first, last in pairwise(places)
    ]
    return np.array(values)


def _has_failures(scene: _Scene) -> bool:
    moments = scene.requests.ended[scene.requests.has_failed] - scene.start
    return bool(((moments >= scene.span[0]) & (moments < scene.span[1])).any())


def _draw_errors(axes: Axes, scene: _Scene, narrow: bool) -> None:
    requests, edges = scene.requests, _buckets(scene, narrow)
    failed = requests.where(requests.has_failed)
    kinds = np.where(failed.is_wrong, WRONG_SUCCESS, failed.outcome.astype(str))
    moments = failed.ended - scene.start
    is_inside = (moments >= edges[0]) & (moments < edges[-1])
    kinds, moments, weight = kinds[is_inside], moments[is_inside], failed.weight[is_inside]
    names, counts = np.unique(kinds, return_counts=True)
    order = names[np.argsort(-counts)]
    shown = [*order[:_MAX_KINDS]]
    for (colour, dashes), kind in zip(_KINDS, shown, strict=False):
        _line_of_errors(
            axes, moments[kinds == kind], weight[kinds == kind], edges, colour, dashes, kind_in_words(str(kind))
        )
    if len(order) > _MAX_KINDS:
        is_other = ~np.isin(kinds, shown)
        colour, dashes = _KINDS[-1]
        _line_of_errors(axes, moments[is_other], weight[is_other], edges, colour, dashes, message("other kinds"))
    room = 1.8 if narrow else 1.0  # for the names of the lines
    axes.set_ylim(0.0, max(1.0, axes.get_ylim()[1]) * room)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    _legend(axes, narrow, is_wordy=True)
    _title(axes, message("failed requests per second"))


def _line_of_errors(
    axes: Axes, moments: Floats, weight: Floats, edges: Floats, colour: str, dashes: str, name: str
) -> None:
    counts, _ = np.histogram(moments, edges, weights=weight)
    a_second = counts / (edges[1] - edges[0])
    _steps(axes, edges, a_second, color=colour, linestyle=dashes, linewidth=1.3, label=spoken(name))


def _draw_in_flight(axes: Axes, scene: _Scene, narrow: bool) -> None:
    edges = _buckets(scene, narrow)
    axes.plot(edges, scene.requests.in_flight(edges + scene.start), color=ORANGE, linewidth=1.3)
    axes.set_ylim(0.0, max(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    _title(axes, message("requests in flight"))


def _server_of(scene: _Scene) -> pd.DataFrame | None:
    """Return the values of the server's own queue; None without any."""
    if scene.telemetry is None:
        return None
    frame = scene.telemetry[scene.telemetry["metric"].isin(["running", "waiting"])]
    frame = frame.assign(time=frame["time"] - scene.start)
    frame = frame[frame["time"].between(*scene.span) & np.isfinite(frame["value"])]
    return frame if len(frame) > 2 else None


def _draw_server(axes: Axes, scene: _Scene, narrow: bool) -> None:
    frame = _server_of(scene)
    assert frame is not None
    began, ended = scene.span
    moved = frame.assign(time=frame["time"] - began)
    for key, colour, dashes, name in (
        ("running", BLUE, "-", term("running")),
        ("waiting", ORANGE, "--", term("waiting")),
    ):
        if (moved["metric"] == key).any():
            moments, values = line_of(moved, key, ended - began, _COLUMNS[narrow])
            axes.plot(moments + began, values, color=colour, linestyle=dashes, linewidth=1.3, label=spoken(name))
    axes.set_ylim(0.0, max(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    _legend(axes, narrow)
    _title(axes, message("requests on the server"))


def _legend(axes: Axes, narrow: bool, *, is_wordy: bool = False) -> None:
    """Write the names of lines beside the title: inside, they would cover lines. Long names of a narrow picture go inside."""
    if not axes.get_legend_handles_labels()[1]:
        return
    style: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1, "ncols": 5}
    if narrow and is_wordy:
        style = {"loc": "upper right", "borderaxespad": 0.2, "ncols": 1}
    style |= {"fontsize": 7, "handlelength": 1.5} if narrow else {"fontsize": 8, "handlelength": 2.0}
    axes.legend(columnspacing=0.9, handletextpad=0.4, **style)


def _caption(scene: _Scene) -> str:
    report = scene.report
    assert report.baseline is not None
    caption = [
        message("Red: the fault was present."),
        message(
            "Dashed: the target of {target} good requests, and {limit}, up to which a request is as usual.",
            target=words.share(report.baseline.target),
            limit=words.duration(report.baseline.limit),
        ),
    ]
    if scene.recovered is not None:
        caption.append(message("Green: the recovery, with its 95 % interval."))
    return sentences(caption)
