"""The faults of a run in words and tables: a chapter for each fault of the plan, with all its injections."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmlocust.analysis.faults.fault_report import FaultReport
from llmlocust.analysis.faults.recovery import RecoveryTime
from llmlocust.analysis.faults.repeats import MIN_INJECTIONS, range_of, recovery_range
from llmlocust.analysis.faults.requests import WRONG_SUCCESS
from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.faults import Repeats
from llmlocust.metrics.levels import CUT, LEFT_OUT
from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.report.sections.telemetry import clock, start_of
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term

MAX_INJECTIONS = 6
"""Injections of a fault that the table shows one by one."""


@dataclass(frozen=True)
class Cell:
    """A number of an injection, as text."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return (
            message("{value} ({interval})", value=self.value, interval=self.interval) if self.interval else self.value
        )


_Text = Callable[[float], str]


def _factor(value: float) -> str:
    return f"{words.digits(value)}×"


def _short(seconds: float) -> str:
    """Return a duration that may be nothing in words."""
    return words.duration(seconds) if seconds >= _NOTHING else message("at once")


_NOTHING = 0.001

_RECOVERIES = (
    ("recovery", term("time to recover"), term("from the lift")),
    ("full_recovery", term("full recovery"), term("like the baseline for 60 s, also between tokens")),
)
_NUMBERS: tuple[tuple[str, Message, Message, _Text], ...] = (
    ("outage", term("outage"), term("from the injection to the recovery"), words.duration),
    ("impact", term("time to impact"), term("from the injection to the first request that suffers"), _short),
    ("detect", term("time to detect"), term("from the injection to the first error"), _short),
    ("first_success", term("first success"), term("from the lift; one success is no recovery"), words.duration),
    ("relapse", term("relapse"), term("from the lift until many requests failed or were slow again"), words.duration),
    ("lost", term("lost requests"), term("failed because of the fault"), words.digits),
    ("cut_streams", term("cut streams"), term("lost after their first token"), words.digits),
    ("lost_tokens", term("lost tokens"), term("received of answers that never ended"), words.digits),
    ("slo_debt", term("SLO debt"), term("missing good requests, as seconds without any"), words.duration),
    ("depth", term("depth"), term("good requests missing in the worst 5 s"), words.share),
    ("overshoot", term("overshoot"), term("highest p95 after the lift, by that of the baseline"), _factor),
    ("backlog", term("backlog"), term("more requests in flight at the lift than usual"), words.digits),
    (
        "drain",
        term("time to drain"),
        term("from the lift until no more requests were in flight than usual"),
        _short,
    ),
    ("amplification", term("amplification"), term("attempts per request"), _factor),
)


def result(fault: Repeats) -> str:
    """Return the result of a fault in a sentence or two."""
    if len(fault.reports) == 1:
        return fault.reports[0].says
    lost = range_of([report.lost for report in fault.reports])
    if not lost.high:
        return brief(fault)
    cost = message("Lost requests each time: {range}.", range=_in_words(lost.low, lost.high, words.digits))
    return sentences([brief(fault), cost])


def brief(fault: Repeats) -> str:
    """Return the result of a fault for a headline: whether and when the service recovered."""
    if len(fault.reports) == 1:
        return fault.reports[0].in_brief
    count = str(len(fault.reports))
    return sentences([_range_in_words(fault, count), *_without_recovery(fault, count)])


def _without_recovery(fault: Repeats, count: str) -> list[Message]:
    """Return sentences on the injections that no recovery is known of."""
    values = recovery_range(fault.reports)
    void = sum(not report.confirmed for report in fault.reports)
    unknown = len(fault.reports) - values.known - values.censored - void
    parts = []
    if values.censored:
        parts.append(
            message(
                "{number} of {count} injections were not followed by a recovery while the load lasted, for up to {time}.",
                number=str(values.censored),
                count=count,
                time=words.duration(values.above or 0.0),
            )
        )
    if unknown:
        parts.append(
            message("The recovery from {number} of {count} injections is not known.", number=str(unknown), count=count)
        )
    if void:
        parts.append(message("{number} of {count} injections are void.", number=str(void), count=count))
    if any(report.metastable for report in fault.reports):
        parts.append(message("The failure is metastable."))
    return parts


