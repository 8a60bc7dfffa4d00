"""Gates on a whole run: on what its faults did, and on the drift of its soaks. Pure.

Every injection of a fault must meet the gate, so the worst one decides. A service that has not recovered fails, however long
it was watched. A number that was not measured fails, unless the gate ends with `or unmeasured`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.drift.soak import SoakDrift
from llmlocust.analysis.faults.fault_report import FaultReport
from llmlocust.analysis.gates import DOUBTED, FAILED, NEVER_INVALIDATING, PASSED, Case, failed_checks
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import FAILS, GOLD, NOT_KNOWN, Gate, RunThreshold
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message

_UNAFFECTED = (
    *("requests_for_p95", "requests_for_p99", "warm_up", "drift", "answer_length", "prefix_cache", "usage"),
    *("token_times", "level_length", "outage", "back_off"),
)
"""Checks of the figures of levels, which say nothing against those of a fault or a soak."""


@dataclass(frozen=True)
class Subject:
    """A fault with all its injections, or the drift of a part of the run, that a gate is judged by."""

    name: str
    levels: Sequence[LevelFigures]
    faults: Sequence[FaultReport] = ()
    drift: SoakDrift | None = None


@dataclass(frozen=True)
class _Value:
    """A measured value, and what it is."""

    says: str
    value: float | None = None
    """None: not measured. Infinite: not reached while the service was watched."""
    low: float = math.nan
    high: float = math.nan


def cases_of(gate: Gate, subjects: Sequence[Subject], failed: Sequence[Check]) -> list[Case]:
    """Judge a gate by each fault that it applies to, or by each soak."""
    threshold = gate.threshold
    assert isinstance(threshold, RunThreshold)
    fits = [subject for subject in subjects if _applies(threshold, subject)]
    if not fits:
        return [_case(gate, Subject(threshold.fault, ()), _missing(threshold, subjects), failed)]
    return [_case(gate, subject, _measured(threshold, subject), failed) for subject in fits]


def _applies(threshold: RunThreshold, subject: Subject) -> bool:
    if threshold.of_run.is_drift:
        return subject.drift is not None
    return bool(subject.faults) and (not threshold.fault or _is_called(subject, threshold.fault))


def _is_called(subject: Subject, name: str) -> bool:
    """Whether a fault has a name, or the first word of its action."""
    return name.casefold() in (subject.name.casefold(), *(report.fault.kind.casefold() for report in subject.faults))


def _missing(threshold: RunThreshold, subjects: Sequence[Subject]) -> _Value:
    if threshold.of_run.is_drift:
        return _Value(message("not measured: no level was held long enough to show a drift"))
    names = [subject.name for subject in subjects if subject.faults]
    if not names:
        return _Value(message("not measured: the run injected no fault"))
    return _Value(message("not measured: no such fault; there were {names}", names=words.series(names)))


def _measured(threshold: RunThreshold, subject: Subject) -> _Value:
    if subject.drift is not None:
        return _drift(threshold, subject.drift)
    values = [_of_fault(threshold, report) for report in subject.faults]
    worst = _worst(threshold, values)
    if len(values) == 1 or worst.value is None or not math.isfinite(worst.value) or threshold.metric == "metastable":
        return worst
    says = message("{value}, the worst of {count} injections", value=worst.says, count=str(len(values)))
    return replace(worst, says=says)


def _worst(threshold: RunThreshold, values: Sequence[_Value]) -> _Value:
    """Return the value that decides: one that fails, then one that was not measured, then the worst."""
    sign = 1.0 if threshold.is_ceiling or threshold.comparison == "=" else -1.0
    known = sorted(
        (value for value in values if value.value is not None), key=lambda value: sign * (value.value or 0.0)
    )
    if known and not threshold.met_by(known[-1].value or 0.0):
        return known[-1]
    return next((value for value in values if value.value is None), None) or known[-1]


def _of_fault(threshold: RunThreshold, report: FaultReport) -> _Value:
    """Return the value of one injection."""
    if not report.confirmed:
        return _Value(message("not measured: the verdict is void, as the fault was not confirmed"))
    if report.baseline is None:
        return _Value(message("not measured: {reason}", reason=report.problem))
    if threshold.metric in ("recovery", "full_recovery", "outage"):
        return _recovery(threshold, report)
    value = getattr(report, threshold.metric)
    if value is None:
        return _unknown(threshold, report)
    return _Value(threshold.of_run.text(float(value)), float(value))


def _recovery(threshold: RunThreshold, report: FaultReport) -> _Value:
    recovery = report.full_recovery if threshold.metric == "full_recovery" else report.recovery
    if recovery.censored and threshold.metric == "full_recovery" and report.is_watched_briefly:
        return _Value(message("not measured: the load ended less than 60 s after the recovery"))
    if recovery.censored:
        observed = words.duration(report.observed or 0.0)
        return _Value(message("not recovered within {time}", time=observed), math.inf)
    if recovery.seconds is None:
        return _Value(message("not measured: too little was observed after the fault"))
    more = (report.fault.outage or 0.0) if threshold.metric == "outage" else 0.0
    seconds = recovery.seconds + more
    low, high = (end + more if end is not None else seconds for end in (recovery.low, recovery.high))
    if not high > low:
        return _Value(words.duration(seconds), seconds)
    says = message(
        "{value} (95 % interval {low} to {high})",
        value=words.duration(seconds),
        low=words.duration(low),
        high=words.duration(high),
    )
    return _Value(says, seconds, low, high)


def _unknown(threshold: RunThreshold, report: FaultReport) -> _Value:
    """Return the value of a metric that a judged fault does not have."""
    if threshold.metric in ("impact", "detect") and not threshold.is_ceiling:
        return _Value(message("users did not notice the fault"), math.inf)
    if threshold.metric in ("impact", "detect"):
        return _Value(message("not measured: users did not notice the fault"))
    if threshold.metric in ("first_success", "drain") and report.observed:
        return _Value(message("not within {time}", time=words.duration(report.observed)), math.inf)
    if threshold.metric == "metastable":
        return _Value(message("not decided: {reason}", reason=report.metastable_why))
    if threshold.metric == "amplification":
        return _Value(message("not measured: the clients did not retry"))
    return _Value(message("not measured: too little was observed after the fault"))


def _drift(threshold: RunThreshold, soak: SoakDrift) -> _Value:
    drift = soak.drifts.get(threshold.metric.removesuffix(".slope"))
    if drift is None:
        return _Value(message("not measured: too few values"))
    text = threshold.of_run.text
    says = message(
        "{value} (95 % interval {low} to {high})", value=text(drift.slope), low=text(drift.low), high=text(drift.high)
    )
    return _Value(says, drift.slope, drift.low, drift.high)


def _case(gate: Gate, subject: Subject, measured: _Value, failed: Sequence[Check]) -> Case:
    threshold = gate.threshold
    assert isinstance(threshold, RunThreshold)
    is_known = measured.value is not None
    tier = (GOLD if threshold.met_by(measured.value) else FAILS) if measured.value is not None else NOT_KNOWN
    passes = tier == GOLD or (not is_known and threshold.or_unmeasured)
    doubts = _doubts(subject, tier, failed) if is_known else ()
    is_noisy = measured.low < threshold.bound < measured.high
    texts = [
        measured.says,
        *([_WITHIN_NOISE] if is_noisy else []),
        *([_ACCEPTED] if passes and not is_known else []),
        *([failed_checks(doubts)] if doubts else []),
    ]
    return Case(
        gate,
        math.nan,
        "",
        status=DOUBTED if doubts else PASSED if passes else FAILED,
        says=clauses(texts),
        tier=tier,
        levels=tuple(level.level for level in subject.levels),
        value=math.nan if measured.value is None else measured.value,
        low=measured.low,
        high=measured.high,
        within_noise=is_noisy,
        doubts=doubts,
        subject=subject.name or (message("no soak") if threshold.of_run.is_drift else message("no fault")),
    )


_WITHIN_NOISE: Message = message("within noise of the threshold")
_ACCEPTED: Message = message("passes, because the gate ends with “or unmeasured”")


def _doubts(subject: Subject, tier: str, failed: Sequence[Check]) -> tuple[str, ...]:
    """Return the keys of the failed checks of the whole run, or of the levels of the subject."""
    levels = {level.level for level in subject.levels}
    keys = [
        check.key
        for check in failed
        if check.key not in _UNAFFECTED
        and not (tier == FAILS and check.key in NEVER_INVALIDATING)
        and (not check.levels or not levels.isdisjoint(check.levels))
    ]
    return tuple(dict.fromkeys(keys))
