"""The faults of a run, judged: what each did to the users, and the levels whose figures it disturbed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

import pandas as pd

from llmlocust.analysis.faults.constant_load import ConstantLoad, constant_loads
from llmlocust.analysis.faults.fault_report import Conditions, FaultReport, recoveries_of
from llmlocust.analysis.faults.healing import healing_of
from llmlocust.analysis.faults.requests import Requests
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import HEALING
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import is_replay, mapping, number
from llmlocust.text.message import Message, message

_TIMEOUTS = ("timeout_first_token", "timeout_stall", "timeout_total")
"""Outcomes of requests that the client's own time-outs ended, and the options that set them (with the prefix llm_)."""


@dataclass(frozen=True)
class Repeats:
    """A fault of the plan with all its injections."""

    name: str
    reports: tuple[FaultReport, ...]


@dataclass(frozen=True)
class Faults:
    """The faults of a run; false without a fault. They are judged when they are first read."""

    run: RunData
    thresholds: tuple[Threshold, ...] = ()
    """The thresholds that a good request meets. Without any, the baseline decides which requests are good."""

    def __bool__(self) -> bool:
        return bool(self.run.faults)

    @cached_property
    def reports(self) -> list[FaultReport]:
        """All injections, in the order of time; those that never began are last."""
        reports = [report for load in self.loads for report in self._in_load(load)]
        judged = {id(report.fault) for report in reports}
        reports += [_unjudged(fault, _NO_LOAD) for fault in self.run.faults if id(fault) not in judged]
        return sorted(reports, key=lambda report: math.inf if report.fault.began is None else report.fault.began)

    @cached_property
    def repeats(self) -> list[Repeats]:
        """The faults of the plan, in the order of their first injections."""
        by_fault: dict[tuple[str, str], list[FaultReport]] = {}
        for report in self.reports:
            by_fault.setdefault(_planned(report.fault), []).append(report)
        return [Repeats(reports[0].fault.name, tuple(reports)) for reports in by_fault.values()]

    @cached_property
    def loads(self) -> list[ConstantLoad]:
        return constant_loads(self.run.levels, is_replay=is_replay(self.run.info))

    @cached_property
    def requests(self) -> Requests | None:
        """The requests of the run, without those that failed on the load generator; None without a requests file."""
        rows = self.run.requests
        return None if rows is None else Requests.of_frame(rows, self.thresholds).of_the_server()

    def load_of(self, report: FaultReport) -> ConstantLoad | None:
        """Return the constant load that a fault was injected in; None if there was none."""
        began = report.fault.began
        return None if began is None else next((load for load in self.loads if load.contains(began)), None)

    def place_of(self, report: FaultReport) -> tuple[int, int]:
        """Return the number of an injection among those of its fault, from 1, and how many these are."""
        reports = next(fault.reports for fault in self.repeats if _place(report, fault.reports))
        return _place(report, reports), len(reports)

    def _in_load(self, load: ConstantLoad) -> list[FaultReport]:
        faults = [fault for fault in self.run.faults if fault.began is not None and load.contains(fault.began)]
        if not faults:
            return []
        if self.requests is None or not len(self.requests):
            return [_unjudged(fault, _NO_REQUESTS) for fault in faults]
        until = load.until(float(self.requests.due[-1]))
        rows = self.requests.where((self.requests.ended >= load.began) & (self.requests.due < until))
        timeout = _timeout(self.run.info, rows)
        reports = recoveries_of(faults, rows, Conditions(load.warmed_up, until, load.unit, timeout))
        return [self._with_healing(_with_load(report, load), load) for report in reports]

    def _with_healing(self, report: FaultReport, load: ConstantLoad) -> FaultReport:
        """Return the report of a fault with the load at which the service heals, if lower loads followed to find it."""
        last = report.fault.lifted is not None and report.recovery.censored
        if not last or report.baseline is None or self.requests is None:
            return report
        later = sorted((level for level in self.run.levels if level.began >= load.levels[-1].ended), key=_begin)
        lower = list(takewhile(lambda level: level.phase == HEALING, later))
        return replace(report, healing=healing_of(self.requests, report.baseline, report.fault.lifted or 0.0, lower))


def _place(report: FaultReport, reports: Sequence[FaultReport]) -> int:
    """Return the number of a report among others, from 1; 0 if it is none of them."""
    return next((place for place, other in enumerate(reports, 1) if other is report), 0)


def _begin(level: LevelFigures) -> float:
    return level.began


_NO_LOAD = message("There was no load when it was injected.")
_NO_REQUESTS = message("The files of the run have no requests (llm_requests.csv), which the recovery is computed from.")


def _unjudged(fault: FaultWindow, problem: Message) -> FaultReport:
    return FaultReport(fault, fault.is_confirmed, problem=problem)


def _planned(fault: FaultWindow) -> tuple[str, str]:
    """Return the key that all injections of a fault of the plan share: their ids are 1.1, 1.2 and so on."""
    return fault.id.partition(".")[0], fault.name


def _with_load(report: FaultReport, load: ConstantLoad) -> FaultReport:
    if report.confirmed and report.baseline is None and (report.fault.began or 0.0) < load.warmed_up:
        return replace(report, problem=message("It was injected during the warm-up, so the baseline is not known."))
    if load.is_replay and report.baseline is not None:
        remark = message(
            "The load was a replayed trace, which is not constant: the numbers also show how the trace changed."
        )
        return replace(report, remarks=(*report.remarks, remark))
    return report


def _timeout(info: Mapping[str, Any], requests: Requests) -> float:
    """Return the longest of the clients' time-outs that ended a request, in seconds; 0 if none did."""
    options, outcomes = mapping(info.get("options")), set(pd.unique(requests.outcome))
    return max((number(options.get(f"llm_{kind}")) or 0.0 for kind in _TIMEOUTS if kind in outcomes), default=0.0)


def faults_in(run: RunData, thresholds: Sequence[Threshold]) -> Faults:
    """Return the faults of a run. Of several thresholds on one figure the first decides, as in a report."""
    first: dict[tuple[str, str], Threshold] = {}
    for threshold in thresholds:
        first.setdefault((threshold.metric, threshold.statistic), threshold)
    return Faults(run, tuple(first.values()))
