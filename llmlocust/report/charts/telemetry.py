"""The picture of telemetry: what the system under test reported, on the time axis of the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.phases.phases import of_the_ramp
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.telemetry import MAX, MEAN, SHARE, SUM, VOCABULARY, TelemetryEvent
from llmlocust.report.charts.by_load import NUMBER_COLOURS, NUMBER_MARKERS, Scene
from llmlocust.report.charts.by_time import clock_axis, level_bands, level_names
from llmlocust.report.charts.drawing import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, RED, SKY, Picture, blocks, picture
from llmlocust.report.languages.page_language import spoken
from llmlocust.report.sections.four_numbers import NUMBERS
from llmlocust.report.sections.telemetry import start_of
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term


@dataclass(frozen=True)
class _Line:
    key: str
    colour: str
    name: Message | None = None
    """Its name in the legend of a panel with several lines."""
    dashes: str = "-"


@dataclass(frozen=True)
class _Panel:
    title: Message
    lines: tuple[_Line, ...]
    unit: str = ""
    decides: int = 1
    """Number of lines, from the first, without which the panel is left out."""
    hides_zero: bool = False
    """Whether the panel is left out if all values are zero."""


def _alone(key: str, colour: str) -> _Panel:
    """Return a panel of one metric, which its title names."""
    return _Panel(term(VOCABULARY[key].name), (_Line(key, colour),), VOCABULARY[key].unit)


_PANELS = (
    _Panel(
        message("requests"),
        (_Line("running", BLUE, term("running")), _Line("waiting", ORANGE, term("waiting"), "--")),
        decides=2,
    ),
    _alone("kv.usage", GREEN),
    _Panel(message("preemptions per second"), (_Line("preemptions", RED),), hides_zero=True),
    _Panel(
        message("GPU"),
        (
            _Line("gpu.utilisation", BLUE, term("busy")),
            _Line("gpu.dram_active", ORANGE, term("memory bandwidth"), "--"),
            _Line("gpu.throttled", RED, term("throttled"), ":"),
        ),
        SHARE,
        decides=2,
    ),
    _alone("gpu.clock", PURPLE),
    _Panel(
        message("GPU power"),
        (_Line("gpu.power", RED, term("power")), _Line("gpu.power_limit", MUTED, term("limit"), "--")),
        "W",
    ),
    _alone("cpu", SKY),
    _Panel(
        message("CPU cores"),
        (
            _Line("process.cpu", GREEN, term("busiest process")),
            _Line("process.thread_cpu", ORANGE, term("busiest thread"), "--"),
        ),
        decides=2,
    ),
)
_WIDE, _NARROW = 200, 90
"""Maximum points of a line in the two sizes of the picture."""
_RESTART, _SILENT = term("restart"), term("no answer")


def telemetry(run: RunData, scene: Scene) -> Picture | None:
    """Return the picture of a run's telemetry; None without values over time."""
    start = start_of(run)
    frame = None if run.telemetry is None else run.telemetry[run.telemetry["metric"].isin(list(VOCABULARY))]
    if frame is None or math.isnan(start):
        return None
    frame = frame.assign(time=frame["time"] - start)
    end = _end_of(run, start)
    frame = frame[np.isfinite(frame["time"]) & np.isfinite(frame["value"]) & frame["time"].between(0.0, end)]
    panels = [panel for candidate in _PANELS if (panel := _with_data(candidate, frame)) is not None]
    if not panels:
        return None
    lane = _Lane.of(scene.verdict, run.levels, run.events, start, end)
    series = {
        narrow: {line.key: line_of(frame, line.key, end, points) for panel in panels for line in panel.lines}
        for narrow, points in ((False, _WIDE), (True, _NARROW))
    }

    def draw(figure: Figure, narrow: bool) -> None:
        heights = [max(_ROW * lane.height, 0.02), *(1.0 for _ in panels)]
        top, *others = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        top.set_xlim(0.0, end)
        level_names(top, run.levels, start, 7 if narrow else 16)
        if lane.height:
            lane.draw(top, narrow=narrow)
        else:
            top.set_axis_off()
            for line in list(top.lines):  # of the phases: a dot, as there is no height
                line.remove()
        for axes, panel in zip(others, panels, strict=True):
            level_bands(axes, run.levels, start, scene.doubted)
            lane.drop(axes)
            _draw_panel(axes, panel, series[narrow], narrow=narrow)
            axes.set_xlim(0.0, end)
            axes.set_title(spoken(panel.title))
        clock_axis(others[-1], end, narrow)

    height = 0.8 + 1.15 * len(panels) + _ROW * lane.height
    return picture("telemetry", message("Telemetry over the run"), _caption(lane), height, draw, tall=1.1)


