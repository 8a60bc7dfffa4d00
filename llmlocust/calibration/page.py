"""A calibration as a page and as JSON: the errors of this machine's measurements at each load."""

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
    highest_accurate,
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
"""The columns with accuracy beside the load: a narrow screen does not show the last columns."""


def html(points: Sequence[Point], machine: Mapping[str, str]) -> str:
    """The page: one file that needs no network. `machine`: names and values about the machine, as the page shows them."""
    points = sorted(points, key=lambda point: point.tokens_per_s)
    return render(
        "calibration.html.j2",
        title="Calibration of this machine",
        headline=verdict(points),
        is_accurate=highest_accurate(points) is not None,
        summary=_summary(points),
        pictures=pictures(points),
        columns=_TABLE,
        groups=[(name, len(list(columns))) for name, columns in groupby(_TABLE[1:], lambda column: column.group)],
        points=points,
        machine=machine.items(),
        glossary=_GLOSSARY,
    )


def data(points: Sequence[Point], machine: Mapping[str, str]) -> dict[str, Any]:
    """The calibration as plain values: durations in milliseconds, shares from 0 to 1; null: not known."""
    best = highest_accurate(points)
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "verdict": {
            "says": verdict(points),
            "tokens_per_s": _plain(best.tokens_per_s) if best else None,
            "streams": best.streams if best else None,
            "tolerances": {"itl_p99": ITL_TOLERANCE * 1e3, "ttft_mean": TTFT_TOLERANCE * 1e3},
        },
        "points": [_point(point) for point in points],
    }


def as_json(points: Sequence[Point], machine: Mapping[str, str]) -> str:
    """The calibration as a JSON document."""
    return media.as_json(data(points, machine))


def _point(point: Point) -> dict[str, Any]:
    return {
        "streams": point.streams,
        "itl": _plain(point.itl * 1e3),
        "tokens_per_s": _plain(point.tokens_per_s),
        "true": _latencies(point.true),
        "measured": _latencies(point.measured),
        "cpu_per_token": _plain(point.cpu_per_token * 1e3),
        "client_cpu": _plain(point.client_cpu),
        "lag_p99": _plain(point.lag_p99 * 1e3),
        "coalesced": _plain(point.coalesced),
        "accurate": point.is_accurate,
    }


def _latencies(latencies: Latencies) -> dict[str, float | None]:
    return {name: _plain(getattr(latencies, name) * 1e3) for name in Latencies.__dataclass_fields__}


def _plain(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


# -- in words


def _summary(points: Sequence[Point]) -> str:
    """The errors at the highest accurate load; at the lowest load if none is accurate."""
    best = highest_accurate(points)
    point = best or points[0]
    if not _compared(point):
        return "Nothing could be compared: no request of the lowest load succeeded."
    which = "this" if best else "the lowest"
    itl, ttft = _error_words(point.error("itl_p99")), _error_words(point.error("ttft_mean"))
    sentence = f"At {which} load the p99 ITL was {itl} and the mean TTFT {ttft}"
    if math.isfinite(point.cpu_per_token):
        micros, share = words.digits(point.cpu_per_token * 1e6), words.share(point.client_cpu)
        sentence += f"; the load generator used {micros} µs of CPU per token, {share} of a core"
    return f"{sentence}."


def _error_words(error: float) -> str:
    """An error in seconds as words, such as "0.37 ms too long"."""
    size = f"{abs(error) * 1e3:.2f}"
    return "exact" if size == "0.00" else f"{size} ms too {'long' if error > 0 else 'short'}"


def _max_size(values: Iterable[float]) -> float:
    return max(abs(value) for value in values)


# -- the pictures


def pictures(points: Sequence[Point]) -> list[Picture]:
    """All pictures; none if no point has a true value to compare with."""
    known = [point for point in points if _compared(point)]
    if not known:
        return []
    timed = [point for point in known if math.isfinite(point.cpu_per_token)]  # a short run has no whole second
    return [error_curve(known), *([cost(timed)] if timed else []), lateness(known)]


def _compared(point: Point) -> bool:
    """Whether the point has true values to compare with."""
    return math.isfinite(point.error("itl_p99")) and math.isfinite(point.error("ttft_mean"))


def error_curve(points: Sequence[Point]) -> Picture:
    largest = {
        name: words.duration(_max_size(point.error(name) for point in points)) for name in ("itl_p99", "ttft_mean")
    }
    caption = (
        f"The largest error of the p99 ITL is {largest['itl_p99']}, that of the mean TTFT {largest['ttft_mean']}. Errors "
        "are measured − true: above zero is too long. In the shaded band the p99 ITL and the mean TTFT are accurate."
    )
    itl_error, ttft_error = (_max_size(point.error(f"{name}_p99") for point in points) for name in ("itl", "ttft"))
    if itl_error > ITL_TOLERANCE or ttft_error > TTFT_TOLERANCE:
        caption += " Outside the band the scale is logarithmic."
    if not all(point.is_accurate for point in points):
        caption += " Red crosses mark errors that are too large."

    def draw(figure: Figure, narrow: bool) -> None:
        itls, ttfts = _panels(figure, narrow)
        _errors(itls, points, ("itl_p50", "itl_p99"), "itl_p99", ITL_TOLERANCE)
        itls.set_title("error of the inter-token latency")
        _errors(ttfts, points, ("ttft_p99", "ttft_mean"), "ttft_mean", TTFT_TOLERANCE)
        ttfts.set_title("error of the time to first token")

    return picture("error", "Measured minus true", caption, 3.5, draw, tall=1.6)


def cost(points: Sequence[Point]) -> Picture:
    costs = [point.cpu_per_token for point in points]
    range_ = f"{words.digits(min(costs) * 1e6)} to {words.digits(max(costs) * 1e6)} µs"
    caption = (
        f"Locust's process used {range_} of CPU per token, and at most "
        f"{words.share(_max_size(point.client_cpu for point in points))} of a core. This includes writing the run's files."
    )

    def draw(figure: Figure, narrow: bool) -> None:
        per_token, share = _panels(figure, narrow)
        _curve(per_token, points, lambda point: point.cpu_per_token * 1e6, _PURPLE, "CPU per token, µs")
        _curve(share, points, lambda point: point.client_cpu * 100.0, _ORANGE, "share of a core, %")
        share.axhline(100.0, color=MUTED, linewidth=1.0, linestyle=(0, (3, 3)))

    return picture("cost", "CPU cost", caption, 2.9, draw, tall=1.7)


def lateness(points: Sequence[Point]) -> Picture:
    caption = (
        f"At every load 99 % of the reads came at most {words.duration(_max_size(point.lag_p99 for point in points))} after "
        "their bytes. With arrival times from the kernel, this changes no figure. But bytes that wait are read together: at "
        f"most {words.share(_max_size(point.coalesced for point in points))} of the tokens shared a read with an earlier one."
    )

    def draw(figure: Figure, narrow: bool) -> None:
        lag, together = _panels(figure, narrow)
        _curve(lag, points, lambda point: point.lag_p99 * 1e3, _BLUE, "read lag p99, ms")
        _curve(together, points, lambda point: point.coalesced * 100.0, _GREEN, "coalesced tokens, %")

    return picture("lateness", "Read lag", caption, 2.9, draw, tall=1.7)


def _panels(figure: Figure, narrow: bool) -> tuple[Axes, Axes]:
    first, second = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    for axes in (first, second):
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.digits(value)))
        axes.set_xlabel("tokens per second")
    return first, second


