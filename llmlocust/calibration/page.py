"""A calibration as a page and as data: how wrong this machine measured, at which loads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from llmlocust.calibration.errors import (
    COLUMNS,
    ITL_TOLERANCE,
    TTFT_TOLERANCE,
    Latencies,
    Point,
    largest_believed,
    verdict,
)
from llmlocust.report.charts.drawing import MUTED, SERIES, Picture, picture
from llmlocust.report.templating import render
from llmlocust.runfiles.formats import FORMAT
from llmlocust.text import figures as words
from llmlocust.text import media

_ROUND = [1, 2, 5, 10]
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _ = SERIES


_TABLE = (COLUMNS[0], COLUMNS[-1], *COLUMNS[1:-1])
"""Whether a load is believed stands beside it: the last columns are out of sight on a narrow screen."""


def html(points: Sequence[Point], machine: Mapping[str, str]) -> str:
    """One file that needs no network. `machine` says where and when this was measured, as it is to be shown."""
    points = sorted(points, key=lambda each: each.tokens_per_s)
    return render(
        "calibration.html.j2",
        title="Calibration of this machine",
        headline=verdict(points),
        believed=largest_believed(points) is not None,
        there=_there(points),
        pictures=pictures(points),
        columns=_TABLE,
        groups=[(name, len(list(columns))) for name, columns in groupby(_TABLE[1:], lambda each: each.group)],
        points=points,
        machine=machine.items(),
        glossary=_GLOSSARY,
    )


def data(points: Sequence[Point], machine: Mapping[str, str]) -> dict[str, Any]:
    """The same as plain values. Durations in milliseconds, shares from 0 to 1; null: not known."""
    best = largest_believed(points)
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "verdict": {
            "says": verdict(points),
            "tokens_per_s": _plain(best.tokens_per_s) if best else None,
            "streams": best.streams if best else None,
            "tolerances": {"itl_p99": ITL_TOLERANCE * 1e3, "ttft_mean": TTFT_TOLERANCE * 1e3},
        },
        "points": [_point(each) for each in points],
    }


def as_json(points: Sequence[Point], machine: Mapping[str, str]) -> str:
    return media.as_json(data(points, machine))


def _point(point: Point) -> dict[str, Any]:
    return {
        "streams": point.streams,
        "itl": _plain(point.gap * 1e3),
        "tokens_per_s": _plain(point.tokens_per_s),
        "true": _latencies(point.true),
        "measured": _latencies(point.measured),
        "cpu_per_token": _plain(point.cpu_per_token * 1e3),
        "client_cpu": _plain(point.client_cpu),
        "lag_p99": _plain(point.lag_p99 * 1e3),
        "coalesced": _plain(point.coalesced),
        "believed": point.believed,
    }


def _latencies(latencies: Latencies) -> dict[str, float | None]:
    return {name: _plain(getattr(latencies, name) * 1e3) for name in Latencies.__dataclass_fields__}


def _plain(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


# -- in words


def _there(points: Sequence[Point]) -> str:
    """How it stood at the largest load that is believed, or else at the smallest."""
    best = largest_believed(points)
    point = best or points[0]
    if not _compared(point):
        return "Nothing could be compared: no request of the smallest load succeeded."
    which = "that" if best else "the smallest"
    gap, ttft = _wrong(point.error("itl_p99")), _wrong(point.error("ttft_mean"))
    said = f"At {which} load the p99 gap was {gap} and the mean TTFT {ttft}"
    if math.isfinite(point.cpu_per_token):
        micros, share = words.digits(point.cpu_per_token * 1e6), words.share(point.client_cpu)
        said += f"; the load generator took {micros} µs of CPU for a token, {share} of a core"
    return f"{said}."


def _wrong(error: float) -> str:
    """0.37 ms too long."""
    size = f"{abs(error) * 1e3:.2f}"
    return "right" if size == "0.00" else f"{size} ms too {'long' if error > 0 else 'short'}"


def _most(values: Iterable[float]) -> float:
    return max(abs(value) for value in values)


# -- the pictures


def pictures(points: Sequence[Point]) -> list[Picture]:
    known = [each for each in points if _compared(each)]
    if not known:
        return []
    timed = [each for each in known if math.isfinite(each.cpu_per_token)]  # a short run has no whole second
    return [error_curve(known), *([cost(timed)] if timed else []), lateness(known)]


def _compared(point: Point) -> bool:
    """Whether there is anything true to compare with."""
    return math.isfinite(point.error("itl_p99")) and math.isfinite(point.error("ttft_mean"))


def error_curve(points: Sequence[Point]) -> Picture:
    most = {name: words.duration(_most(each.error(name) for each in points)) for name in ("itl_p99", "ttft_mean")}
    caption = (
        f"At most the p99 gap was {most['itl_p99']} off, the mean TTFT {most['ttft_mean']}. What is measured minus what is "
        "true, so above zero is too long; in the shaded band the p99 gap and the mean TTFT are believed."
    )
    worst_gap, worst_ttft = (_most(each.error(f"{name}_p99") for each in points) for name in ("itl", "ttft"))
    if worst_gap > ITL_TOLERANCE or worst_ttft > TTFT_TOLERANCE:
        caption += " Beyond it the scale is logarithmic."
    if not all(each.believed for each in points):
        caption += " Red crosses are too wrong to be believed."

    def draw(figure: Figure, narrow: bool) -> None:
        gaps, ttfts = _panels(figure, narrow)
        _errors(gaps, points, ("itl_p50", "itl_p99"), "itl_p99", ITL_TOLERANCE)
        gaps.set_title("error of the gap between tokens")
        _errors(ttfts, points, ("ttft_p99", "ttft_mean"), "ttft_mean", TTFT_TOLERANCE)
        ttfts.set_title("error of the time to first token")

    return picture("error", "Measured against true", caption, 3.5, draw, tall=1.6)


def cost(points: Sequence[Point]) -> Picture:
    costs = [each.cpu_per_token for each in points]
    range_ = f"{words.digits(min(costs) * 1e6)} to {words.digits(max(costs) * 1e6)} µs"
    caption = (
        f"{range_} of CPU for a token, and at most {words.share(_most(each.client_cpu for each in points))} of a core, by "
        "Locust's process with the run's files being written."
    )

    def draw(figure: Figure, narrow: bool) -> None:
        each, share = _panels(figure, narrow)
        _curve(each, points, lambda point: point.cpu_per_token * 1e6, _PURPLE, "CPU for a token, µs")
        _curve(share, points, lambda point: point.client_cpu * 100.0, _ORANGE, "share of a core, %")
        share.axhline(100.0, color=MUTED, linewidth=1.0, linestyle=(0, (3, 3)))

    return picture("cost", "What it costs", caption, 2.9, draw, tall=1.7)


def lateness(points: Sequence[Point]) -> Picture:
    caption = (
        f"At every load 99 % of the reads came within {words.duration(_most(each.lag_p99 for each in points))} of their bytes. "
        "Where arrival times are the kernel's, this moves no number; but what waits is read together, and "
        f"{words.share(_most(each.coalesced for each in points))} of the tokens at most shared a read with an earlier one."
    )

    def draw(figure: Figure, narrow: bool) -> None:
        lag, together = _panels(figure, narrow)
        _curve(lag, points, lambda point: point.lag_p99 * 1e3, _BLUE, "read lag p99, ms")
        _curve(together, points, lambda point: point.coalesced * 100.0, _GREEN, "coalesced tokens, %")

    return picture("lateness", "How late it read", caption, 2.9, draw, tall=1.7)


def _panels(figure: Figure, narrow: bool) -> tuple[Axes, Axes]:
    first, second = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    for axes in (first, second):
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.digits(value)))
        axes.set_xlabel("tokens a second")
    return first, second


def _errors(axes: Axes, points: Sequence[Point], names: Sequence[str], judged: str, tolerance: float) -> None:
    axes.axhspan(-tolerance, tolerance, color=_GREEN, alpha=0.12, linewidth=0)
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    loads = [each.tokens_per_s for each in points]
    for name in names:
        colour, dashes = (_BLUE, "-") if name == judged else (_ORANGE, "--")
        label = name.partition("_")[2]
        axes.plot(loads, [each.error(name) for each in points], "o", linestyle=dashes, color=colour, label=label)
    wrong = [each for each in points if abs(each.error(judged)) > tolerance]
    axes.plot([each.tokens_per_s for each in wrong], [each.error(judged) for each in wrong], "X", color=_RED, ms=8)
    _error_axis(axes, [each.error(name) for each in points for name in names], tolerance)
    axes.set_xlim(0.0, max(loads) * 1.04 or 1.0)
    axes.legend(loc="lower left", ncols=2, fontsize=8, borderaxespad=0.3, handlelength=2.0)


def _error_axis(axes: Axes, errors: Sequence[float], tolerance: float) -> None:
    """Linear in the band, logarithmic beyond: what is well within it and what is far out are both to be seen."""
    axes.set_yscale("symlog", linthresh=tolerance, linscale=1.5)
    axes.set_ylim(1.3 * min(-tolerance, *errors), 1.3 * max(tolerance, *errors))
    between = (1, 3) if axes.get_ylim()[1] < 10 * tolerance else (1,)
    sizes = [tolerance / 2, *(tolerance * 10**power * step for power in range(8) for step in between)]
    axes.yaxis.set_major_locator(FixedLocator([0.0, *(sign * size for sign in (-1, 1) for size in sizes)]))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 1e3:+g} ms" if value else "0"))


def _curve(axes: Axes, points: Sequence[Point], value: Callable[[Point], float], colour: str, title: str) -> None:
    loads, values = [each.tokens_per_s for each in points], [value(each) for each in points]
    axes.plot(loads, values, "o-", color=colour)
    axes.set_xlim(0.0, max(loads) * 1.04 or 1.0)
    axes.set_ylim(0.0, _most(values) * 1.12 if _most(values) > 0.0 else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
    axes.set_title(title)


_GLOSSARY = [
    ("True", "What the simulated server knows: when it wrote each token, and so how far apart. TTFT runs from our sending to its first write, for each request by its id."),
    ("Error", "Measured − true."),
    ("Gap", "Time between neighbouring tokens of a stream, of all streams together."),
    ("TTFT", "Time to first token."),
    ("Read lag", "How long bytes had been there before the load generator read them."),
    ("Coalesced", "Tokens that were read together with an earlier one: their gap reads as zero and is not the server's."),
    ("p50, p99", "Half and 99 % of the values are at most this."),
]  # fmt: skip
