"""Pictures with time as their axis: the run second by second, and its latencies as a heat map."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from llmlocust.analysis.phases.phases import phases_of
from llmlocust.metrics.levels import RATE, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import ABORTED, OK, PHASES
from llmlocust.report.charts.drawing import (
    BAND,
    BLUE,
    GRID,
    HATCH,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    Picture,
    blocks,
    log_seconds,
    picture,
)
from llmlocust.report.languages.page_language import spoken
from llmlocust.text import figures as words
from llmlocust.text.message import capitalised, message, term


def over_time(
    timeline: pd.DataFrame | None, levels: Sequence[LevelFigures], doubted: Collection[int], caption: str
) -> Picture | None:
    if timeline is None:
        return None
    frame = timeline.dropna(subset=["time"]).sort_values("time").reset_index(drop=True)
    if len(frame) < 3:
        return None
    start = float(frame["time"].iloc[0])
    frame["time"] -= start
    frames = {narrow: _thinned(frame, 90 if narrow else 200) for narrow in (False, True)}
    all_panels = [
        # the number of users of an open load is not informative
        (message("requests in flight"), [("in_flight", ORANGE)])
        if levels and levels[0].unit == RATE
        else (message("users"), [("users", MUTED), ("in_flight", ORANGE)]),
        (message("requests ended per second"), [("ended", BLUE), ("failed", RED)]),
        (message("output tokens per second"), [("tokens", PURPLE)]),
    ]
    panels_of_run = [(title, [line for line in lines if _has(frame, line[0])]) for title, lines in all_panels]
    panels_of_run = [(title, lines) for title, lines in panels_of_run if lines]

    def draw(figure: Figure, narrow: bool) -> None:
        frame = frames[narrow]
        panels = figure.subplots(len(panels_of_run), 1, sharex=True, squeeze=False)[:, 0]
        for number, (axes, (title, lines)) in enumerate(zip(panels, panels_of_run, strict=True)):
            level_bands(axes, levels, start, doubted)
            if number == 0:
                level_names(axes, levels, start, 7 if narrow else 16)
            for column, colour in lines:
                style = {"drawstyle": "steps-post"} if column == "users" else {}
                label = spoken(_COLUMN_WORDS[column])
                axes.plot(frame["time"], frame[column], color=colour, linewidth=1.3, label=label, **style)
            # the steps of a plan with a surge leave no room for a legend
            axes.set_ylim(0.0, axes.get_ylim()[1] * (1.3 if len(lines) > 1 and _pad(levels) > _PAD else 1.0))
            axes.set_xlim(0.0, float(frame["time"].iloc[-1]) or 1.0)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.grid(visible=False, axis="x")
            if len(lines) > 1:
                axes.legend(loc="upper left", ncols=2, fontsize=8, borderaxespad=0.2, handlelength=1.6)
            axes.set_title(spoken(title), pad=8.0 if number else _pad(levels))
        clock_axis(panels[-1], float(frame["time"].iloc[-1]), narrow)

    return picture("time", message("The run over time"), caption, 1.0 + 1.45 * len(panels_of_run), draw)


_COLUMN_WORDS = {
    "users": term("users"),
    "in_flight": term("requests in flight"),
    "ended": term("ended"),
    "failed": term("failed"),
    "tokens": term("tokens"),
}


def _has(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool((frame[column].fillna(0.0) > 0).any())


def _thinned(frame: pd.DataFrame, max_rows: int) -> pd.DataFrame:
    """At most `max_rows` rows, each the mean of successive seconds."""
    if len(frame) <= max_rows:
        return frame
    step = math.ceil(len(frame) / max_rows)
    return frame.select_dtypes("number").groupby(np.arange(len(frame)) // step).mean()


def _round_time(seconds: float) -> float:
    """The next round step of a clock, in seconds."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
    return float(next((step for step in steps if step >= seconds), math.ceil(seconds / 14400) * 14400))


_LONG = 3 * 3600.0


def clock_axis(axes: Axes, span: float, narrow: bool) -> None:
    """Label an axis of seconds as a clock: hours and minutes for long runs, otherwise minutes and seconds."""
    axes.xaxis.set_major_locator(MultipleLocator(_round_time(span / (4 if narrow else 9))))
    is_long = span > _LONG
    size = 3600 if is_long else 60
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value, size)))
    hours, minutes = message("hours:minutes since the run began"), message("minutes:seconds since the run began")
    axes.set_xlabel(spoken(hours if is_long else minutes))


def _clock(value: float, size: int) -> str:
    return f"{int(value) // size}:{int(value) % size * 60 // size:02d}"


