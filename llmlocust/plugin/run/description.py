"""Describes a run for run.json: its settings, its outcome and its problems. Without Locust."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from llmlocust.analysis.checks.check import RUN
from llmlocust.plugin.run.state import RunState
from llmlocust.runfiles import formats
from llmlocust.text.message import to_json


def describe(run: RunState, preflight: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of run.json as of now."""
    ledger, settings = run.ledger, run.settings
    return {
        "format": formats.FORMAT,
        "llmlocust": version("llmlocust"),
        "locust": version("locust"),
        "python": platform.python_version(),
        "started": run.began,
        "ended": run.ended,
        "ended_by": to_json(run.ended_by) or None,
        "stopped": None if run.plan is None or run.ended is None else not run.through,
        "target": settings.target,
        "plan": run.plan and run.plan | run.assignment.plan,
        "options": settings.options,
        "user_classes": {name: to_json(words) for name, words in settings.user_classes.items()},
        "think_times": settings.think_times,
        "clock": " and ".join(sorted(ledger.clocks)),
        "clocks": dict(ledger.clocks),
        "readers": dict(ledger.readers),
        "processes": run.processes,
        "counts": {
            "sent": ledger.sent,
            "ended": ledger.ended,
            "attempts": ledger.sent + ledger.retries,
            "preflight": preflight.get("requests", 0),
        },
        "preflight": preflight,
        **({} if run.telemetry is None else {"telemetry": run.telemetry}),
        **({} if run.faults is None else {"faults": [_with_json(fault) for fault in run.faults]}),
        "rows": {"seen": ledger.rows_seen, "kept": ledger.rows_kept},
        "checks": [
            *(failed_check(words) for words in run.problems),
            *(failed_check(worker.words, worker.levels) for worker in run.lost_workers.all()),
        ],
    }


def _with_json(fault: Mapping[str, Any]) -> dict[str, Any]:
    """Return an injection of a fault with the JSON of its messages."""
    return {name: to_json(value) if isinstance(value, str) else value for name, value in fault.items()}


def failed_check(words: str, levels: Sequence[int] = ()) -> dict[str, Any]:
    """Return a problem of the run as a failed check. `levels`: the affected levels; empty: the whole run."""
    return {"name": RUN, "ok": False, "value": None, "limit": None, "says": to_json(words), "levels": list(levels)}
