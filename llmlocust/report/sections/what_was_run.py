"""The facts, options and error messages of a run, as words. run.json may contain anything."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from llmlocust.metrics.levels import RATE
from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.runfiles.reading.run_data import LOCUST, OURS, TABLE, RunData
from llmlocust.runfiles.reading.run_json import count, mapping, number, phases_planned, planned
from llmlocust.text import figures as words

_SECRET = re.compile(r"key|token$|secret|password|authorization", re.IGNORECASE)
_MOST_MESSAGES = 12
_READ_FROM = {OURS: "llmlocust's files", LOCUST: "Locust's own CSV files", TABLE: "a table of levels"}
FOREIGN = ("Target", "Model", "Protocol", "Arrivals", "Users", "Versions")
"""The facts that are names from the run's files: the same in every language."""


def facts(run: RunData, unit: str) -> list[tuple[str, str]]:
    """Return the facts of a run as pairs of a name and a value."""
    info = run.info
    target, plan, rows = (mapping(info.get(name)) for name in ("target", "plan", "counts"))
    versions = ", ".join(
        f"{name} {info[key]}" for key, name in _VERSIONS.items() if isinstance(info.get(key), str) and info[key]
    )
    pairs: list[tuple[str, Any]] = [
        ("Target", target.get("host")),
        ("Model", target.get("model")),
        ("Protocol", target.get("dialect")),
        ("Started", _when(info.get("started") or _first_moment(run))),
        ("Lasted", _lasted(run)),
        ("Levels", _plan(plan) if plan else _measured_levels(run, unit)),
        ("Arrivals", plan.get("arrivals")),
        ("Users", _users(mapping(info.get("user_classes")), unit)),
        ("Requests", f"{rows['sent']} sent, {rows.get('ended', '?')} ended" if "sent" in rows else None),
        ("Asked before", _preflight(mapping(info.get("preflight")))),
        ("Load processes", info.get("processes")),
        (
            "Arrival times",
            {"kernel": "the kernel's", "user": "the process's own", "kernel and user": "the kernel's in part"}.get(
                str(info.get("clock"))
            ),
        ),
        ("Versions", versions),
        ("Read from", _READ_FROM[run.source]),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "", "None")]


_VERSIONS = {"llmlocust": "llmlocust", "locust": "Locust", "python": "Python"}


def _users(classes: Mapping[str, Any], unit: str) -> str:
    """Return the user classes; in open load without their think times, which have no effect there."""
    return "; ".join(f"{name}" if unit == RATE else f"{name}: {does}" for name, does in classes.items())


def _preflight(told: Mapping[str, Any]) -> str | None:
    """Return the result of the preflight: the requests before the load that found the model and tested the server."""
    first, listed, asked = (number(told.get(name)) for name in ("ttft_ms", "models_listed", "requests"))
    if first is None and listed is None:
        return None
    many = "one request" if asked is None or asked == 1 else f"{asked:.0f} requests"
    parts = [many] + ([f"first token after {words.duration(first / 1000.0)}"] if first else [])
    if listed:
        parts.append(f"{listed:.0f} {'model' if listed == 1 else 'models'} listed")
    return ", ".join(parts)


def _plan(plan: Mapping[str, Any]) -> str:
    if parts := phases_planned(plan):
        return _parts(plan, parts)
    loads = [words.load(each) for each in planned(plan)]
    unit = "requests/s" if plan.get("unit") == RATE else "users"
    names = {"warmup": "warm-up", "hold": "hold"}
    times = [f"{name} {words.digits(known)} s" for key, name in names.items() if (known := number(plan.get(key)))]
    if requests := count(plan.get("requests")):
        return f"{requests} requests by {', '.join(loads)} {unit}"
    return f"{', '.join(loads)} {unit}" + (f" ({', '.join(times)})" if times else "")


def _parts(plan: Mapping[str, Any], parts: Sequence[tuple[str, float, float]]) -> str:
    """Return the phases of a plan, such as "baseline 5 users (60 s), linear 5 to 50 users (210 s)"."""
    told = []
    for name, levels in groupby(zip(parts, planned(plan), strict=False), key=lambda each: each[0][0]):
        of_part = list(levels)
        ends = dict.fromkeys(words.load(load) for load in (of_part[0][1], of_part[-1][1]))
        seconds = sum(hold for (_, _, hold), _ in of_part)
        unit = "requests/s" if plan.get("unit") == RATE else "users"
        told.append(f"{name} {' to '.join(ends)} {unit} ({words.digits(seconds)} s)")
    return ", ".join(told)


def _measured_levels(run: RunData, unit: str) -> str:
    loads = [words.load(each.load) for each in run.levels if math.isfinite(each.load)]
    return f"{', '.join(loads)} {words.unit_of(unit)}" if loads else ""


def _first_moment(run: RunData) -> float | None:
    if run.timeline is not None and len(run.timeline):
        return float(run.timeline["time"].min())
    return min((each.began for each in run.levels if math.isfinite(each.began)), default=None)


def _when(moment: Any) -> str | None:
    known = number(moment)
    if known is None:
        return None
    try:
        return datetime.fromtimestamp(known, UTC).strftime("%d %B %Y, %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return None


def _lasted(run: RunData) -> str | None:
    started, ended = number(run.info.get("started")), number(run.info.get("ended"))
    if started is None or ended is None:
        if run.timeline is None or not len(run.timeline):
            return None
        started, ended = float(run.timeline["time"].min()), float(run.timeline["time"].max())
    seconds = max(0.0, ended - started)
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if math.isfinite(seconds) else None


def options(run: RunData) -> list[tuple[str, str]]:
    """Return the options of the run without those that look like secrets."""
    told = mapping(run.info.get("options"))
    return [(str(name), str(value)) for name, value in told.items() if not _SECRET.search(str(name))]


def messages(run: RunData) -> list[tuple[str, str, str]]:
    """Return the most frequent error messages: kind in words, text, count."""
    failures = run.failures
    if failures is None:
        return []
    rows = failures.head(_MOST_MESSAGES).to_dict("records")
    return [
        (
            ERROR_KINDS.get(str(row["kind"]), str(row["kind"])),
            str(row["error"])[:300],
            words.digits(float(row["count"])),
        )
        for row in rows
    ]
