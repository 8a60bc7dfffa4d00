"""How a search found its limit: the loads that it tried, and the bracket that closes on the answer."""

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
from llmlocust.runfiles.reading.run_data import number
from llmlocust.runfiles.reading.run_json import listed, mapping
from llmlocust.text import figures as words

_SIGNS = {"keeps": ("✓", GREEN), "breaks": ("✗", RED), "open": ("?", MUTED)}


@dataclass(frozen=True)
class Hold:
    """One load that the search held. Seconds since the search began, of holds alone."""

    load: float
    begin: float
    end: float
    verdict: str
    confirms: bool
    low: float | None
    """The highest load that was known to keep the limits after it."""
    high: float | None
    """The lowest that was known to break them."""


def holds(plan: Mapping[str, Any]) -> list[Hold]:
    """The path that a plan tells of its search, as far as it can be read."""
    made: list[Hold] = []
    for told in map(mapping, listed(mapping(plan.get("search")).get("path"))):
        load, held = number(told.get("load")), number(told.get("held"))
        if load is None or held is None or load <= 0.0 or held <= 0.0:
            continue
        low, high, *_ = [*(number(each) for each in listed(told.get("bracket"))), None, None]
        begin = made[-1].end if made else 0.0
        verdict = str(told.get("verdict"))
        made.append(Hold(load, begin, begin + held, verdict, told.get("confirms") is True, low, high))
    return made


def search(plan: Mapping[str, Any], unit: str) -> Picture | None:
    path = holds(plan)
    if not path:
        return None
    answer = number(mapping(plan.get("search")).get("answer"))

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        most = max(each.load for each in path) * 1.12
        axes.set_ylim(0.0, most)
        axes.set_xlim(0.0, path[-1].end)
        # what one hold has shown is known while the next one lasts
        band = [(after.begin, one.low or 0.0, after.end, one.high or most) for one, after in pairwise(path)]
        blocks(axes, band, facecolor=BLUE, alpha=0.14, edgecolor="none", linewidth=0)
        for verdict in {each.verdict for each in path}:
            _held(axes, [each for each in path if each.verdict == verdict], *_SIGNS.get(verdict, _SIGNS["open"]))
        if answer is not None:
            axes.axhline(answer, color=GREEN, linewidth=1.0, linestyle=(0, (3, 3)))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.load(value)))
        axes.set_title(load_words(unit))
        clock_axis(axes, path[-1].end, narrow)
        axes.set_xlabel("minutes:seconds of holding loads")

    return picture("search", "How the limit was found", _caption(path, answer, unit), 3.1, draw)


def _held(axes: Axes, path: Sequence[Hold], sign: str, colour: str) -> None:
    for each in path:
        axes.plot([each.begin, each.end], [each.load] * 2, color=colour, linewidth=3.5, solid_capstyle="butt")
        middle = (each.begin + each.end) / 2.0
        axes.text(middle, each.load, sign, ha="center", va="bottom", color=colour, size=9.0, weight="bold")


def _caption(path: Sequence[Hold], answer: float | None, unit: str) -> str:
    last = path[-1]
    many = f"{len(path)} loads" if len(path) > 1 else "One load"
    said = f"{many} held for {words.duration(last.end)} in all: ✓ keeps the limits, ✗ breaks them, ? not decided."
    if last.low is not None and last.high is not None:
        said += f" The bracket (shaded) ends at {words.load(last.low)} to {words.with_unit(last.high, unit)}."
    if answer is not None:
        said += f" The answer is {words.with_unit(answer, unit)}"
        said += ", confirmed by a last hold." if last.confirms and last.verdict == "keeps" else "."
    return said
