"""Read run.json and the values in it. A value may have any type: the file may be damaged or edited."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmlocust.runfiles import formats
from llmlocust.runfiles.formats import MAX_NUMBER
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.text import media
from llmlocust.text.message import Message, from_json, message


def read_info(path: Path, notes: list[str]) -> dict[str, Any]:
    """Return the content of run.json; empty if it is damaged. Raises RunError if a newer llmlocust wrote it."""
    try:
        info = json.loads(path.read_text(encoding="utf-8", errors="replace"), object_hook=from_json)
    except (OSError, ValueError, RecursionError):
        notes.append(message("{file} cannot be read, so what was run is not known.", file=path.name))
        return {}
    if not isinstance(info, dict):
        notes.append(message("{file} is not what llmlocust writes, so what was run is not known.", file=path.name))
        return {}
    version = info.get("format")
    if isinstance(version, int) and version > formats.FORMAT:
        raise RunError(
            f"{path}: written in format {version}, this llmlocust reads up to {formats.FORMAT}; "
            "upgrade it (pip install -U llmlocust)"
        )
    return info


def number(value: Any) -> float | None:
    """Return a number of run.json; None for other types, and for numbers that llmlocust never writes because of their size."""
    is_known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER
    return float(value) if is_known else None


def or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def phases_planned(plan: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return for each level of a plan of several phases: its phase's name, and its seconds of warm-up and hold."""
    levels: list[tuple[str, float, float]] = []
    for phase in map(mapping, listed(plan.get("phases"))):
        count_of_levels = phase.get("levels")
        if not isinstance(count_of_levels, int) or not 0 < count_of_levels <= MAX_LEVELS:
            return []
        warmup, hold = (or_nan(number(phase.get(name))) for name in ("warmup", "hold"))
        levels += [(short_name(str(phase.get("name") or "")), warmup, hold)] * count_of_levels
    return levels


def short_name(name: str) -> str:
    """Return a name shortened for the labels of charts: a long one would leave no room for the chart."""
    return media.one_line(name[:_MAX_NAME])


_MAX_NAME = 80
MAX_LEVELS = 10_000
"""Maximum number of levels of a plan."""


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def planned(plan: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the loads of a plan's levels."""
    loads = [number(load) for load in listed(plan.get("levels"))]
    return tuple(load for load in loads if load is not None)


def is_replay(info: Mapping[str, Any]) -> bool:
    """Whether the levels are windows of a trace."""
    return "trace" in mapping(info.get("plan"))


def count(value: Any) -> int | None:
    known = number(value)
    return None if known is None else int(known)


def ended_by(info: Mapping[str, Any]) -> str:
    """Return the gate that ended the run early; empty if none did."""
    gate = info.get("ended_by")
    if isinstance(gate, Message):
        return gate
    return " ".join(gate.split()) if isinstance(gate, str) else ""


def think_time(info: Mapping[str, Any]) -> float | None:
    """Return the mean think time in seconds; None unless it is known, and the same for all user classes."""
    means = {number(seconds) for seconds in mapping(info.get("think_times")).values()}
    mean = means.pop() if len(means) == 1 else None
    return None if mean is None or mean < 0.0 else mean
