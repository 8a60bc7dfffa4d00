"""Drawing of pictures as SVG with the colours of the page, and the axes that several pictures share.

matplotlib draws in sentinel colours, which are then replaced by CSS variables: one picture works in light, dark and
print. Text stays text, in the fonts of the browser. Every picture is drawn wide and narrow, and the page shows the one
that fits. Colour is never the only distinction: lines have markers and dashes, bars have hatches.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from llmlocust.metrics.levels import USERS, LevelFigures
from llmlocust.report.languages.page_language import spoken
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

INK, MUTED, GRID, BAND, SURFACE, HATCH = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006")
MORE = ("#0a0007", "#0a0008", "#0a0009", "#0a000a")
"""More colours, for pictures of up to ten runs."""
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", BAND: "band", SURFACE: "surface", HATCH: "hatch"} | {
    sentinel: f"s{number}" for number, sentinel in enumerate((*SERIES, *MORE), 1)
}
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = SERIES
_STYLE: dict[Any, Any] = {
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
    "legend.facecolor": SURFACE,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "hatch.linewidth": 1.0,
}


@dataclass(frozen=True)
class Picture:
    """A picture in both sizes, as SVG elements."""

    name: str
    title: str
    caption: str
    """Sentences on what the picture shows of this run."""
    wide: str
    narrow: str


Draw = Callable[[Figure, bool], None]


def picture(name: str, title: str, caption: str, height: float, draw: Draw, *, tall: float = 0.95) -> Picture:
    """Draw both sizes. `draw` gets a figure and whether it is the narrow one, which is `tall` times as high.

    matplotlib copies its texts to plain strings, so `draw` passes them in the language of the page (`spoken`).
    """
    sizes = []
    for narrow in (False, True):
        with mpl.rc_context(_STYLE), _glyphs_may_be_missing():
            figure = Figure(figsize=(3.5, height * tall) if narrow else (9.4, height), layout="constrained")
            FigureCanvasSVG(figure)
            draw(figure, narrow)
            out = io.StringIO()
            figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        sizes.append(_inline(out.getvalue(), f"{name}-{'narrow' if narrow else 'wide'}", title, caption))
    return Picture(name, title, caption, *sizes)


@contextmanager
def _glyphs_may_be_missing() -> Iterator[None]:
    """Suppress matplotlib's warnings about missing glyphs. It only measures texts in its font, which has no Chinese glyphs;
    the browser draws them in a font that has.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def _inline(svg: str, name: str, title: str, caption: str) -> str:
    """The SVG of matplotlib as an element of a page: with our colours, unique ids and a title, without a fixed size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[a-z][^>]*>", lambda tag: _LONG.sub(_short, tag[0]), svg)
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
        f'<title id="{name}-title">{html.escape(spoken(title))}</title>'
        f'<desc id="{name}-desc">{html.escape(spoken(caption))}</desc>'
    )
    return head + svg[svg.index(">") + 1 :].strip()


_LONG = re.compile(r"-?\d+\.\d{3,}")


def _short(number: re.Match[str]) -> str:
    """Round a number to a tenth of a point. This is invisible, and halves the size of the page."""
    return f"{float(number[0]):.1f}".removesuffix(".0")


# -- axes


def load_axis(axes: Axes, levels: Sequence[LevelFigures], unit: str, *, labels: bool = True) -> None:
    loads = sorted({level.load for level in levels})
    if loads[-1] / loads[0] >= 30:
        axes.set_xscale("log")
        axes.set_xlim(loads[0] / 1.25, loads[-1] * 1.25)
    else:
        margin = (loads[-1] - loads[0]) * 0.05 or loads[0] * 0.5
        axes.set_xlim(max(0.0, loads[0] - margin), loads[-1] + margin)
    ticks = _apart(axes, loads, 0.055 if is_wide(axes) else 0.12)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.load(value) if labels else ""))
    axes.grid(visible=False, axis="x")
    if labels:
        axes.set_xlabel(spoken(load_words(unit)))


def is_wide(axes: Axes) -> bool:
    """Whether the picture is the wide one."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure.get_figwidth() > 5.0


def load_words(unit: str) -> Message:
    return message("users") if unit == USERS else message("requests offered per second")


def _apart(axes: Axes, loads: Sequence[float], room: float) -> list[float]:
    """The loads whose labels fit beside each other; the highest is always among them."""
    kept = [loads[-1]]
    for load in reversed(loads[:-1]):
        if place_of(axes, kept[-1]) - place_of(axes, load) > room:
            kept.append(load)
    return kept[::-1]


def place_of(axes: Axes, load: float) -> float:
    """Position of a load on its axis, as a share of the width."""
    low, high = axes.get_xlim()
    if axes.get_xscale() == "log":
        return math.log(load / low) / math.log(high / low)
    return (load - low) / (high - low)


def _seconds(value: float, _: Any = None) -> str:
    return words.duration(value)


def log_seconds(axis: Any) -> None:
    axis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0), numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_seconds))
    axis.set_minor_formatter(NullFormatter())


def legend(axes: Axes, narrow: bool, columns: int = 6) -> None:
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
    """The levels that an axis of loads can show, in order of load."""
    shown = [level for level in levels if 1e-6 < level.load < 1e9 and level.attempted]
    return sorted(shown, key=lambda level: level.load)


def across(axes: Axes) -> Any:
    """The transform for positions whose x is a share of the width and whose y is a value of the axis."""
    return axes.get_yaxis_transform()


def hatch(axes: Axes, levels: Sequence[LevelFigures], doubted: Collection[int]) -> None:
    """Hatch the levels that are not valid on an axis of loads, half-way to the neighbouring levels."""
    for low, high in doubted_spans(axes, levels, doubted):
        axes.axvspan(low, high, facecolor="none", edgecolor=HATCH, hatch="///", linewidth=0, zorder=0.6)


def doubted_spans(axes: Axes, levels: Sequence[LevelFigures], doubted: Collection[int]) -> list[tuple[float, float]]:
    """Intervals of the axis of loads that the invalid levels cover; adjacent ones are merged."""
    marked = {level.load for level in levels if level.level in doubted}
    loads = sorted({level.load for level in levels})
    between = math.sqrt if axes.get_xscale() == "log" else None
    edges = [between(a * b) if between else (a + b) / 2.0 for a, b in pairwise(loads)]
    low, high = axes.get_xlim()
    spans: list[tuple[float, float]] = []
    for load, begin, end in zip(loads, [low, *edges], [*edges, high], strict=True):
        if load not in marked:
            continue
        touches = bool(spans) and spans[-1][1] == begin
        spans.append((spans.pop()[0] if touches else begin, end))
    return spans


def blocks(axes: Axes, rectangles: Sequence[tuple[float, float, float, float]], **style: Any) -> None:
    """Draw rectangles (left, low, right, high) as one shape, which keeps the page small."""
    if not rectangles:
        return
    corners = [
        corner for left, low, right, high in rectangles
        for corner in ((left, low), (right, low), (right, high), (left, high), (left, low))
    ]  # fmt: skip
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rectangles)
    patch = PathPatch(Path(corners, codes), **style)
    if "transform" not in style:
        axes.add_patch(patch)
        return
    # a shape in shares of the height must not move the axis of values
    patch.set_clip_path(axes.patch)
    axes.add_artist(patch)
