"""How far this machine's measurements can be believed: what was measured against what a server knows it did.

Pure. Durations are seconds; `Point.error` is measured − true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from llmlocust.text import figures as words

ITL_TOLERANCE = 0.001
TTFT_TOLERANCE = 0.002
"""A point is believed where its p99 gap is right within the first and its mean TTFT within the second."""


@dataclass(frozen=True)
class Latencies:
    """What is compared."""

    ttft_mean: float = math.nan
    ttft_p99: float = math.nan
    itl_p50: float = math.nan
    itl_p99: float = math.nan

    @classmethod
    def of(cls, ttfts: Sequence[float], gaps: Sequence[float]) -> Latencies:
        if not ttfts or not gaps:
            return cls()
        return cls(fmean(ttfts), quantile(ttfts, 0.99), quantile(gaps, 0.5), quantile(gaps, 0.99))


@dataclass(frozen=True)
class Point:
    """One number of streams at one speed."""

    streams: int
    gap: float
    """Between a stream's tokens, as the server was told."""
    tokens_per_s: float
    true: Latencies
    measured: Latencies
    cpu_per_token: float
    """Seconds of the load generator's process time."""
    client_cpu: float
    """Share of a core, on average."""
    lag_p99: float
    """How long a read had waited."""
    coalesced: float
    """Share of the tokens that came with an earlier one."""

    def error(self, name: str) -> float:
        wrong: float = getattr(self.measured, name) - getattr(self.true, name)
        return wrong

    @property
    def believed(self) -> bool:
        return abs(self.error("itl_p99")) <= ITL_TOLERANCE and abs(self.error("ttft_mean")) <= TTFT_TOLERANCE


def quantile(values: Sequence[float], q: float) -> float:
    """By nearest rank, as Histogram's."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered) - 1e-9) - 1)]


def largest_believed(points: Sequence[Point]) -> Point | None:
    """The point of most tokens a second up to which every point is believed; None where not even the first is."""
    best = None
    for point in sorted(points, key=lambda each: each.tokens_per_s):
        if not point.believed:
            break
        best = point
    return best


def verdict(points: Sequence[Point]) -> str:
    """The sentence that a calibration ends with."""
    best = largest_believed(points)
    limits = f"p99 gap within {ITL_TOLERANCE * 1000:g} ms, mean TTFT within {TTFT_TOLERANCE * 1000:g} ms"
    if best is None:
        return f"Not even the smallest load was measured right ({limits}): is something else running on this machine?"
    if best.tokens_per_s >= max(point.tokens_per_s for point in points):
        return f"Every load was measured right, up to {best.tokens_per_s:,.0f} tokens/s on {best.streams} streams ({limits})."
    return (
        f"One process on this machine can be believed up to {best.tokens_per_s:,.0f} tokens/s on {best.streams} streams "
        f"({limits}). Beyond, use more worker processes."
    )


@dataclass(frozen=True)
class Column:
    """Of the table. All times are milliseconds."""

    group: str
    title: str
    cell: Callable[[Point], str]
    tolerance: float = math.inf
    """Seconds, where the column is an error that a point is judged by."""
    error: str = ""
    """Whose error it is, for `Point.error`."""

    def broken(self, point: Point) -> bool:
        """Whether this is why the point is not believed."""
        return bool(self.error) and not abs(point.error(self.error)) <= self.tolerance


def _compared(group: str, name: str, tolerance: float = math.inf) -> tuple[Column, Column]:
    """What is true of a number, and how wrong it was measured."""
    return (
        Column(group, "true", lambda p: _number(getattr(p.true, name), "{:.2f}", 1e3)),
        Column(group, "error", lambda p: _number(p.error(name), "{:+.2f}", 1e3), tolerance, name),
    )


COLUMNS = (
    Column("", "streams", lambda p: f"{p.streams}"),
    Column("", "gap ms", lambda p: f"{p.gap * 1e3:g}"),
    Column("", "tokens/s", lambda p: f"{p.tokens_per_s:,.0f}"),
    *_compared("TTFT mean", "ttft_mean", TTFT_TOLERANCE),
    *_compared("TTFT p99", "ttft_p99"),
    *_compared("gap p50", "itl_p50"),
    *_compared("gap p99", "itl_p99", ITL_TOLERANCE),
    Column("", "CPU µs/token", lambda p: _number(p.cpu_per_token, "{:.1f}", 1e6)),
    Column("", "of a core", lambda p: _number(p.client_cpu, "{:.0%}")),
    Column("", "read lag p99", lambda p: _number(p.lag_p99, "{:.2f}", 1e3)),
    Column("", "coalesced", lambda p: _number(p.coalesced, "{:.2%}")),
    Column("", "believed", lambda p: "yes" if p.believed else "no"),
)


def head() -> list[str]:
    """The table's head, in Markdown."""
    titles = [f"{each.group}: true" if each.title == "true" else each.title for each in COLUMNS]
    return [f"| {' | '.join(titles)} |", "|" + "---:|" * len(titles)]


def line(point: Point) -> str:
    """A point as a row of the table, in Markdown."""
    return f"| {' | '.join(column.cell(point) for column in COLUMNS)} |"


def _number(value: float, form: str, scale: float = 1.0) -> str:
    return words.UNKNOWN if math.isnan(value) else form.format(value * scale)