def _range_in_words(fault: Repeats, count: str) -> Message:
    values = recovery_range(fault.reports)
    name = fault.name
    if values.low is None:
        return message("“{name}” was injected {count} times.", name=name, count=count)
    high = max(report.recovery.seconds or 0.0 for report in fault.reports)
    if values.known < MIN_INJECTIONS:
        times = words.series(
            [words.duration(report.recovery.seconds) for report in fault.reports if report.recovery.seconds is not None]
        )
        return message("Recovered {times} after “{name}” was lifted.", times=times, name=name)
    return message(
        "Recovered {range} after “{name}” was lifted, in {known} of {count} injections.",
        range=words.span(values.low, high),
        name=name,
        known=str(values.known),
        count=count,
    )


def headlines(assessment: Assessment) -> list[str]:
    """Return a sentence on each fault, for the first screen; the number of the others if there are many."""
    shown = assessment.faults.repeats[:_MAX_HEADLINES]
    more = len(assessment.faults.repeats) - len(shown)
    rest = [message("{count} more faults are described below.", count=str(more))] if more > 0 else []
    return [*map(brief, shown), *rest]


_MAX_HEADLINES = 3


def notes_on_levels(assessment: Assessment) -> list[Message]:
    """Return sentences on the levels whose figures a fault changes, for the table of levels."""
    cut = [level.load for level in assessment.levels if level.fault == CUT]
    lost = [level.load for level in assessment.levels if level.fault == LEFT_OUT]
    notes = []
    if cut:
        notes.append(
            message(
                "A fault was injected at {loads}: the figures there are those of the requests before it. Inter-token latencies and telemetry are those of the whole level.",
                loads=words.loads(list(dict.fromkeys(cut)), assessment.unit),
            )
        )
    if lost:
        notes.append(
            message(
                "A fault leaves nothing of {loads} to judge: the figures there include the fault, and nothing else depends on them.",
                loads=words.loads(list(dict.fromkeys(lost)), assessment.unit),
            )
        )
    return notes


# -- the chapter


def chapter(assessment: Assessment, fault: Repeats) -> dict[str, Any]:
    """Return what the page and Markdown show of a fault, without its pictures."""
    shown = fault.reports[:MAX_INJECTIONS]
    return {
        "name": fault.name,
        "result": result(fault),
        "heads": [_head(place, len(fault.reports), report, assessment) for place, report in enumerate(shown, 1)],
        "has_range": len(fault.reports) > 1,
        "rows": _rows(fault, shown),
        "errors": _errors(fault),
        "evidence": [_evidence(report, assessment) for report in fault.reports],
        "remarks": _remarks(fault),
    }


def _head(place: int, count: int, report: FaultReport, assessment: Assessment) -> str:
    at = clock((report.fault.began or math.nan) - start_of(assessment.run))
    if count == 1:
        return message("injected at {time}", time=at)
    return message("injection {number}, {time}", number=str(place), time=at)


def _rows(fault: Repeats, shown: Sequence[FaultReport]) -> list[dict[str, Any]]:
    """Return the rows of the table of numbers: those that an injection has a value of."""
    rows = []
    for key, name, means in _RECOVERIES:
        recoveries = [getattr(report, key) for report in shown]
        cells = [_recovery(value, report) for value, report in zip(recoveries, shown, strict=True)]
        if key == "full_recovery":
            cells = [
                _FEW_SECONDS if report.is_watched_briefly else cell for cell, report in zip(cells, shown, strict=True)
            ]
        every = [getattr(report, key) for report in fault.reports]
        rows.append(_row(name, means, cells, _range_of_recoveries(every)))
    for key, name, means, text in _NUMBERS:
        values = [getattr(report, key) for report in shown]
        cells = [Cell(words.UNKNOWN if value is None else text(value)) for value in values]
        of_all = range_of([getattr(report, key) for report in fault.reports])
        rows.append(_row(name, means, cells, _in_words(of_all.low, of_all.high, text)))
    cells = [Cell(_metastable(report)) for report in shown]
    rows.append(_row(term("metastable"), term("the fault is over, and the service stays bad"), cells, ""))
    return [row for row in rows if any(cell.value != words.UNKNOWN or cell.interval for cell in row["cells"])]