def level_bands(axes: Axes, levels: Sequence[LevelFigures], start: float, doubted: Collection[int]) -> None:
    """Draw levels as bands: the measurement window darker than the warm-up, and hatched if the level is not valid."""
    bands: list[tuple[float, float, float, float]] = []
    hatched: list[tuple[float, float, float, float]] = []
    begins: list[float] = []
    for level in levels:
        if not math.isfinite(level.began):
            continue
        begins.append(level.began - start)
        end = level.ended - start if math.isfinite(level.ended) else axes.get_xlim()[1]
        warmed_up = level.warmed_up - start if math.isfinite(level.warmed_up) else end
        (hatched if level.level in doubted else bands).append((warmed_up, 0.0, end, 1.0))
    across = axes.get_xaxis_transform()
    blocks(axes, [*bands, *hatched], facecolor=BAND, edgecolor="none", linewidth=0, zorder=0, transform=across)
    style = {"facecolor": "none", "edgecolor": HATCH, "hatch": "///", "linewidth": 0}
    blocks(axes, hatched, **style, zorder=0.1, transform=across)
    lines = [(place, side) for begin in begins for place, side in ((begin, 0.0), (begin, 1.0), (math.nan, math.nan))]
    if lines:
        axes.plot(*zip(*lines, strict=True), color=GRID, linewidth=0.8, zorder=0.5, transform=across)


def level_names(axes: Axes, levels: Sequence[LevelFigures], start: float, max_names: int) -> None:
    """Write the loads above the bands, as many as fit, and the phases of the plan above them."""
    _phase_names(axes, levels, start, max_names)
    known = [level for level in levels if math.isfinite(level.began) and math.isfinite(level.ended)]
    for level in known[:: max(1, math.ceil(len(known) / max_names))]:
        warmed_up = level.warmed_up if math.isfinite(level.warmed_up) else level.began
        style: dict[str, Any] = {
            "ha": "center",
            "va": "bottom",
            "size": 7.5,
            "color": MUTED,
            "transform": axes.get_xaxis_transform(),
        }
        axes.text((warmed_up + level.ended) / 2.0 - start, 1.0, words.load(level.load), **style)


def _pad(levels: Sequence[LevelFigures]) -> float:
    """Space between a picture and its title for the names of levels and phases, in points."""
    return _PAD_WITH_PHASES if any(level.phase for level in levels) else _PAD


_PAD, _PAD_WITH_PHASES = 16.0, 27.0


def _phase_names(axes: Axes, levels: Sequence[LevelFigures], start: float, max_names: int) -> None:
    """Write the names of the phases above the loads, as far as they fit."""
    across = axes.get_xaxis_transform()
    known = [level for level in levels if math.isfinite(level.began) and math.isfinite(level.ended)]
    letter = max((level.ended for level in known), default=0.0) - start
    letter, free = letter / (max_names * _LETTERS), -math.inf
    for phase in phases_of(known):
        begin = phase.levels[0].began - start
        axes.plot([begin, begin], [0.0, 1.0], color=MUTED, linewidth=1.0, zorder=0.6, transform=across)
        if begin < free:  # the name of the previous phase is longer than its time
            continue
        # the name comes from the run's files and is not a formula
        style: dict[str, Any] = {
            "ha": "left",
            "va": "bottom",
            "size": 8.0,
            "color": MUTED,
            "parse_math": False,
            "clip_on": False,
        }
        name = spoken(term(phase.name)) if phase.name in PHASES else phase.name
        axes.annotate(name, (begin, 1.0), (1.0, 11.0), across, textcoords="offset points", **style)
        free = begin + (_letters(name) + 1) * letter


_LETTERS = 5.5
"""Letters of a phase's name that fit into the space of one load."""


def _letters(text: str) -> int:
    """The width of a text in letters. A Chinese character is as wide as two."""
    return len(text) + sum(east_asian_width(character) in "WF" for character in text)


# -- the heat map

_SHADES = (0.12, 0.28, 0.46, 0.68, 1.0)
_ROWS = 30
_MIN_REQUESTS = 20
"""Minimum requests with a latency for a heat map of it."""


