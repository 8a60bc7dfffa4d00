"""A fault report as plain values for JSON, with stable names. Pure.

Moments are seconds since the run began. Durations are seconds: `impact` and `detect` count from the injection, `recovery`,
`full_recovery`, `first_success`, `relapse` and `drain` from the lift. Null means not known.
"""

from __future__ import annotations

import math
from typing import Any

from llmlocust.analysis.faults.fault_report import FaultReport
from llmlocust.analysis.faults.healing import Healing
from llmlocust.analysis.faults.recovery import RecoveryTime


def fault_data(report: FaultReport, run_began: float) -> dict[str, Any]:
    """Return the values of one fault. `run_began` is the beginning of the run in epoch seconds."""
    fault = report.fault
    return {
        "name": fault.name,
        "kind": fault.kind,
        "began": _since(fault.began, run_began),
        "lifted": _since(fault.lifted, run_began),
        "confirmed": report.confirmed,
        "impact": _plain(report.impact),
        "detect": _plain(report.detect),
        "recovery": _recovery(report.recovery),
        "full_recovery": _recovery(report.full_recovery),
        "outage": _plain(report.outage),
        "first_success": _plain(report.first_success),
        "relapse": _plain(report.relapse),
        "lost": _plain(report.lost),
        "cut_streams": _plain(report.cut_streams),
        "lost_tokens": _plain(report.lost_tokens),
        "slo_debt": _plain(report.slo_debt),
        "slo_debt_requests": _plain(report.slo_debt_requests),
        "depth": _plain(report.depth),
        "overshoot": _plain(report.overshoot),
        "backlog": _plain(report.backlog),
        "drain": _plain(report.drain),
        "amplification": _plain(report.amplification),
        "metastable": report.metastable,
        "healing": _healing(report.healing),
        "error_mix": {kind: _plain(count) for kind, count in report.error_mix.items()},
        "observed": _plain(report.observed),
        "remarks": list(report.remarks),
        "says": report.says,
    }


def _recovery(recovery: RecoveryTime) -> dict[str, Any]:
    return {
        "seconds": _plain(recovery.seconds),
        "low": _plain(recovery.low),
        "high": _plain(recovery.high),
        "censored": recovery.censored,
    }


def _healing(healing: Healing | None) -> dict[str, Any] | None:
    """Return the search for the load at which the service heals. `seconds` count from the lift."""
    if healing is None:
        return None
    return {"tried": list(healing.tried), "load": healing.load, "seconds": _plain(healing.after)}


def _since(moment: float | None, run_began: float) -> float | None:
    return None if moment is None else _plain(moment - run_began)


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
