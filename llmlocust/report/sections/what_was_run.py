"""The facts, options and error messages of a run, as words. run.json may contain anything."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from llmlocust.analysis.breakpoints.steps import kind_name
from llmlocust.metrics.levels import RATE
from llmlocust.metrics.vocabulary import PHASES
from llmlocust.runfiles.reading.run_data import LOCUST, OURS, TABLE, RunData
from llmlocust.runfiles.reading.run_json import count, mapping, number, phases_planned, planned
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, enumeration, message, term

_SECRET = re.compile(r"key|token$|secret|password|authorization", re.IGNORECASE)
_MAX_MESSAGES = 12
_READ_FROM = {
    OURS: term("llmlocust's files"),
    LOCUST: term("Locust's own CSV files"),
    TABLE: term("a table of levels"),
}
_ARRIVAL_TIMES = {
    "kernel": term("from the kernel"),
    "user": term("from the load generator's own clock"),
    "kernel and user": term("partly from the kernel"),
}
_MONTHS = (
    *(term("January"), term("February"), term("March"), term("April"), term("May"), term("June"), term("July")),
    *(term("August"), term("September"), term("October"), term("November"), term("December")),
)
_VERSIONS = {"llmlocust": "llmlocust", "locust": "Locust", "python": "Python"}
FOREIGN = ("Target", "Model", "Protocol", "Arrivals", "Versions")
"""The facts that are names from the run's files: the same in every language."""


def facts(run: RunData, unit: str) -> list[tuple[str, str]]:
    """Return the facts of a run as pairs of a name and a value."""
    info = run.info
    target, plan = mapping(info.get("target")), mapping(info.get("plan"))
    pairs: list[tuple[str, Any]] = [
        (term("Target"), target.get("host")),
        (term("Model"), target.get("model")),
        (term("Protocol"), target.get("dialect")),
        (term("Started"), _when(info.get("started") or _first_moment(run))),
        (term("Duration"), _duration(run)),
        (term("Levels"), _plan(plan) if plan else _measured_levels(run, unit)),
        (term("Arrivals"), plan.get("arrivals")),
        (term("Users"), _users(mapping(info.get("user_classes")), unit)),
        (term("Requests"), _requests(mapping(info.get("counts")))),
        (term("Preflight"), _preflight(mapping(info.get("preflight")))),
        (term("Load generator processes"), info.get("processes")),
        (term("Arrival times"), _ARRIVAL_TIMES.get(str(info.get("clock")))),
        (term("Versions"), _versions(info)),
        (term("Read from"), _READ_FROM[run.source]),
    ]
    texts = ((name, value if isinstance(value, str) else str(value)) for name, value in pairs)
    return [(name, text) for name, text in texts if text not in ("", "None")]


def _users(classes: Mapping[str, Any], unit: str) -> str:
    """Return the user classes; in open load without their think times, which have no effect there."""
    if unit == RATE:
        return "; ".join(classes)
    return clauses([message("{name}: {tasks}", name=name, tasks=tasks) for name, tasks in classes.items()])


def _versions(info: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {info[key]}" for key, name in _VERSIONS.items() if isinstance(info.get(key), str) and info[key]
    )


def _requests(counts: Mapping[str, Any]) -> Message | None:
    if "sent" not in counts:
        return None
    return message("{sent} sent, {ended} ended", sent=counts["sent"], ended=counts.get("ended", "?"))


def _preflight(result: Mapping[str, Any]) -> str | None:
    """Return the result of the preflight: the requests before the load that found the model and tested the server."""
    first, listed, requests = (number(result.get(name)) for name in ("ttft_ms", "models_listed", "requests"))
    if first is None and listed is None:
        return None
    parts = [message("one request")]
    if requests is not None and requests != 1:
        parts = [message("{count} requests", count=f"{requests:.0f}")]
    if first:
        parts.append(message("first token after {time}", time=words.duration(first / 1000.0)))
    if listed == 1:
        parts.append(message("1 model listed"))
    elif listed:
        parts.append(message("{count} models listed", count=f"{listed:.0f}"))
    return enumeration(parts)