def heat(
    requests: pd.DataFrame | None, levels: Sequence[LevelFigures], doubted: Collection[int], caption: str
) -> Picture | None:
    """Latency over time, shaded by the number of requests; above it, the share that failed."""
    sent = None if requests is None else heat_rows(requests)
    if sent is None or requests is None:
        return None
    metric, rows = sent
    start, span = _span(rows)
    failed = rows["outcome"] != OK

    def draw(figure: Figure, narrow: bool) -> None:
        lost, axes = figure.subplots(2, 1, sharex=True, height_ratios=(0.5, 2.6))
        columns = np.linspace(0.0, span, (60 if narrow else 130) + 1)
        _failed_lane(lost, rows["sent"] - start, failed, rows["weight"], columns, _pad(levels))
        axes.set_yscale("log")
        axes.set_xlim(0.0, span)
        good = rows[~failed]
        highest = _cells(axes, good["sent"] - start, good[metric] / 1000.0, good["weight"], columns)
        level_bands(lost, levels, start, doubted)
        level_bands(axes, levels, start, doubted)
        level_names(lost, levels, start, 7 if narrow else 16)
        log_seconds(axes.yaxis)
        axes.grid(visible=False, axis="x")
        _shade_legend(axes, highest)
        clock_axis(axes, span, narrow)

    title = capitalised(message("{metric} over time", metric=term(METRICS[metric].name)))
    return picture("heat", title, caption, 4.3, draw)


def heat_rows(requests: pd.DataFrame) -> tuple[str, pd.DataFrame] | None:
    """The latency of the heat map and its rows, without aborted requests; None if too few have a latency."""
    rows = requests[requests["sent"].notna() & (requests["outcome"] != ABORTED)]
    rows = rows.assign(weight=rows["weight"].fillna(1.0))
    for metric in ("ttft", "e2e"):
        if int((rows[metric] > 0).sum()) >= _MIN_REQUESTS:
            return metric, rows[(rows[metric] > 0) | (rows["outcome"] != OK)]
    return None


def _span(rows: pd.DataFrame) -> tuple[float, float]:
    start = float(rows["sent"].min())
    return start, max(1.0, float(rows["sent"].max()) - start)


def _failed_lane(
    axes: Axes, sent: pd.Series, failed: pd.Series, weight: pd.Series, columns: np.ndarray, pad: float
) -> None:
    total, _ = np.histogram(sent, columns, weights=weight)
    lost, _ = np.histogram(sent[failed], columns, weights=weight[failed])
    share = np.divide(lost, total, out=np.zeros_like(lost), where=total > 0)
    axes.fill_between(columns, 0.0, [*share, 0.0], step="post", color=RED, linewidth=0)
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks([0.0, 1.0], ["0 %", "100 %"])
    axes.tick_params(labelbottom=False, length=0)
    axes.grid(visible=False, axis="x")
    axes.set_title(spoken(message("share that failed, by send time")), pad=pad)


def _cells(axes: Axes, sent: pd.Series, seconds: pd.Series, weight: pd.Series, columns: np.ndarray) -> float:
    """Draw the cells, one shape for each shade. Return the highest number of requests in a cell."""
    rows = np.geomspace(max(1e-4, float(seconds.min()) / 1.05), float(seconds.max()) * 1.05, _ROWS + 1)
    counts, _, _ = np.histogram2d(sent, seconds, (columns, rows), weights=weight)
    shades = shade_of(counts)
    for shade, alpha in enumerate(_SHADES):
        cells = []
        for column in range(len(columns) - 1):
            inside = np.flatnonzero(np.diff(np.concatenate(([0], shades[column] == shade, [0])).astype(int)))
            for low, high in inside.reshape(-1, 2).tolist():
                cells.append((columns[column], rows[low], columns[column + 1], rows[high]))
        blocks(axes, cells, facecolor=BLUE, edgecolor="none", alpha=alpha, linewidth=0, zorder=2)
    axes.set_ylim(rows[0], rows[-1])
    return float(counts.max())


def shade_of(counts: np.ndarray) -> np.ndarray:
    """The shade of each cell, in even steps of the logarithm, from 0; −1 for cells without requests."""
    highest = max(2.0, float(counts.max()))
    steps = np.log(np.maximum(counts, 1.0)) / math.log(highest) * len(_SHADES)
    return np.where(counts > 0, np.minimum(len(_SHADES) - 1, steps.astype(int)), -1)


def _shade_legend(axes: Axes, highest: float) -> None:
    edges = [max(2.0, highest) ** (step / len(_SHADES)) for step in range(len(_SHADES) + 1)]
    wholes = [(math.ceil(low), math.ceil(high) - 1) for low, high in pairwise(edges)]
    wholes[-1] = (wholes[-1][0], round(highest))
    handles = [
        Patch(facecolor=BLUE, alpha=alpha, label=f"{low}" if low == high else f"{low}–{high}")
        for alpha, (low, high) in zip(_SHADES, wholes, strict=True)
        if low <= high
    ]
    style = {"fontsize": 7.5, "handlelength": 1.0, "columnspacing": 0.9, "borderaxespad": 0.0}
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), **style)
