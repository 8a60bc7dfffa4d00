"""The drift of a run's soaks, from its requests and its telemetry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from llmlocust.analysis.arrays import Floats
from llmlocust.analysis.drift.drift import (
    HOUR,
    MAX_POINTS,
    PER_1000_REQUESTS,
    PER_HOUR,
    Drift,
    drift_of,
    latency_by_time,
    memory_by_requests,
)
from llmlocust.analysis.drift.soak import MIN_SECONDS, SoakDrift
from llmlocust.analysis.phases.phases import STEADY, undisturbed
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import OK, SOAK
from llmlocust.runfiles.reading.run_data import RunData, weights_of
from llmlocust.text.message import message, term

_LATENCIES = {
    key: message("{metric} {statistic}", metric=term(METRICS[key].short), statistic="p95")
    for key in ("ttft", "tpot", "e2e")
}
_QUANTILE, _STATISTIC = 0.95, "p95"
_BY_TIME = {
    "threads": ("process.threads", term("threads of the server"), ""),
    "files": ("process.files", term("open files of the server"), "share"),
    "machine_memory": ("memory", term("memory of the machine"), "share"),
    "container_memory": ("container.memory", term("memory of the containers"), "share"),
}
"""Figures of telemetry that drift by time: the metric, the name of the figure, and its unit."""


@dataclass(frozen=True)
class Soaks:
    """The levels of a run that were held for long; false without one. Their drifts are computed when they are first read."""

    run: RunData
    thresholds: Sequence[Threshold] = ()

    def __bool__(self) -> bool:
        return bool(self.levels)

    @cached_property
    def levels(self) -> list[LevelFigures]:
        return [level for level in undisturbed(self.run.levels) if _is_long(level)]

    @cached_property
    def drifts(self) -> list[SoakDrift]:
        return [self._of_level(level) for level in self.levels]

    def _of_level(self, level: LevelFigures) -> SoakDrift:
        rows = _rows_of(self.run, level)
        restarts = [
            event.time for event in self.run.events if event.kind == "restart" and _is_inside(event.time, level)
        ]
        telemetry = _telemetry_of(self.run, level, max(restarts, default=level.warmed_up))
        candidates: dict[str, Drift | None] = {
            **_latencies(rows),
            "memory": _memory(rows, telemetry),
            **{key: _by_time(telemetry, *of_figure) for key, of_figure in _BY_TIME.items()},
        }
        drifts = {key: drift for key, drift in candidates.items() if drift is not None}
        limits = {**_limits(self.thresholds), **dict.fromkeys(("files", "machine_memory", "container_memory"), 1.0)}
        per_hour = level.requests / level.window * HOUR if level.window > 0.0 else 0.0
        return SoakDrift(level, drifts, limits, per_hour, len(restarts), is_observed=not telemetry.empty)


def _is_long(level: LevelFigures) -> bool:
    is_steady = level.phase in STEADY and level.window >= MIN_SECONDS
    return (is_steady or (level.phase == SOAK and level.window > 0.0)) and math.isfinite(level.warmed_up)


def _is_inside(moment: float, level: LevelFigures) -> bool:
    return level.warmed_up <= moment and not moment >= level.ended


_MAX_GAP = 5
"""Spans of time that are interpolated."""


def _rows_of(run: RunData, level: LevelFigures) -> pd.DataFrame:
    """Return the measured requests of a level; none without a requests file."""
    if run.requests is None:
        return pd.DataFrame()
    return run.requests[(run.requests["level"] == level.level) & (run.requests["measured"] == 1)]


def _latencies(rows: pd.DataFrame) -> dict[str, Drift | None]:
    """Return the drifts of TTFT and TPOT; of the end-to-end time if neither is known."""
    if rows.empty:
        return {}
    ok = rows[rows["outcome"] == OK]
    drifts = {key: _latency(ok, key) for key in ("ttft", "tpot")}
    return drifts if any(drifts.values()) else {"e2e": _latency(ok, "e2e")}


def _latency(rows: pd.DataFrame, key: str) -> Drift | None:
    sent, seconds = rows["sent"].to_numpy(dtype=float), (rows[key] / 1000.0).to_numpy(dtype=float)
    return drift_of(_LATENCIES[key], *latency_by_time(sent, seconds, _QUANTILE), PER_HOUR, unit="s")


def _telemetry_of(run: RunData, level: LevelFigures, since: float) -> pd.DataFrame:
    """Return the telemetry of a level since a moment. The value before a restart is that of another process."""
    if run.telemetry is None:
        return pd.DataFrame(columns=["time", "source", "metric", "labels", "value"])
    frame = run.telemetry
    return frame[(frame["time"] >= since) & (frame["time"] < level.ended) & np.isfinite(frame["value"])]


def _memory(rows: pd.DataFrame, telemetry: pd.DataFrame) -> Drift | None:
    """Return the drift of the anonymous memory and the swap of the server's processes, by requests served."""
    moments, memory = _series(telemetry, "process.memory")
    if not len(moments) or rows.empty:
        return None
    swapped, swap = _series(telemetry, "process.swap")
    if len(swapped):
        memory = memory + np.interp(moments, swapped, swap)
    ended = (rows["sent"] + rows["duration"] / 1000.0).to_numpy(dtype=float)
    is_known = np.isfinite(ended)
    served = memory_by_requests(moments, memory, ended[is_known], weights_of(rows).to_numpy(dtype=float)[is_known])
    return drift_of(term("memory of the server"), *served, PER_1000_REQUESTS, unit="bytes")


def _by_time(telemetry: pd.DataFrame, metric: str, figure: str, unit: str) -> Drift | None:
    moments, values = _series(telemetry, metric)
    if not len(moments):
        return None
    return drift_of(figure, (moments - moments[0]) / HOUR, values, PER_HOUR, unit=unit)


def _series(telemetry: pd.DataFrame, metric: str) -> tuple[Floats, Floats]:
    """Return the moments and values of a metric, summed over its series; for a share, the highest of them.

    Sources report at different moments, so a short time without a value is interpolated; a longer one is left out.
    """
    rows = telemetry[telemetry["metric"] == metric]
    sources = rows["source"].fillna("")
    if (sources == "").any():  # a row without a source is that of all sources
        rows = rows[sources == ""]
    if len(rows) < 2:
        return np.array([]), np.array([])
    began, ended = float(rows["time"].min()), float(rows["time"].max())
    width = max((ended - began) / MAX_POINTS, 1e-3)
    spans = np.minimum(((rows["time"] - began) / width).astype(int), MAX_POINTS - 1)
    keys = [rows["source"].fillna("").rename("source"), rows["labels"].fillna("").rename("labels")]
    table = rows.assign(span=spans).pivot_table("value", "span", keys, "mean")
    whole = table.reindex(range(MAX_POINTS)).interpolate(limit=_MAX_GAP, limit_area="inside").dropna()
    is_share = metric in ("process.files", "memory", "container.memory")
    values = whole.max(axis=1) if is_share else whole.sum(axis=1)
    moments = began + (whole.index.to_numpy(dtype=float) + 0.5) * width
    return np.asarray(moments, dtype=np.float64), values.to_numpy(dtype=np.float64)


def _limits(thresholds: Sequence[Threshold]) -> Mapping[str, float]:
    """Return the limits of the p95 of latencies, in seconds."""
    return {
        limit.metric: limit.bound
        for limit in thresholds
        if limit.statistic == _STATISTIC and limit.metric in _LATENCIES and limit.is_ceiling
    }
