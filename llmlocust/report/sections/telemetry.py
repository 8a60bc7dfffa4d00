"""Telemetry in words: what the system under test reported at each level, with its sources and events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmlocust.assessment.assessment import Assessment
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.telemetry import (
    PER_SECOND,
    VOCABULARY,
    TelemetryEvent,
    TelemetrySource,
    TelemetrySummary,
    in_words,
)
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import number
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term

_MAIN = [key for key, metric in VOCABULARY.items() if metric.is_main]
_MAX_EVENTS = 20
_FEW = 3
"""Values of a gauge in a window. Fewer say little: DCGM's exporter has a new one every 30 s by default."""
_MACHINE = ("cpu", "container.", "process.", "memory", "network.")
_IN_BRIEF = {
    "running": "{} running",
    "waiting": "{} waiting",
    "kv.usage": "KV cache {}",
    "gpu.utilisation": "GPU {}",
    "cpu": "CPU {}",
    "process.cpu": "busiest process {}",
    "process.memory": "memory {}",
}
"""The metrics of the line for a terminal, which is in English, as English."""


@dataclass(frozen=True)
class Cell:
    """A metric at a level, as text."""

    value: str
    """The mean over the level's window; of a counter, the increase per second."""
    more: str = ""
    """The maximum of a gauge, the increase of a counter, or the p95 of a duration."""

    def __str__(self) -> str:
        return message("{value} ({interval})", value=self.value, interval=self.more) if self.more else self.value


@dataclass(frozen=True)
class Row:
    """A metric at all levels."""

    key: str
    name: Message
    cells: list[Cell]


@dataclass(frozen=True)
class Group:
    """The exposed metrics of one part of the system."""

    name: Message
    rows: list[Row]


def is_observed(run: RunData) -> bool:
    """Return whether the system under test was observed: some source was asked, whether it answered or not."""
    return bool(run.sources) or any(key in VOCABULARY for level in run.levels for key in level.telemetry)


def groups(assessment: Assessment) -> list[Group]:
    """Return the vocabulary's main metrics that some level has, by the part of the system that they describe."""
    named = {"server": term("server"), "gpu": term("GPUs"), "machine": term("machine")}
    exposed = {name: [key for key in _MAIN if part_of(key) == name and _is_exposed(assessment, key)] for name in named}
    return [
        Group(named[name], [_row(key, assessment.levels) for key in keys]) for name, keys in exposed.items() if keys
    ]


def part_of(key: str) -> str:
    """Return the part of the system that a metric describes: server, gpu or machine."""
    if key.startswith("gpu."):
        return "gpu"
    return "machine" if key.startswith(_MACHINE) else "server"


def _is_exposed(assessment: Assessment, key: str) -> bool:
    summaries = (level.reported(key) for level in assessment.levels)
    return any(summary is not None and not math.isnan(summary.mean) for summary in summaries)


def _row(key: str, levels: Sequence[LevelFigures]) -> Row:
    return Row(key, term(VOCABULARY[key].name), [cell_of(key, level.reported(key)) for level in levels])


def cell_of(key: str, summary: TelemetrySummary | None) -> Cell:
    """Return a metric at a level as text: a dash if it is not exposed there, 0 if it is zero."""
    if summary is None or math.isnan(summary.mean):
        return Cell(words.UNKNOWN)
    if key == "restarts":  # so rare that only their number says something
        return Cell(words.digits(summary.increase))
    value, unit = in_words(key, summary.mean), VOCABULARY[key].unit
    if unit == PER_SECOND:
        count = words.digits(summary.increase)
        return Cell(value, message("{count} in total", count=count) if summary.increase > 0.0 else "")
    if unit == "s":
        return Cell(value, _p95(summary))
    if summary.samples < _FEW:
        return Cell(value, message("only 1 value") if summary.samples == 1 else _few(summary.samples))
    highest = in_words(key, summary.max)
    return Cell(value, message("max {value}", value=highest) if highest not in (value, words.UNKNOWN) else "")


def _few(samples: int) -> Message:
    return message("only {count} values", count=samples) if samples else message("no new value")


def _p95(summary: TelemetrySummary) -> str:
    """Return the p95 of a duration. A histogram only shows the bounds of the bucket that it lies in."""
    if summary.p95_bounds is None:
        return "" if math.isnan(summary.p95) else message("p95 {value}", value=words.duration(summary.p95))
    low, high = summary.p95_bounds
    if math.isinf(high):
        return message("p95 above {value}", value=words.duration(low))
    return message("p95 {value}", value=words.span(low, high))