def _plan(plan: Mapping[str, Any]) -> str:
    """Return the levels of a plan, with their times or their number of requests."""
    unit = str(plan.get("unit"))
    if phases := phases_planned(plan):
        return _phases(plan, phases, unit)
    loads = _loads(planned(plan), unit)
    if requests := count(plan.get("requests")):
        return message("{count} requests by {loads}", count=requests, loads=loads)
    times = []
    if warmup := number(plan.get("warmup")):
        times.append(message("warm-up {seconds} s", seconds=words.digits(warmup)))
    if hold := number(plan.get("hold")):
        times.append(message("hold {seconds} s", seconds=words.digits(hold)))
    return message("{loads} ({times})", loads=loads, times=enumeration(times)) if times else loads


def _phases(plan: Mapping[str, Any], phases: Sequence[tuple[str, float, float]], unit: str) -> str:
    """Return the phases of a plan, such as "baseline 5 users (60 s), linear 5 to 50 users (210 s)"."""
    texts = []
    levels = zip(phases, planned(plan), strict=False)
    for name, group in groupby(levels, key=lambda level: level[0][0]):
        of_phase = list(group)
        seconds = sum(hold for (_, _, hold), _ in of_phase)
        text = message(
            "{phase} {loads} ({seconds} s)",
            phase=term(name) if name in PHASES else name,
            loads=_from_to(of_phase[0][1], of_phase[-1][1], unit),
            seconds=words.digits(seconds),
        )
        texts.append(text)
    return enumeration(texts)


def _from_to(first: float, last: float, unit: str) -> Message:
    if words.load(first) == words.load(last):
        return _loads([first], unit)
    ends = message("{low} to {high}", low=words.load(first), high=words.load(last))
    return _with_unit(ends, unit)


def _measured_levels(run: RunData, unit: str) -> str:
    loads = [level.load for level in run.levels if math.isfinite(level.load)]
    return _loads(loads, unit) if loads else ""


def _loads(loads: Iterable[float], unit: str) -> Message:
    """Return loads with their unit: 5, 10, 20 users."""
    return _with_unit(", ".join(words.load(load) for load in loads), unit)


def _with_unit(loads: str, unit: str) -> Message:
    if unit == RATE:
        return message("{loads} requests/s", loads=loads)
    return message("{loads} users", loads=loads)


def _first_moment(run: RunData) -> float | None:
    if run.timeline is not None and len(run.timeline):
        return float(run.timeline["time"].min())
    return min((level.began for level in run.levels if math.isfinite(level.began)), default=None)


def _when(moment: Any) -> Message | None:
    """Return a time stamp as a date and a time of day."""
    seconds = number(moment)
    if seconds is None:
        return None
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return message(
        "{day} {month} {year}, {time} UTC",
        day=time.day,
        month=_MONTHS[time.month - 1],
        year=time.year,
        time=f"{time:%H:%M}",
    )


def _duration(run: RunData) -> Message | None:
    started, ended = number(run.info.get("started")), number(run.info.get("ended"))
    if started is None or ended is None:
        if run.timeline is None or not len(run.timeline):
            return None
        started, ended = float(run.timeline["time"].min()), float(run.timeline["time"].max())
    seconds = max(0.0, ended - started)
    if not math.isfinite(seconds):
        return None
    return message("{minutes} min {seconds} s", minutes=int(seconds) // 60, seconds=int(seconds) % 60)


def options(run: RunData) -> list[tuple[str, str]]:
    """Return the options of the run without those that look like secrets."""
    values = mapping(run.info.get("options"))
    return [(str(name), str(value)) for name, value in values.items() if not _SECRET.search(str(name))]


def messages(run: RunData) -> list[tuple[str, str, str]]:
    """Return the most frequent error messages: kind in words, text, count."""
    if run.failures is None:
        return []
    rows = run.failures.head(_MAX_MESSAGES).to_dict("records")
    return [(kind_name(str(row["kind"])), str(row["error"])[:300], words.digits(float(row["count"]))) for row in rows]
