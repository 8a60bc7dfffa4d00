"""Read the telemetry of a run: figures by level from its table, sources and events from run.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import pandas as pd

from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.telemetry import VOCABULARY, State, TelemetryEvent, TelemetrySource, TelemetrySummary
from llmlocust.runfiles.reading.run_json import listed, mapping, number, or_nan

_FIGURES = ("mean", "min", "max", "p50", "p95", "increase")


def with_telemetry(levels: Sequence[LevelFigures], frame: pd.DataFrame | None) -> list[LevelFigures]:
    """Return the levels with the telemetry of the table of levels.

    A key of the vocabulary has one summary: that of all its sources, or of the only one.
    """
    if frame is None:
        return list(levels)
    by_level: dict[int, dict[str, tuple[TelemetrySummary, ...]]] = {}
    for (number_of_level, metric), rows in frame.dropna(subset=["level"]).groupby(["level", "metric"]):
        name = str(metric)
        chosen = rows
        if name in VOCABULARY:
            # a row without a source is that of all sources
            chosen = (rows[rows["source"].fillna("") == ""] if len(rows) > 1 else rows).head(1)
        summaries = tuple(_summary(row) for row in chosen.to_dict("records"))
        if summaries:
            by_level.setdefault(int(number_of_level), {})[_key(name)] = summaries
    return [replace(level, telemetry={**level.telemetry, **by_level.get(level.level, {})}) for level in levels]


def _key(name: str) -> str:
    """Return the name as thresholds write it: in lower case."""
    return name.lower()


def _summary(row: Mapping[Any, Any]) -> TelemetrySummary:
    return TelemetrySummary(
        samples=int(row["samples"]) if _is_number(row.get("samples")) else 0,
        **{name: float(row[name]) for name in _FIGURES if _is_number(row.get(name))},
        increase_bounds=_bounds(row, "increase"),
        p50_bounds=_bounds(row, "p50"),
        p95_bounds=_bounds(row, "p95"),
    )


def _bounds(row: Mapping[Any, Any], name: str) -> tuple[float, float] | None:
    low, high = (row.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    if not _is_number(low):
        return None
    return float(low), float(high) if _is_number(high) else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


def _sentence(value: Any) -> str:
    """Return a sentence as it was read: a message keeps its template, so that a page can translate it."""
    return value if isinstance(value, str) else ""


def sources_of(info: Mapping[str, Any]) -> list[TelemetrySource]:
    """Return the sources of a run."""
    rows = map(mapping, listed(mapping(info.get("telemetry")).get("sources")))
    return [
        TelemetrySource(
            name=str(row.get("name") or ""),
            url=str(row.get("url") or ""),
            engine=str(row["engine"]) if row.get("engine") else None,
            state=row["state"] if row.get("state") in get_args(State) else "failed",
            says=_sentence(row.get("says")),
            settings={str(name): str(value) for name, value in mapping(row.get("settings")).items()},
            exposes=tuple(str(key) for key in listed(row.get("exposes")) if key in VOCABULARY),
        )
        for row in rows
    ]


def events_of(info: Mapping[str, Any]) -> list[TelemetryEvent]:
    """Return the events that telemetry showed, oldest first."""
    rows = map(mapping, listed(mapping(info.get("telemetry")).get("events")))
    events = [
        TelemetryEvent(
            time=or_nan(number(row.get("time"))),
            kind=row["kind"],
            source=str(row.get("source") or ""),
            seconds=number(row.get("seconds")) or 0.0,
            says=_sentence(row.get("says")),
        )
        for row in rows
        if row.get("kind") in ("restart", "silent")
    ]
    return sorted((event for event in events if not math.isnan(event.time)), key=lambda event: event.time)