def not_exposed(assessment: Assessment) -> str:
    """Return a sentence on the main metrics that no source exposes, with the reasons that sources state; empty if none is
    missing, or if no metric is known.
    """
    missing = [key for key in _MAIN if not _is_exposed(assessment, key)]
    if not missing or len(missing) == len(_MAIN):
        return ""
    names: list[str] = []
    for part, all_of_it in (
        ("server", ""),
        ("gpu", term("all metrics of GPUs")),
        ("machine", term("all of the machine")),
    ):
        keys = [key for key in _MAIN if part_of(key) == part]
        absent = [key for key in keys if key in missing]
        is_whole = bool(all_of_it) and absent == keys
        names += [all_of_it] if is_whole else [term(VOCABULARY[key].name) for key in absent]
    reasons = [
        message("{source}: {reason}", source=source.name, reason=words.sentence(source.says))
        for source in assessment.run.sources
        if source.state == "not exposed" and source.says
    ]
    return sentences([message("Not exposed, or without a value: {metrics}.", metrics=words.series(names)), *reasons])


def start_of(run: RunData) -> float:
    """Return the moment that the time axes of the pictures begin with, in epoch seconds; NaN if it is not known."""
    if run.timeline is not None and len(run.timeline):
        return float(run.timeline["time"].min())
    started = number(run.info.get("started"))
    return math.nan if started is None else started


def events_shown(run: RunData) -> list[TelemetryEvent]:
    """Return the first events: a server that restarts in a loop has hundreds."""
    return run.events[:_MAX_EVENTS]


def more_events(run: RunData) -> str:
    """Return a sentence on the events that are not shown; empty if all are."""
    count = len(run.events) - _MAX_EVENTS
    return message("{count} more events are in the files.", count=count) if count > 0 else ""


def event_line(event: TelemetryEvent, run: RunData, unit: str) -> Message:
    """Return an event as a sentence, with its time in the run and the level that it happened at."""
    level = next((level for level in run.levels if level.began <= event.time < level.ended), None)
    where = clock(event.time - start_of(run))
    if level is not None:
        where = message("{time}, at {load}", time=where, load=words.with_unit(level.load, unit))
    if event.kind == "restart":
        return message("{where}: {source} restarted; its counters began anew.", where=where, source=event.source)
    return message(
        "{where}: {source} did not answer for {duration}.",
        where=where,
        source=event.source,
        duration=words.duration(event.seconds),
    )


def clock(seconds: float) -> str:
    """Return a moment of the run as a clock shows it: 1:30, or 1:02:30."""
    if not math.isfinite(seconds):
        return words.UNKNOWN
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


STATES = {"ok": term("answered"), "failed": term("failed"), "not exposed": term("not exposed")}
"""The states of sources."""


def source_line(source: TelemetrySource) -> str:
    """Return a source in a line, for Markdown: its engine, its address, and what it says about itself."""
    named = ", ".join(filter(None, (source.engine, source.url or source.name)))
    return message("{source}: {reason}", source=named, reason=words.sentence(source.says or STATES[source.state]))


def brief(assessment: Assessment) -> str:
    """Return the main metrics at the highest load, in a line for a terminal; empty if nothing was observed."""
    run = assessment.run
    if not is_observed(run):
        return ""
    known = [level for level in assessment.ramp if any(level.reported(key) is not None for key in _IN_BRIEF)]
    if not known:
        failed = next((source for source in run.sources if source.says), None)
        return words.sentence(failed.says) if failed else "no source answered"
    level = max(known, key=lambda level: level.load)
    summaries = {key: level.reported(key) for key in _IN_BRIEF}
    values = [
        _IN_BRIEF[key].format(in_words(key, summary.mean))
        for key, summary in summaries.items()
        if summary is not None and not math.isnan(summary.mean)
    ]
    return f"at {words.with_unit(level.load, assessment.unit)}: {', '.join(values)}"


def page(assessment: Assessment) -> dict[str, Any] | None:
    """Return what the page shows of telemetry, without its picture; None if nothing was observed."""
    run = assessment.run
    if not is_observed(run):
        return None
    return {
        "groups": groups(assessment),
        "heads": [
            (words.load(level.load) if math.isfinite(level.load) else words.UNKNOWN, level.level in assessment.doubted)
            for level in assessment.levels
        ],
        "not_exposed": not_exposed(assessment),
        "events": [(event_line(event, run, assessment.unit), *_says(event.says)) for event in events_shown(run)],
        "more_events": more_events(run),
        "sources": [(source, STATES[source.state], *_says(source.says)) for source in run.sources],
    }


def _says(text: str) -> tuple[str, bool]:
    """Return a sentence of the run's files, and whether it is plain text, which a page cannot translate."""
    return words.sentence(text) if text else "", not isinstance(text, Message)
