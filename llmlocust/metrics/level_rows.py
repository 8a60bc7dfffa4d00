"""Conversion between figures of a level and rows of the levels file. Seconds become milliseconds here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmlocust.metrics.levels import COUNTED, HEADLINE, RANGED, RETRIED, LevelFigures, Summary
from llmlocust.metrics.vocabulary import ABORTED, ERROR_KINDS, QUANTILES


def _flag(text: str) -> bool:
    return text not in ("0", "False", "false")


# Columns that are fields of LevelFigures, with the function that reads a cell.
_PLAIN: dict[str, Any] = {
    "level": int,
    "load": float,
    "unit": str,
    "users": float,
    "began": float,
    "warmed_up": float,
    "ended": float,
    "window": float,
    "reached": _flag,
    "stale_share": float,
    "backing_off": float,
    "requests": int,
    "due": int,
    "dropped": int,
    "ok": int,
    "aborted": int,
    "throughput": float,
    "output_tokens_per_s": float,
    "output_tokens": float,
    "input_tokens": float,
    "input_tokens_per_s": float,
    "inputs_per_s": float,
    "coalesced": float,
    "uncertain": float,
    "counted_chunks": float,
    "stalls": int,
    "contradicting": int,
    "judged": int,
    "right": float,
    "empty": float,
    "cut": float,
    "repeated": float,
    "phase": str,
    "retries": int,
}
_KINDS = [kind for kind in ERROR_KINDS if kind != ABORTED]


def level_row(figures: LevelFigures) -> dict[str, str]:
    """Return a row of the levels file by column name (LEVEL_COLUMNS), with durations in milliseconds."""
    row = {name: _text(getattr(figures, name)) for name in _PLAIN}
    # as exact as the moments of the requests file: otherwise the two files may disagree about a request at the edge
    row |= {name: _moment(getattr(figures, name)) for name in ("began", "warmed_up", "ended")}
    row |= {f"error_{kind}": str(figures.error_kinds.get(kind, 0)) for kind in _KINDS}
    row |= {f"{RETRIED}{kind}": str(figures.retried.get(kind, 0)) for kind in _KINDS}
    for metric in COUNTED:
        row |= _metric_cells(metric, figures.metric(metric))
    return row


def level_of_row(row: Mapping[str, str]) -> LevelFigures:
    """Return the figures of a row; inverse of `level_row`. Missing columns mean "not known". ValueError on a bad number."""
    if missing := [name for name in ("level", "load") if not row.get(name)]:
        raise ValueError(f"a row of the levels file without {missing[0]}")
    plain = {name: convert(row[name]) for name, convert in _PLAIN.items() if row.get(name)}
    metrics = {metric: _summary_of_cells(metric, row) for metric in COUNTED}
    return LevelFigures(**plain, error_kinds=_by_kind(row, "error_"), retried=_by_kind(row, RETRIED), metrics=metrics)


def _by_kind(row: Mapping[str, str], prefix: str) -> dict[str, int]:
    counts = {kind: int(float(row.get(prefix + kind) or 0)) for kind in _KINDS}
    return {kind: count for kind, count in counts.items() if count}


def _metric_cells(metric: str, summary: Summary) -> dict[str, str]:
    cells = {"count": str(summary.count), "mean": _ms(summary.mean), "max": _ms(summary.most)}
    cells |= {name: _ms(summary[name]) for name in QUANTILES}
    for name in HEADLINE:
        low, high = summary.intervals.get(name, (math.nan, math.nan))
        cells |= {
            f"{name}_low": _ms(low),
            f"{name}_high": _ms(high),
            f"{name}_with_failures": _ms(summary.with_failures.get(name, math.nan)),
        }
        if metric in RANGED:
            lower, upper = summary.ranges.get(name, (math.nan, math.nan))
            cells |= {f"{name}_lower": _ms(lower), f"{name}_upper": _ms(upper)}
    return {f"{metric}_{name}": cell for name, cell in cells.items()}


def _summary_of_cells(metric: str, row: Mapping[str, str]) -> Summary:
    def seconds(name: str) -> float:
        cell = row.get(f"{metric}_{name}") or ""
        return float(cell) / 1000.0 if cell else math.nan

    return Summary(
        int(float(row.get(f"{metric}_count") or 0)),
        seconds("mean"),
        seconds("max"),
        {name: seconds(name) for name in QUANTILES},
        {name: (seconds(f"{name}_low"), seconds(f"{name}_high")) for name in HEADLINE},
        {name: seconds(f"{name}_with_failures") for name in HEADLINE},
        {
            name: (seconds(f"{name}_lower"), seconds(f"{name}_upper"))
            for name in HEADLINE
            if row.get(f"{metric}_{name}_lower")
        },
    )


def _moment(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{seconds:.6f}".rstrip("0").rstrip(".")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        # 13 digits keep an epoch time to a millisecond; more would be noise
        return "" if math.isnan(value) else f"{value:.13g}"
    return str(value)


def _ms(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{seconds * 1000.0:.7g}"


LEVEL_COLUMNS: list[str] = list(level_row(LevelFigures(0, 0.0)))
