"""Read the faults of a run from run.json. The file may be damaged or edited, so any value may have any type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.runfiles.reading.run_json import listed, mapping, number, short_name

_MAX_FAULTS = 1000


def faults_of(info: Mapping[str, Any]) -> list[FaultWindow]:
    """Return the faults of a run, in the order of the file. Entries that are no fault are left out."""
    rows = map(mapping, listed(info.get("faults"))[:_MAX_FAULTS])
    return [_fault(row) for row in rows if _words(row, "name") or _words(row, "kind")]


def _fault(row: Mapping[str, Any]) -> FaultWindow:
    began = _moment(row, "began")
    return FaultWindow(
        name=short_name(_words(row, "name") or _words(row, "kind")),
        kind=short_name(_words(row, "kind")),
        began=began,
        lifted=_after(began, _moment(row, "lifted")),
        confirmed_began=_moment(row, "confirmed_began"),
        confirmed_lifted=_after(began, _moment(row, "confirmed_lifted")),
        id=short_name(_words(row, "id")),
        action=_words(row, "action"),
        evidence=_words(row, "evidence"),
        problem=_words(row, "problem"),
    )


def _words(row: Mapping[str, Any], name: str) -> str:
    """Return a text as it was read: a message keeps its template, so that a page can translate it."""
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _moment(row: Mapping[str, Any], name: str) -> float | None:
    moment = number(row.get(name))
    return moment if moment is not None and moment > 0.0 else None


def _after(began: float | None, moment: float | None) -> float | None:
    """Return a moment that cannot lie before the injection; None if it does."""
    return None if began is None or moment is None or moment < began else moment
