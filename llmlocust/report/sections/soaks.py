"""The drift of the levels that were held for long, as a table and sentences."""

from __future__ import annotations

from typing import Any

from llmlocust.analysis.drift.drift import Drift
from llmlocust.analysis.drift.soak import SoakDrift
from llmlocust.assessment.run_gates import name_of
from llmlocust.text import figures as words
from llmlocust.text.message import capitalised, message


def shown(soak: SoakDrift) -> dict[str, Any]:
    """Return what the page shows of a level that was held for long."""
    return {
        "name": name_of(soak.level),
        "rows": [_row(soak, key, drift) for key, drift in soak.drifts.items()],
        "says": soak.says or [message("Too few requests and no telemetry to show a drift.")],
    }


def _row(soak: SoakDrift, key: str, drift: Drift) -> dict[str, Any]:
    hours = soak.hours_to_limit(key)
    return {
        "name": capitalised(drift.figure),
        "per": message("per {unit}", unit=drift.per),
        "drift": drift.text(drift.slope),
        "interval": message("{low} to {high}", low=drift.text(drift.low), high=drift.text(drift.high)),
        "smallest": words.amount(drift.smallest, drift.unit) if drift.smallest > 0.0 else words.UNKNOWN,
        "now": words.amount(drift.now, drift.unit),
        "hours": words.UNKNOWN if hours is None else words.digits(hours[0]),
    }
