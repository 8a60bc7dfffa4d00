"""The headline of a report: the verdict in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.breakpoints.cliffs import CliffKind
from llmlocust.analysis.breakpoints.steps import Finding, steps_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.phases.recovery import Recovery
from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.phases import Phases
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.sections import one_level
from llmlocust.report.sections.four_numbers import NUMBERS, place
from llmlocust.runfiles.reading.run_json import ended_by, mapping
from llmlocust.text import figures as words


def title(assessment: Assessment) -> str:
    """Return the model, or without it the name of the run, as a heading."""
    model = mapping(assessment.run.info.get("target")).get("model")
    return f"Load test of {model}" if model else f"Load test {assessment.run.prefix.name}"


def headline(assessment: Assessment) -> str:
    """Return the verdict in plain words, with a second sentence if the run was stopped early."""
    of_phases = _of_phases(assessment.phases)
    verdict = [_safe(assessment)] if assessment.climbs or not of_phases else []
    return " ".join([*verdict, *of_phases]) + _stopped(assessment)


def _of_phases(phases: Phases) -> list[str]:
    """Return the first sentence on each phase, and a sentence on each recovery."""
    first = [sentences[0] for sentences in phases.said if sentences]
    return [*first, *(_recovered(recovery) for recovery in phases.recoveries if recovery.is_known)]


def _recovered(recovery: Recovery) -> str:
    if recovery.seconds is None:
        return f"Not recovered within {words.duration(recovery.within)} after the {recovery.after}."
    if recovery.seconds == 0.0:
        return f"Recovered at once after the {recovery.after}."
    return f"Recovered {words.duration(recovery.seconds)} after the {recovery.after}."


def _safe(assessment: Assessment) -> str:
    verdict, unit = assessment.verdict, assessment.unit
    limit = verdict.slo_limit
    if verdict.windows:
        return verdict.windows
    if not limit.reached:
        return _met(assessment)
    bad = words.with_unit(limit.level_bad or 0.0, unit)
    if verdict.gone is not None and verdict.gone[0] == limit.level_bad:
        if limit.level_ok is None:
            was_reached = any(level.ok for level in assessment.levels)
            state = "The server became unreachable" if was_reached else "The server was never reachable"
            return f"{state}: {verdict.gone[1]}."
        ok = words.with_unit(limit.level_ok, unit)
        return f"Safe up to {ok}; then the server was unreachable: {verdict.gone[1]}."
    why = _why_it_breaks(verdict, limit)
    if assessment.only_level:
        return f"Not safe at {bad}: {why}."
    if limit.level_ok is None:
        return f"Not safe even at the lowest level, {bad}: {why}."
    between = f"{words.load(limit.level_ok)} and {words.load(limit.level_bad or 0.0)}"
    return f"Safe up to {words.with_unit(limit.level_ok, unit)}; breaks between {between}: {why}."


def _met(assessment: Assessment) -> str:
    """Return the headline of a run without a broken threshold: the thresholds that were met, and at which levels."""
    verdict, unit = assessment.verdict, assessment.unit
    steps = steps_of(assessment.ramp)
    judged = [level for step in steps for level in step.levels if level.level not in verdict.outages]
    known = [
        limit for limit in verdict.thresholds if any(assessment.meets(limit, level) is not None for level in judged)
    ]
    met = [level for level in judged if assessment.holds(level) == "holds" or _met_as_known(assessment, known, level)]
    if judged and {level.level for level in judged} <= verdict.empty:
        return "It is not known whether this load is safe: the answers contained no tokens."
    if not met:
        return "It is not known whether this load is safe: no level has the metrics of the thresholds."
    top = words.with_unit(max(level.load for level in met), unit)
    if len(steps) == 1 and verdict.derived:
        level = assessment.only_level
        return _of_one_level(level) if level else f"Only one load, {top}: it cannot be compared with another."
    outcome = "Met every threshold"
    if verdict.derived and not any(limit.is_duration for limit in known):
        outcome = f"Met the error threshold ({words.series([str(limit) for limit in known])}), with latency not known,"
    elif len(known) < len(verdict.thresholds):
        outcome = f"Met the thresholds that are known ({words.series([str(limit) for limit in known])})"
    where = "at all levels"
    if len(met) < len(judged):
        where = "at the levels where they are known"
    elif verdict.outages:
        where = "at the levels without an outage"
    elif _stopped(assessment) or any(level.lacks_requests for level in assessment.ramp):
        where = "at the levels measured"
    elif len(steps) == 1:
        where = "at the only level"
    breaks = _first_break(verdict)
    return f"{outcome} {where}, up to {top}; {breaks or 'the breaking point was not reached'}."


def _of_one_level(level: LevelFigures) -> str:
    """Return a sentence on the only level."""
    load = words.with_unit(level.load, level.unit)
    figures = [f"{words.digits(level.throughput)} requests/s"] if level.throughput > 0.0 else []
    if level.output_tokens_per_s > 0.0:
        figures.append(f"{words.digits(level.output_tokens_per_s)} tokens/s")
    metric = _headline_metric(level)
    if metric:
        what = "first token" if metric == "ttft" else "answered"
        figures.append(f"{what} within {one_level.of_summary(level.metric(metric), 'p95')} (p95)")
    return f"{load}: {', '.join([*figures, one_level.failed(level)])}."


def _headline_metric(level: LevelFigures) -> str:
    return next((each for each in ("ttft", "e2e") if not math.isnan(level.metric(each)["p95"])), "")


def _met_as_known(assessment: Assessment, known: Sequence[Threshold], figures: LevelFigures) -> bool:
    """Whether a level meets all thresholds that are known at any level."""
    return (
        bool(known)
        and figures.level not in assessment.verdict.empty
        and all(assessment.meets(limit, figures) is not None for limit in known)
    )


def _stopped(assessment: Assessment) -> str:
    """Return a sentence to append if the run was stopped early; otherwise an empty string."""
    check = next((each for each in assessment.checks if each.key == "run_completed" and not each.ok), None)
    if check is None:
        return ""
    over = assessment.run.info.get("ended") is not None
    sentence = "The run was stopped early" if over else "The run was cut off, or is still running"
    if gate := ended_by(assessment.run.info):
        sentence = f"The run was ended by its gate {gate}"
    if check.limit is None or (check.value or 0) >= check.limit:
        return f" {sentence}."
    return f" {sentence}, after {check.value:.0f} of {check.limit:.0f} {check.unit or 'levels'}."


_CLIFFS = {
    CliffKind.QUEUE: "requests queue",
    CliffKind.SLOWER: "answers get slower",
    CliffKind.WAIT: "requests wait before their first token",
}
"""The words of the headline, for the kinds of cliffs that it mentions."""


def _why_it_breaks(verdict: Verdict, limit: Finding) -> str:
    cause = limit.cause or limit.why
    for cliff in verdict.cliffs:
        if cliff.between == (limit.level_ok, limit.level_bad) and cliff.kind in _CLIFFS:
            return f"{_CLIFFS[cliff.kind]} ({cause})"
    return cause


def _first_break(verdict: Verdict) -> str:
    for name in ("saturation", "collapse"):
        finding = verdict.numbers()[name]
        if finding.reached:
            return f"but {NUMBERS[name].lower()} is {place(finding, verdict.unit)}"
    return ""