def _row(name: Message, means: Message, cells: Sequence[Cell], whole: str) -> dict[str, Any]:
    return {"name": name, "means": means, "cells": cells, "range": whole}


_FEW_SECONDS = Cell(words.UNKNOWN, message("watched for less than 60 s"))


def _recovery(recovery: RecoveryTime, report: FaultReport) -> Cell:
    if recovery.censored:
        return Cell(message("not within {time}", time=words.duration(report.observed or 0.0)))
    if recovery.seconds is None:
        return Cell(words.UNKNOWN)
    if recovery.low is None or recovery.high is None or not recovery.high > recovery.low:
        return Cell(words.duration(recovery.seconds))
    return Cell(words.duration(recovery.seconds), words.span(recovery.low, recovery.high))


def _range_of_recoveries(recoveries: Sequence[RecoveryTime]) -> str:
    of_all = range_of([recovery.seconds for recovery in recoveries])
    if not any(recovery.censored for recovery in recoveries):
        return _in_words(of_all.low, of_all.high, words.duration)
    return words.UNKNOWN if of_all.low is None else message("{value} or more", value=words.duration(of_all.low))


def _in_words(low: float | None, high: float | None, text: _Text) -> str:
    if low is None or high is None:
        return words.UNKNOWN
    first, last = text(low), text(high)
    return first if first == last else message("{low} to {high}", low=first, high=last)


def _metastable(report: FaultReport) -> str:
    if report.metastable is None:
        return words.UNKNOWN if report.baseline is None else message("not decided")
    return message("yes") if report.metastable else message("no")


def _errors(fault: Repeats) -> list[tuple[str, str, str]]:
    """Return the lost requests by kind, the most frequent first: kind, number, share."""
    counts: Counter[str] = Counter()
    for report in fault.reports:
        counts.update(report.error_mix)  # the counts are weighted
    total = sum(counts.values())
    return [
        (kind_in_words(kind), words.digits(count), words.share(count / total)) for kind, count in counts.most_common()
    ]


def kind_in_words(kind: str) -> str:
    """Return the description of an outcome of lost requests."""
    if kind == WRONG_SUCCESS:
        return message("wrong success: a status 200 without a whole answer")
    return term(ERROR_KINDS[kind]) if kind in ERROR_KINDS else kind


def _evidence(report: FaultReport, assessment: Assessment) -> tuple[str, str, bool]:
    """Return when a fault was injected and lifted, the evidence of the run's files, and whether that is plain text."""
    fault, start = report.fault, start_of(assessment.run)
    if fault.began is None:
        when = message("It was never injected.")
    elif fault.lifted is None:
        when = message("Injected at {time}, and never lifted.", time=clock(fault.began - start))
    else:
        when = message(
            "Injected at {began}, lifted at {lifted}, after {outage}.",
            began=clock(fault.began - start),
            lifted=clock(fault.lifted - start),
            outage=words.duration(fault.outage or 0.0),
        )
    seen = _seen(report)
    text = fault.problem or fault.evidence
    return sentences([when, *seen]), words.sentence(text) if text else "", not isinstance(text, Message)


def _seen(report: FaultReport) -> list[Message]:
    fault = report.fault
    if report.confirmed:
        return [message("Both ends were confirmed by something other than the users.")]
    if fault.began is not None and fault.confirmed_began is None:
        return [message("Nothing but the users shows that the fault was present.")]
    return [message("Nothing but the users shows that the fault was over.")] if fault.began is not None else []


def _remarks(fault: Repeats) -> list[str]:
    """Return the remarks on all injections, and why it is not decided whether the failure is metastable."""
    remarks = [remark for report in fault.reports for remark in report.remarks]
    undecided = [
        message("Whether the failure is metastable is not decided: {reason}", reason=report.metastable_why)
        for report in fault.reports
        if report.metastable is None and report.metastable_why
    ]
    hidden = len(fault.reports) - MAX_INJECTIONS
    more = [message("{count} more injections are in the JSON of the report.", count=str(hidden))] if hidden > 0 else []
    return list(dict.fromkeys([*remarks, *undecided, *more]))
