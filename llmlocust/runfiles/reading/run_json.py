"""Read run.json and the values in it. A value may have any type: the file may be damaged or edited."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmlocust.runfiles import formats
from llmlocust.runfiles.formats import MOST
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.text import media


def read_info(path: Path, notes: list[str]) -> dict[str, Any]:
    """Return the content of run.json, or nothing where it is damaged. Raises RunError where a newer llmlocust wrote it."""
    try:
        info = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        notes.append(f"{path.name} cannot be read, so what was run is not known.")
        return {}
    if not isinstance(info, dict):
        notes.append(f"{path.name} is not what llmlocust writes, so what was run is not known.")
        return {}
    told = info.get("format")
    if isinstance(told, int) and told > formats.FORMAT:
        raise RunError(
            f"{path}: written in format {told}, this llmlocust reads up to {formats.FORMAT}; "
            "upgrade it (pip install -U llmlocust)"
        )
    return info


def number(value: Any) -> float | None:
    """Return a number of run.json; None for other types, and for numbers that llmlocust never writes because of their size."""
    is_known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST
    return float(value) if is_known else None


def or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def phases_planned(plan: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return for each level of a plan of several phases: its phase's name, and its seconds of warm-up and hold."""
    made: list[tuple[str, float, float]] = []
    for told in map(mapping, listed(plan.get("phases"))):
        many, *seconds = (told.get(name) for name in ("levels", "warmup", "hold"))
        if not isinstance(many, int) or not 0 < many <= MOST_LEVELS:
            return []
        warmup, hold = (or_nan(number(value)) for value in seconds)
        made += [(short_name(str(told.get("name") or "")), warmup, hold)] * many
    return made


def short_name(name: str) -> str:
    """Return a name cut for labels of pictures, where a long one would leave no room for the picture."""
    return media.one_line(name[:_LONGEST_NAME])


_LONGEST_NAME = 80
MOST_LEVELS = 10_000
"""No plan has more levels."""


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def planned(plan: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the loads of a plan's levels."""
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
