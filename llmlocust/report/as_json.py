"""A report as JSON, with a stable structure. Durations are milliseconds; null means not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmlocust.analysis.breakpoints.steps import Finding
from llmlocust.analysis.causes.cause import Cause
from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.drift.drift import Drift
from llmlocust.analysis.drift.soak import SoakDrift
from llmlocust.analysis.faults.fault_json import fault_data
from llmlocust.analysis.phases.bursts import Burst
from llmlocust.analysis.phases.recovery import Recovery
from llmlocust.analysis.quality import KINDS
from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.faults import Faults
from llmlocust.assessment.phases import IN_PHASES, Phases
from llmlocust.assessment.plans import plan_of_report
from llmlocust.metrics.levels import HEADLINE, LevelFigures, Summary
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.telemetry import VOCABULARY, TelemetrySummary
from llmlocust.metrics.thresholds import NOT_KNOWN
from llmlocust.report.sections.headline import headline
from llmlocust.report.sections.one_level import STATISTICS
from llmlocust.report.sections.planning import plan_data
from llmlocust.report.sections.telemetry import is_observed, start_of
from llmlocust.runfiles.formats import FORMAT
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import number, or_nan
from llmlocust.text import figures as words
from llmlocust.text import media

_METRICS = tuple(key for key, metric in METRICS.items() if metric.is_counted and metric.in_json)


def as_json(assessment: Assessment) -> str:
    return media.as_json(data(assessment))


def data(assessment: Assessment) -> dict[str, Any]:
    """The report as plain values."""
    observed, plan = is_observed(assessment.run), plan_of_report(assessment)
    return {
        "format": FORMAT,
        "load": assessment.unit,
        "levels": [
            _level(level, assessment.goodput)
            | {"limits": _limits(assessment, level), "telemetry": _reported(level) if observed else None}
            for level in assessment.levels
        ],
        "phases": _phases(assessment.phases),
        "recoveries": [_recovery(recovery) for recovery in assessment.phases.recoveries],
        "faults": _faults(assessment.faults, assessment.run),
        "drift": [_drift(soak) for soak in assessment.soaks.drifts],
        "verdict": verdict_data(assessment),
        "validity": {
            "ok": assessment.is_valid,
            "valid_numbers": assessment.valid_numbers,
            "checks": [_check(check) for check in assessment.checks],
        },
        "advice": [{"do": advice.do, "because": advice.because} for advice in assessment.advice],
        "plan": None if plan is None else plan_data(plan),
        "telemetry": _telemetry(assessment.run),
        "source": assessment.run.source,
        "unknown": list(assessment.unknown),
        "notes": assessment.run.notes,
    }


def verdict_data(assessment: Assessment) -> dict[str, Any]:
    """The four numbers and the headline, as `data` has them."""
    causes = assessment.causes
    verdict: dict[str, Any] = {
        name: _finding(finding) | {"cause": _cause(causes[name])}
        for name, finding in assessment.verdict.numbers().items()
    }
    verdict["cliffs"] = [
        {
            "between": [plain(load) for load in cliff.between],
            "kind": cliff.kind,
            "what": cliff.what,
            "why": cliff.why,
            "cause": _cause(cause),
        }
        for cliff, cause in zip(assessment.verdict.cliffs, causes.cliffs, strict=True)
    ]
    verdict["thresholds"] = [str(threshold) for threshold in assessment.verdict.thresholds]
    verdict["derived"] = assessment.verdict.derived
    if assessment.verdict.gold is not None:
        verdict["gold"] = _finding(assessment.verdict.gold)
    return verdict | {"says": headline(assessment)}


def _phases(phases: Phases) -> list[dict[str, Any]]:
    return [
        {
            "name": phase.name,
            "levels": [level.level for level in phase.levels],
            "loads": [plain(level.load) for level in phase.levels],
            "seconds": plain(phase.seconds),
            "requests": phase.whole.requests,
            "errors": plain(phase.whole.errors),
            "throughput": plain(phase.whole.throughput),
            "goodput": plain(phase.a_second(phases.goodput)),
            "output_tokens_per_s": plain(
                phase.a_second({level.level: level.output_tokens_per_s for level in phase.levels})
            ),
            **{f"{metric}_p95": plain(phases.p95(phase, metric) * 1000.0) for metric in IN_PHASES},
            "burst": _burst(phases.bursts.get(place)),
            "says": list(sentences),
        }
        for place, (phase, sentences) in enumerate(zip(phases.phases, phases.sentences, strict=True))
    ]


def _burst(burst: Burst | None) -> dict[str, Any] | None:
    """The response to a spike or a surge; None for other phases. Its times are in milliseconds."""
    if burst is None:
        return None
    steady = None if burst.steady_after is None else plain(burst.steady_after * 1000.0)
    return {
        "overshoot": plain(burst.overshoot),
        "caught_up_after": None if burst.caught_up_after is None else plain(burst.caught_up_after * 1000.0),
        "steady_after": steady,
        "is_steady": burst.steady_after is not None if burst.is_steadiness_known else None,
        "goodput_kept": plain(burst.goodput_kept),
        "shed": burst.shed,
        "dropped": burst.dropped,
        "says": burst.says,
    }


def _recovery(recovery: Recovery) -> dict[str, Any]:
    times = ("limit", "seconds", "low", "high", "within")
    durations = {name: None if (value := getattr(recovery, name)) is None else plain(value * 1000.0) for name in times}
    recovered = recovery.seconds is not None if recovery.is_known else None
    return {
        "after": recovery.after,
        "load": plain(recovery.load),
        "well": recovered,
        **durations,
        "says": str(recovery),
    }


def _faults(faults: Faults, run: RunData) -> list[dict[str, Any]]:
    """The injections of faults in the order of time. Moments are seconds since the run began, durations are seconds."""
    began = or_nan(number(run.info.get("started")))
    began = start_of(run) if math.isnan(began) else began
    values = []
    for report in faults.reports if faults else ():
        place, count = faults.place_of(report)
        fault, load = report.fault, faults.load_of(report)
        values.append(
            fault_data(report, began)
            | {
                "id": fault.id,
                "action": fault.action,
                "evidence": fault.evidence,
                "problem": fault.problem or report.problem or None,
                "injection": place,
                "injections": count,
                "load": None if load is None or load.is_replay else plain(load.levels[0].load),
                "levels": [] if load is None else [level.level for level in load.levels],
            }
        )
    return values


def _drift(soak: SoakDrift) -> dict[str, Any]:
    """The drifts of a level that was held for long. Latencies are seconds, memory is bytes."""
    return {
        "level": soak.level.level,
        "phase": soak.level.phase or None,
        "load": plain(soak.level.load),
        "seconds": plain(soak.level.window),
        "restarts": soak.restarts if soak.is_observed else None,
        "figures": {key: _drift_of(soak, key, drift) for key, drift in soak.drifts.items()},
        "says": soak.says,
    }


def _drift_of(soak: SoakDrift, key: str, drift: Drift) -> dict[str, Any]:
    hours = soak.hours_to_limit(key)
    return {
        "per": drift.per,
        "unit": drift.unit,
        **{name: plain(getattr(drift, name)) for name in ("slope", "low", "high", "smallest", "now")},
        "is_drifting": drift.is_drifting,
        "slows_down": drift.slows_down,
        "limit": plain(soak.limits.get(key)),
        "hours_to_limit": None if hours is None else [plain(end) for end in hours],
    }


def _limits(assessment: Assessment, figures: LevelFigures) -> str:
    tier = assessment.tier(figures)
    return NOT_KNOWN if tier == words.UNKNOWN else tier


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "status": finding.status,
        "reached": finding.reached,
        "load": plain(finding.load, 4),
        "low": plain(finding.low),
        "high": plain(finding.high),
        "level_ok": plain(finding.level_ok),
        "level_bad": plain(finding.level_bad),
        "why": finding.why,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "key": cause.key,
        "degree": cause.degree,
        "says": cause.says,
        "evidence": [
            {"source": evidence.source, "metric": evidence.metric, "says": evidence.says} for evidence in cause.evidence
        ],
        "excluded": [{"key": excluded.key, "says": excluded.says} for excluded in cause.excluded],
    }


def _level(figures: LevelFigures, goodput: Mapping[int, float]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "load": plain(figures.load),
        "users": plain(figures.users),
        "reached": figures.reached,
        "window": plain(figures.window * 1000.0),
        "requests": figures.requests if figures.counted else None,
        "ok": figures.ok if figures.counted else None,
        "aborted": figures.aborted,
        "unsent": figures.unsent,
        "attempts": figures.attempts if figures.counted else None,
        "retried": dict(figures.retried),
        "due": figures.due,
        "dropped": figures.dropped,
        "backing_off": plain(figures.backing_off),
        "errors": plain(figures.errors),
        "error_kinds": dict(figures.error_kinds) if figures.counted else {},
        "throughput": plain(figures.throughput),
        "goodput": plain(goodput.get(figures.level)),
        "output_tokens_per_s": plain(figures.output_tokens_per_s),
        "judged": figures.judged,
        **{kind: plain(getattr(figures, kind)) for kind in KINDS},
    }
    if figures.phase:
        values["phase"] = figures.phase
    if figures.fault:
        values["fault"] = figures.fault
    if figures.inputs_per_s > 0:
        values |= {name: plain(getattr(figures, name)) for name in ("inputs_per_s", "input_tokens_per_s")}
    durations = {
        metric: {name: plain(figures.metric(metric)[name] * 1000.0) for name in STATISTICS}
        | _ranges(figures.metric(metric))
        for metric in _METRICS
    }
    return values | durations


def _ranges(summary: Summary) -> dict[str, Any]:
    """Ranges of the percentiles at a level where the load generator was late, in milliseconds; otherwise empty."""
    ranges = {
        name: [plain(end * 1000.0) for end in summary.ranges[name]] for name in HEADLINE if name in summary.ranges
    }
    return {"ranges": ranges} if ranges else {}


def _telemetry(run: RunData) -> dict[str, Any] | None:
    """The sources and events of telemetry; None if nothing was observed."""
    if not is_observed(run):
        return None
    return {
        "sources": [
            {
                "name": source.name,
                "url": source.url,
                "engine": source.engine,
                "state": source.state,
                "says": source.says,
            }
            for source in run.sources
        ],
        "events": [
            {
                "time": plain(event.time, 13),
                "kind": event.kind,
                "source": event.source,
                "seconds": plain(event.seconds),
                "says": event.says,
            }
            for event in run.events
        ],
    }


def _reported(level: LevelFigures) -> dict[str, Any]:
    """The telemetry of a level, by key of the vocabulary: None for a metric that is not exposed. Durations are
    milliseconds, shares 0 to 1; the mean of a counter is its increase per second.
    """
    return {key: _reported_metric(key, level.reported(key)) for key in VOCABULARY}


def _reported_metric(key: str, summary: TelemetrySummary | None) -> dict[str, Any] | None:
    if summary is None:
        return None
    scale = 1000.0 if VOCABULARY[key].unit == "s" else 1.0
    values: dict[str, Any] = {name: plain(summary[name] * scale) for name in ("mean", "min", "max", "p50", "p95")}
    if not math.isnan(summary.increase):
        values["increase"] = plain(summary.increase)
    for name in ("increase_bounds", "p50_bounds", "p95_bounds"):
        if (bounds := getattr(summary, name)) is not None:
            values[name] = [plain(end * scale) for end in bounds]
    return values


def _check(check: Check) -> dict[str, Any]:
    scale = 1000.0 if check.unit == "s" else 1.0
    value, limit = (None if number is None else plain(number * scale) for number in (check.value, check.limit))
    return {
        "key": check.key,
        "name": check.name,
        "ok": check.ok,
        "value": value,
        "limit": limit,
        "says": check.says,
        "levels": list(check.levels),
    }


def plain(value: float | None, digits: int = 7) -> float | int | None:
    """A number for JSON, rounded to `digits`: null if it is not known or infinite, an integer if it is whole."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short
