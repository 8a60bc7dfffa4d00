"""The values of a run.json, which anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmlocust.runfiles.reading.run_data import number


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def planned(plan: Mapping[str, Any]) -> tuple[float, ...]:
    loads = [number(each) for each in listed(plan.get("levels"))]
    return tuple(each for each in loads if each is not None)


def is_replay(info: Mapping[str, Any]) -> bool:
    """Whether the levels are windows of a trace."""
    return "trace" in mapping(info.get("plan"))


def count(value: Any) -> int | None:
    known = number(value)
    return None if known is None else int(known)


def ended_by(info: Mapping[str, Any]) -> str:
    """The gate for which the run ended before its plan was through; empty where none did."""
    told = info.get("ended_by")
    return " ".join(told.split()) if isinstance(told, str) else ""
