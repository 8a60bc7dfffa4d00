"""The levels of a run without what its faults did to them.

A fault on purpose says nothing about the load. The figures of a level with a fault are therefore those of its requests before
the fault. A level without such requests, or one that follows a fault from which the service has not recovered, is left out of
every judgement (LevelFigures.fault).
"""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from llmlocust.analysis.checks.check import MIN_REQUESTS
from llmlocust.analysis.faults.baseline import undisturbed_until
from llmlocust.analysis.faults.fault_report import FaultReport
from llmlocust.assessment.faults import Faults
from llmlocust.metrics.levels import CUT, LEFT_OUT, LevelFigures
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.rebuilt import cut_at
from llmlocust.runfiles.reading.run_data import RunData


def without_faults(run: RunData, faults: Faults) -> RunData:
    """Return the run with levels that end before their first fault."""
    if not faults:
        return run
    spans = [span for report in faults.reports if (span := _disturbance(report)) is not None]
    begins = {level.level: begin for level in run.levels if (begin := _first(level, spans)) is not None}
    if not begins:
        return run
    levels = [_cut(run, level, begins[level.level]) if level.level in begins else level for level in run.levels]
    tables = dict(run.tables)
    if run.requests is not None:
        tables[formats.REQUESTS] = _measured(run.requests, levels)
    if run.histograms is not None:
        tables[formats.HISTOGRAMS] = run.histograms[~run.histograms["level"].isin(list(begins))]
    return replace(run, levels=levels, tables=tables)


def left_out(run: RunData) -> frozenset[int]:
    """Return the indices of the levels that a fault left nothing of."""
    return frozenset(level.level for level in run.levels if level.fault == LEFT_OUT)


def _disturbance(report: FaultReport) -> tuple[float, float] | None:
    """Return the time in which a fault may change figures: until users have good answers again; None without a fault."""
    fault, recovery = report.fault, report.recovery
    if fault.began is None:
        return None
    healed = report.healing.after if report.healing else None
    if fault.lifted is None or (recovery.censored and healed is None):
        return fault.began, math.inf
    if healed is not None:
        return fault.began, fault.lifted + healed
    return fault.began, fault.lifted + (recovery.seconds or 0.0)


def _first(level: LevelFigures, spans: list[tuple[float, float]]) -> float | None:
    """Return the moment at which the first fault disturbs a level; None if none does."""
    until = level.ended if math.isfinite(level.ended) else math.inf
    return min(
        (max(began, level.began) for began, ended in spans if began < until and ended > level.began), default=None
    )


def _cut(run: RunData, level: LevelFigures, fault: float) -> LevelFigures:
    left_out = replace(level, fault=LEFT_OUT)
    if run.requests is None or not fault > level.warmed_up:
        return left_out
    rows = run.requests[(run.requests["level"] == level.level) & (run.requests["measured"] == 1)]
    before = rows[rows["sent"] < fault]
    known = before.dropna(subset=["sent", "duration"])
    sent, spans = known["sent"].to_numpy(dtype=float), known["duration"].to_numpy(dtype=float) / 1000.0
    until = undisturbed_until(sent, spans, level.warmed_up, fault)
    if (before["sent"] < until).sum() < MIN_REQUESTS["p95"]:
        return left_out
    return replace(cut_at(run, level, until), fault=CUT)


def _measured(requests: pd.DataFrame, levels: list[LevelFigures]) -> pd.DataFrame:
    """Return the requests. Those after the end of a level that was cut are not measured, as if it had ended."""
    ends = {level.level: level.ended for level in levels if level.fault == CUT}
    is_late = requests["sent"] >= requests["level"].map(ends).fillna(math.inf)
    return requests.assign(measured=requests["measured"].where(~is_late, 0))