_ROW = 0.2
"""Height of a row above the panels, as a share of a panel's."""


def _end_of(run: RunData, start: float) -> float:
    """Return the end of the time axis, as in the picture of the run, in seconds from its beginning."""
    moments = run.timeline if run.timeline is not None and len(run.timeline) else run.telemetry
    end = math.nan if moments is None else float(moments["time"].max()) - start
    return end if end > 0.0 and math.isfinite(end) else 1.0


def _with_data(panel: _Panel, frame: pd.DataFrame) -> _Panel | None:
    """Return the panel with the lines that have values; None if it has none of the lines that matter."""
    counts = frame["metric"].value_counts()
    known = tuple(line for line in panel.lines if counts.get(line.key, 0) > 1)
    if not {line.key for line in known} & {line.key for line in panel.lines[: panel.decides]}:
        return None
    if panel.hides_zero and not (frame.loc[frame["metric"] == panel.lines[0].key, "value"] > 0.0).any():
        return None
    return _Panel(panel.title, known, panel.unit)


def line_of(frame: pd.DataFrame, key: str, end: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the moments and values of a metric, over all its series, in at most `points` spans of time.

    A span without a value is NaN, so that a time without answers stays empty. A value is kept for one and a half times the
    usual interval of its series, because exporters such as DCGM update every 30 s.
    """
    rows = frame[frame["metric"] == key]
    sources = rows["source"].fillna("")
    if (sources == "").any():  # a row without a source is that of all sources
        rows = rows[sources == ""]
    width = max(end / points, min(end, 1.0))
    count = max(1, math.ceil(end / width))
    columns = [
        _column(series, width, count)
        for _, series in rows.groupby([rows["source"].fillna(""), rows["labels"].fillna("")])
    ]
    return (np.arange(count) + 0.5) * width, _combined(np.array(columns), VOCABULARY[key].over)


def _column(series: pd.DataFrame, width: float, count: int) -> np.ndarray:
    """Return the means of a series by span, each kept until the next value is overdue."""
    spans = np.minimum((series["time"] / width).astype(int), count - 1)
    means = series.groupby(spans)["value"].mean().reindex(range(count))
    interval = float(np.median(np.diff(np.sort(series["time"])))) if len(series) > 1 else 0.0
    held = math.ceil(1.5 * interval / width) - 1
    return np.asarray(means.ffill(limit=held) if held > 0 else means)


def _combined(columns: np.ndarray, over: str) -> np.ndarray:
    """Return one value per span over several series. A sum needs all series that have values before and after."""
    is_known = ~np.isnan(columns)
    filled = np.where(is_known, columns, {SUM: 0.0, MEAN: 0.0, MAX: -math.inf}[over])
    known = is_known.sum(axis=0)
    if over == MAX:
        return np.where(known > 0, filled.max(axis=0), math.nan)
    if over == MEAN:
        return np.where(known > 0, filled.sum(axis=0) / np.maximum(known, 1), math.nan)
    lives = np.maximum.accumulate(is_known, axis=1) & np.maximum.accumulate(is_known[:, ::-1], axis=1)[:, ::-1]
    return np.where((known > 0) & (is_known == lives).all(axis=0), filled.sum(axis=0), math.nan)


def _draw_panel(axes: Axes, panel: _Panel, series: dict[str, tuple[np.ndarray, np.ndarray]], *, narrow: bool) -> None:
    for line in panel.lines:
        moments, values = series[line.key]
        label = spoken(line.name) if line.name else None
        axes.plot(moments, values, color=line.colour, linestyle=line.dashes, linewidth=1.3, label=label)
        lone = _lone(values)
        axes.plot(moments[lone], values[lone], ".", color=line.colour, markersize=3)
    top = max((float(np.nanmax(series[line.key][1], initial=0.0)) for line in panel.lines), default=0.0)
    if panel.unit == SHARE:
        axes.set_ylim(0.0, 1.06)
        axes.set_yticks([0.0, 0.5, 1.0])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.share(value)))
    else:
        axes.set_ylim(0.0, (top or 1.0) * 1.12)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.amount(value, panel.unit)))
    axes.grid(visible=False, axis="x")
    if len(panel.lines) > 1:  # beside the title: inside, it would cover a line at 100 %
        style: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1}
        style |= {"fontsize": 7, "handlelength": 1.5} if narrow else {"fontsize": 8, "handlelength": 2.0}
        axes.legend(ncols=3, columnspacing=0.9, handletextpad=0.4, **style)


def _lone(values: np.ndarray) -> np.ndarray:
    """Select values without neighbours: a line does not show them."""
    is_known = np.concatenate(([False], ~np.isnan(values), [False]))
    return is_known[1:-1] & ~is_known[:-2] & ~is_known[2:]


# -- the four numbers and the events


@dataclass(frozen=True)
class _Lane:
    """The rows above the panels: the moments of the four numbers and of the events, which lines carry through all panels."""

    numbers: dict[str, float]
    """By number: the moment from which on the load was above it."""
    restarts: list[float]
    silences: list[tuple[float, float]]

    @classmethod
    def of(
        cls,
        verdict: Verdict,
        levels: Sequence[LevelFigures],
        events: Sequence[TelemetryEvent],
        start: float,
        end: float,
    ) -> _Lane:
        numbers = {} if verdict.windows else moments_of_numbers(verdict, levels)
        shown = [event for event in events if start <= event.time <= start + end]
        return cls(
            {name: min(max(0.0, moment - start), end) for name, moment in numbers.items()},
            [event.time - start for event in shown if event.kind == "restart"],
            [
                (event.time - start, min(event.time - start + event.seconds, end))
                for event in shown
                if event.kind == "silent"
            ],
        )

    @property
    def height(self) -> int:
        return len(self.numbers) + bool(self.restarts) + bool(self.silences)

    def draw(self, axes: Axes, *, narrow: bool) -> None:
        names: list[str] = []
        for name, moment in self.numbers.items():
            axes.plot(
                [moment], [len(names)], NUMBER_MARKERS[name], color=NUMBER_COLOURS[name], markersize=5, clip_on=False
            )
            axes.plot(
                [moment, moment], [len(names), 9.0], color=NUMBER_COLOURS[name], linewidth=1.0, linestyle=(0, (3, 3))
            )
            names.append(spoken(NUMBERS[name]))
        if self.restarts:
            axes.plot(self.restarts, [len(names)] * len(self.restarts), "v", color=INK, markersize=5, clip_on=False)
            names.append(spoken(_RESTART))
        if self.silences:
            row = float(len(names))
            blocks(
                axes,
                [(*silence[:1], row - 0.3, silence[1], row + 0.3) for silence in self.silences],
                color=MUTED,
                linewidth=0,
            )
            names.append(spoken(_SILENT))
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), names, color=INK, size=7.5 if narrow else 8.5)
        axes.tick_params(labelbottom=False, length=0)
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    def drop(self, axes: Axes) -> None:
        """Draw the lines through a panel."""
        for name, moment in self.numbers.items():
            axes.axvline(moment, color=NUMBER_COLOURS[name], linewidth=1.0, linestyle=(0, (3, 3)), zorder=0.9)
        for moment in self.restarts:
            axes.axvline(moment, color=INK, linewidth=1.0, zorder=0.9)
        across = axes.get_xaxis_transform()
        spans = [(began, 0.0, ended, 1.0) for began, ended in self.silences]
        blocks(axes, spans, facecolor=MUTED, edgecolor="none", alpha=0.2, linewidth=0, zorder=0.8, transform=across)


def moments_of_numbers(verdict: Verdict, levels: Sequence[LevelFigures]) -> dict[str, float]:
    """Return the moment from which on the load was above each number that was reached, in epoch seconds: the begin of the
    first level of the ramp with a higher load, or the end of its last level.
    """
    ramp = [level for level in of_the_ramp(levels) if math.isfinite(level.began) and math.isfinite(level.ended)]
    moments = {}
    for name, finding in verdict.numbers().items():
        if not finding.reached or not ramp:
            continue
        load = finding.load or 0.0
        above = (level.began for level in ramp if level.load > load * (1.0 + 1e-9))
        moments[name] = next(above, ramp[-1].ended)
    return moments


def _caption(lane: _Lane) -> str:
    caption = [message("Shaded bands are the measurement windows of the levels, labelled with their loads.")]
    if lane.numbers:
        caption.append(message("Dashed lines: from there on the load was above the number."))
    if lane.restarts:
        caption.append(message("Solid lines: the server restarted."))
    if lane.silences:
        caption.append(message("Grey: the source did not answer."))
    return sentences(caption)
