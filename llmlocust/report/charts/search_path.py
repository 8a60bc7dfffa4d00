"""The path of a search: the loads that it tried, and the bracket around the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from llmlocust.report.charts.by_time import clock_axis
from llmlocust.report.charts.drawing import BLUE, GREEN, MUTED, RED, Picture, blocks, load_words, picture
from llmlocust.report.languages.page_language import spoken
from llmlocust.runfiles.reading.run_json import listed, mapping, number
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences

_SIGNS = {"meets": ("✓", GREEN), "violates": ("✗", RED), "open": ("?", MUTED)}


@dataclass(frozen=True)
class Hold:
    """One load that the search held. Times are seconds of hold time since the search began."""

    load: float
    begin: float
    end: float
    verdict: str
    confirms: bool
    low: float | None
    """Highest load known to meet the thresholds after this hold; None if there is none."""
    high: float | None
    """Lowest load known to violate one after this hold; None if there is none."""


def holds(plan: Mapping[str, Any]) -> list[Hold]:
    """Read the path of a search from a plan. Entries that cannot be read are skipped."""
    path: list[Hold] = []
    for entry in map(mapping, listed(mapping(plan.get("search")).get("path"))):
        load, held = number(entry.get("load")), number(entry.get("held"))
        if load is None or held is None or load <= 0.0 or held <= 0.0:
            continue
        low, high, *_ = [*(number(end) for end in listed(entry.get("bracket"))), None, None]
        begin = path[-1].end if path else 0.0
        verdict = str(entry.get("verdict"))
        path.append(Hold(load, begin, begin + held, verdict, entry.get("confirms") is True, low, high))
    return path


def search(plan: Mapping[str, Any], unit: str) -> Picture | None:
    path = holds(plan)
    if not path:
        return None
    answer = number(mapping(plan.get("search")).get("answer"))

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        top = max(hold.load for hold in path) * 1.12
        axes.set_ylim(0.0, top)
        axes.set_xlim(0.0, path[-1].end)
        # the bracket after a hold is drawn over the time of the next hold
        band = [(after.begin, hold.low or 0.0, after.end, hold.high or top) for hold, after in pairwise(path)]
        blocks(axes, band, facecolor=BLUE, alpha=0.14, edgecolor="none", linewidth=0)
        for verdict in {hold.verdict for hold in path}:
            _held(axes, [hold for hold in path if hold.verdict == verdict], *_SIGNS.get(verdict, _SIGNS["open"]))
        if answer is not None:
            axes.axhline(answer, color=GREEN, linewidth=1.0, linestyle=(0, (3, 3)))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.load(value)))
        axes.set_title(spoken(load_words(unit)))
        clock_axis(axes, path[-1].end, narrow)
        axes.set_xlabel(spoken(message("minutes:seconds of hold time")))

    return picture("search", message("How the limit was found"), _caption(path, answer, unit), 3.1, draw)


def _held(axes: Axes, path: Sequence[Hold], sign: str, colour: str) -> None:
    for hold in path:
        axes.plot([hold.begin, hold.end], [hold.load] * 2, color=colour, linewidth=3.5, solid_capstyle="butt")
        middle = (hold.begin + hold.end) / 2.0
        axes.text(middle, hold.load, sign, ha="center", va="bottom", color=colour, size=9.0, weight="bold")


def _caption(path: Sequence[Hold], answer: float | None, unit: str) -> str:
    last = path[-1]
    caption = [_loads_held(len(path), words.duration(last.end))]
    if last.low is not None and last.high is not None:
        low, high = words.load(last.low), words.with_unit(last.high, unit)
        caption.append(message("The bracket (shaded) ends at {low} to {high}.", low=low, high=high))
    if answer is not None:
        load = words.with_unit(answer, unit)
        if last.confirms and last.verdict == "meets":
            caption.append(message("The result is {load}, confirmed by a last hold.", load=load))
        else:
            caption.append(message("The result is {load}.", load=load))
    return sentences(caption)


def _loads_held(count: int, total: str) -> Message:
    signs = message("✓ meets all thresholds, ✗ violates one, ? undecided")
    if count == 1:
        return message("One load, held for {total} in total: {signs}.", total=total, signs=signs)
    return message("{count} loads, held for {total} in total: {signs}.", count=count, total=total, signs=signs)
