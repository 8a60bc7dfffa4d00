"""Describes a run for run.json: its settings, its outcome and its problems. Without Locust."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from llmlocust.plugin.run.state import RunState
from llmlocust.runfiles import formats


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
        "ended_by": run.ended_by or None,
        "stopped": None if run.plan is None or run.ended is None else not run.through,
        "target": settings.target,
        "plan": run.plan and run.plan | run.assignment.plan,
        "options": settings.options,
        "user_classes": settings.user_classes,
        "clock": " and ".join(sorted(ledger.clocks)),
        "clocks": dict(ledger.clocks),
        "processes": run.processes,
        "counts": {
            "sent": ledger.sent,
            "ended": ledger.ended,
            "preflight": preflight.get("requests", 0),
        },
        "preflight": preflight,
        "rows": {"seen": ledger.rows_seen, "kept": ledger.rows_kept},
        "checks": [
            *(_failed(words) for words in run.problems),
            *(_failed(worker.words, worker.levels) for worker in run.lost_workers.all()),
        ],
    }


def _failed(words: str, levels: Sequence[int] = ()) -> dict[str, Any]:
    return {"name": "run", "ok": False, "value": None, "limit": None, "says": words, "levels": list(levels)}