def _errors(axes: Axes, points: Sequence[Point], names: Sequence[str], judged: str, tolerance: float) -> None:
    axes.axhspan(-tolerance, tolerance, color=_GREEN, alpha=0.12, linewidth=0)
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    loads = [point.tokens_per_s for point in points]
    for name in names:
        colour, dashes = (_BLUE, "-") if name == judged else (_ORANGE, "--")
        label = name.partition("_")[2]
        axes.plot(loads, [point.error(name) for point in points], "o", linestyle=dashes, color=colour, label=label)
    wrong = [point for point in points if abs(point.error(judged)) > tolerance]
    axes.plot([point.tokens_per_s for point in wrong], [point.error(judged) for point in wrong], "X", color=_RED, ms=8)
    _error_axis(axes, [point.error(name) for point in points for name in names], tolerance)
    axes.set_xlim(0.0, max(loads) * 1.04 or 1.0)
    axes.legend(loc="lower left", ncols=2, fontsize=8, borderaxespad=0.3, handlelength=2.0)


def _error_axis(axes: Axes, errors: Sequence[float], tolerance: float) -> None:
    """Scale the axis linearly in the band and logarithmically outside, so that small and large errors are both visible."""
    axes.set_yscale("symlog", linthresh=tolerance, linscale=1.5)
    axes.set_ylim(1.3 * min(-tolerance, *errors), 1.3 * max(tolerance, *errors))
    steps = (1, 3) if axes.get_ylim()[1] < 10 * tolerance else (1,)
    sizes = [tolerance / 2, *(tolerance * 10**power * step for power in range(8) for step in steps)]
    axes.yaxis.set_major_locator(FixedLocator([0.0, *(sign * size for sign in (-1, 1) for size in sizes)]))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 1e3:+g} ms" if value else "0"))


def _curve(axes: Axes, points: Sequence[Point], value: Callable[[Point], float], colour: str, title: str) -> None:
    loads, values = [point.tokens_per_s for point in points], [value(point) for point in points]
    axes.plot(loads, values, "o-", color=colour)
    axes.set_xlim(0.0, max(loads) * 1.04 or 1.0)
    axes.set_ylim(0.0, _max_size(values) * 1.12 if _max_size(values) > 0.0 else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
    axes.set_title(title)


_GLOSSARY = [
    ("True", "The simulated server's record: when it wrote each token. True TTFT is the time from our sending to the server's first write, matched by request id."),
    ("Error", "Measured − true."),
    ("ITL", "Inter-token latency: time between two successive tokens of a stream, pooled over all streams."),
    ("TTFT", "Time to first token."),
    ("Read lag", "Time from the arrival of bytes to their read by the load generator."),
    ("Coalesced", "Tokens that were read together with an earlier one: their measured ITL is zero, which is not the server's."),
    ("p50, p99", "Half and 99 % of the values are at most this."),
]  # fmt: skip
