"""The accuracy of this machine's measurements: measured latencies compared with the server's own record.

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
"""Seconds. A point is accurate if the error of its p99 ITL is within the first, and that of its mean TTFT within the second."""


@dataclass(frozen=True)
class Latencies:
    """The latencies that are compared, in seconds; NaN if there was no request."""

    ttft_mean: float = math.nan
    ttft_p99: float = math.nan
    itl_p50: float = math.nan
    itl_p99: float = math.nan

    @classmethod
    def of(cls, ttfts: Sequence[float], itls: Sequence[float]) -> Latencies:
        if not ttfts or not itls:
            return cls()
        return cls(fmean(ttfts), quantile(ttfts, 0.99), quantile(itls, 0.5), quantile(itls, 0.99))


@dataclass(frozen=True)
class Point:
    """The measurement of one number of streams at one ITL."""

    streams: int
    itl: float
    """Time between the tokens of a stream that the server was set to."""
    tokens_per_s: float
    true: Latencies
    measured: Latencies
    cpu_per_token: float
    """Seconds of the load generator's CPU time."""
    client_cpu: float
    """Mean share of a core that the load generator used."""
    lag_p99: float
    """p99 of the time from the arrival of bytes to their read."""
    coalesced: float
    """Share of the tokens that were read together with an earlier one."""

    def error(self, name: str) -> float:
        """The error of one of the latencies, in seconds: measured − true."""
        error: float = getattr(self.measured, name) - getattr(self.true, name)
        return error

    @property
    def is_accurate(self) -> bool:
        return abs(self.error("itl_p99")) <= ITL_TOLERANCE and abs(self.error("ttft_mean")) <= TTFT_TOLERANCE


def quantile(values: Sequence[float], q: float) -> float:
    """The quantile by nearest rank, as Histogram computes it."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered) - 1e-9) - 1)]


def highest_accurate(points: Sequence[Point]) -> Point | None:
    """The point with the highest token rate up to which every point is accurate; None if the lowest is not."""
    best = None
    for point in sorted(points, key=lambda point: point.tokens_per_s):
        if not point.is_accurate:
            break
        best = point
    return best


def verdict(points: Sequence[Point]) -> str:
    """The result of a calibration, in a sentence."""
    best = highest_accurate(points)
    tolerances = f"p99 ITL within {ITL_TOLERANCE * 1000:g} ms, mean TTFT within {TTFT_TOLERANCE * 1000:g} ms"
    if best is None:
        return (
            f"The lowest load was not measured accurately ({tolerances}). Other work on this machine may be the cause."
        )
    if best.tokens_per_s >= max(point.tokens_per_s for point in points):
        return f"All loads were measured accurately, up to {best.tokens_per_s:,.0f} tokens/s on {best.streams} streams ({tolerances})."
    return (
        f"One process on this machine is accurate up to {best.tokens_per_s:,.0f} tokens/s on {best.streams} streams "
        f"({tolerances}). For more, use several worker processes."
    )


@dataclass(frozen=True)
class Column:
    """A column of the table. Its times are milliseconds."""

    group: str
    title: str
    cell: Callable[[Point], str]
    tolerance: float = math.inf
    """Largest error of an accurate point, in seconds; infinite if the column does not decide."""
    error: str = ""
    """Name of the latency whose error the column shows, for `Point.error`; empty: none."""

    def is_exceeded(self, point: Point) -> bool:
        """Whether the error exceeds its tolerance, so that the point is not accurate."""
        return bool(self.error) and not abs(point.error(self.error)) <= self.tolerance


def _compared(group: str, name: str, tolerance: float = math.inf) -> tuple[Column, Column]:
    """Columns of a latency: its true value, and the error of its measurement."""
    return (
        Column(group, "true", lambda p: _number(getattr(p.true, name), "{:.2f}", 1e3)),
        Column(group, "error", lambda p: _number(p.error(name), "{:+.2f}", 1e3), tolerance, name),
    )


COLUMNS = (
    Column("", "streams", lambda p: f"{p.streams}"),
    Column("", "ITL ms", lambda p: f"{p.itl * 1e3:g}"),
    Column("", "tokens/s", lambda p: f"{p.tokens_per_s:,.0f}"),
    *_compared("TTFT mean", "ttft_mean", TTFT_TOLERANCE),
    *_compared("TTFT p99", "ttft_p99"),
    *_compared("ITL p50", "itl_p50"),
    *_compared("ITL p99", "itl_p99", ITL_TOLERANCE),
    Column("", "CPU µs/token", lambda p: _number(p.cpu_per_token, "{:.1f}", 1e6)),
    Column("", "of a core", lambda p: _number(p.client_cpu, "{:.0%}")),
    Column("", "read lag p99", lambda p: _number(p.lag_p99, "{:.2f}", 1e3)),
    Column("", "coalesced", lambda p: _number(p.coalesced, "{:.2%}")),
    Column("", "accurate", lambda p: "yes" if p.is_accurate else "no"),
)


def head() -> list[str]:
    """The head of the table, in Markdown."""
    titles = [f"{column.group}: true" if column.title == "true" else column.title for column in COLUMNS]
    return [f"| {' | '.join(titles)} |", "|" + "---:|" * len(titles)]


def line(point: Point) -> str:
    """The row of a point, in Markdown."""
    return f"| {' | '.join(column.cell(point) for column in COLUMNS)} |"


def _number(value: float, form: str, scale: float = 1.0) -> str:
    return words.UNKNOWN if math.isnan(value) else form.format(value * scale)
