"""How far this machine's measurements can be believed: what was measured against what a server knows it did.

Pure. Durations are seconds; `Point.error` is measured − true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

GAP_TOLERANCE = 0.001
TTFT_TOLERANCE = 0.002
"""A point is believed where its p99 gap is right within the first and its mean TTFT within the second."""


@dataclass(frozen=True)
class Latencies:
    """What is compared."""

    ttft_mean: float = math.nan
    ttft_p99: float = math.nan
    gap_p50: float = math.nan
    gap_p99: float = math.nan

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
        return abs(self.error("gap_p99")) <= GAP_TOLERANCE and abs(self.error("ttft_mean")) <= TTFT_TOLERANCE


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
    limits = f"p99 gap within {GAP_TOLERANCE * 1000:g} ms, mean TTFT within {TTFT_TOLERANCE * 1000:g} ms"
    if best is None:
        return f"Not even the smallest load was measured right ({limits}): is something else running on this machine?"
    if best.tokens_per_s >= max(point.tokens_per_s for point in points):
        return f"Every load was measured right, up to {best.tokens_per_s:,.0f} tokens/s on {best.streams} streams ({limits})."
    return (
        f"One process on this machine can be believed up to {best.tokens_per_s:,.0f} tokens/s on {best.streams} streams "
        f"({limits}). Beyond, use more workers (--processes)."
    )


_COLUMNS: tuple[tuple[str, Callable[[Point], str]], ...] = (
    ("streams", lambda p: f"{p.streams}"),
    ("gap ms", lambda p: f"{p.gap * 1e3:g}"),
    ("tokens/s", lambda p: f"{p.tokens_per_s:,.0f}"),
    ("TTFT mean: true", lambda p: _ms(p.true.ttft_mean)),
    ("error", lambda p: _signed(p.error("ttft_mean"))),
    ("TTFT p99: true", lambda p: _ms(p.true.ttft_p99)),
    ("error", lambda p: _signed(p.error("ttft_p99"))),
    ("gap p50: true", lambda p: _ms(p.true.gap_p50)),
    ("error", lambda p: _signed(p.error("gap_p50"))),
    ("gap p99: true", lambda p: _ms(p.true.gap_p99)),
    ("error", lambda p: _signed(p.error("gap_p99"))),
    ("CPU µs/token", lambda p: f"{p.cpu_per_token * 1e6:.1f}"),
    ("of a core", lambda p: f"{p.client_cpu:.0%}"),
    ("read lag p99", lambda p: _ms(p.lag_p99)),
    ("coalesced", lambda p: f"{p.coalesced:.2%}"),
    ("believed", lambda p: "yes" if p.believed else "no"),
)


def head() -> list[str]:
    """The table's head, in Markdown. All times are milliseconds."""
    titles = [title for title, _ in _COLUMNS]
    return [f"| {' | '.join(titles)} |", "|" + "---:|" * len(titles)]


def line(point: Point) -> str:
    """A point as a row of the table."""
    return f"| {' | '.join(cell(point) for _, cell in _COLUMNS)} |"


def page(points: Sequence[Point]) -> str:
    """A calibration as a page of Markdown."""
    table = "\n".join([*head(), *map(line, points)])
    return f"# Calibration\n\n{verdict(points)}\n\nTimes in milliseconds; error is measured − true.\n\n{table}\n"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def _signed(seconds: float) -> str:
    return f"{seconds * 1e3:+.2f}"
