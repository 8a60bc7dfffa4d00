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
    """The model, or else the run, as a heading."""
    model = mapping(assessment.run.info.get("target")).get("model")
    return f"Load test of {model}" if model else f"Load test {assessment.run.prefix.name}"


def headline(assessment: Assessment) -> str:
    """The verdict in a sentence that everybody understands; a second one where the run was stopped early."""
    of_parts = _of_parts(assessment.phases)
    said = [_safe(assessment)] if assessment.climbs or not of_parts else []
    return " ".join([*said, *of_parts]) + _stopped(assessment)


def _of_parts(told: Phases) -> list[str]:
    """The shortest that can be said of the phases that are no ramp."""
    kept = [said[0] for said in told.said if said]
    return [*kept, *(_recovered(recovery) for recovery in told.recoveries if recovery.is_known)]


def _recovered(recovery: Recovery) -> str:
    if recovery.seconds is None:
        return f"Not well again within {words.duration(recovery.within)} after the {recovery.after}."
    if recovery.seconds == 0.0:
        return f"Well at once after the {recovery.after}."
    return f"Well again {words.duration(recovery.seconds)} after the {recovery.after}."


def _safe(assessment: Assessment) -> str:
    verdict, unit = assessment.verdict, assessment.unit
    limit = verdict.slo_limit
    if verdict.windows:
        return verdict.windows
    if not limit.reached:
        return _held(assessment)
    bad = words.with_unit(limit.level_bad or 0.0, unit)
    if verdict.gone is not None and verdict.gone[0] == limit.level_bad:
        if limit.level_ok is None:
            what = "The server was gone" if any(each.ok for each in assessment.levels) else "There was no server"
            return f"{what}: {verdict.gone[1]}."
        ok = words.with_unit(limit.level_ok, unit)
        return f"Safe up to {ok}; then the server was gone: {verdict.gone[1]}."
    why = _why_it_breaks(verdict, limit)
    if assessment.only_level:
        return f"Not safe at {bad}: {why}."
    if limit.level_ok is None:
        return f"Not safe even at the lowest level, {bad}: {why}."
    between = f"{words.load(limit.level_ok)} and {words.load(limit.level_bad or 0.0)}"
    return f"Safe up to {words.with_unit(limit.level_ok, unit)}; breaks between {between}: {why}."


def _held(assessment: Assessment) -> str:
    """Nothing broke: what held, and at which levels that is known."""
    verdict, unit = assessment.verdict, assessment.unit
    steps = steps_of(assessment.ramp)
    judged = [each for step in steps for each in step.levels if each.level not in verdict.outages]
    told = [each for each in verdict.thresholds if any(assessment.meets(each, level) is not None for level in judged)]
    held = [each for each in judged if assessment.holds(each) == "holds" or _held_so_far(assessment, told, each)]
    if judged and {each.level for each in judged} <= verdict.empty:
        return "Whether it is safe cannot be told: no token of the answers was seen."
    if not held:
        return "Whether it is safe cannot be told from these figures: no level has what the limits speak of."
    top = words.with_unit(max(each.load for each in held), unit)
    if len(steps) == 1 and verdict.derived:
        level = assessment.only_level
        return _of_one_level(level) if level else f"Only {top}: nothing to compare them with."
    what = "Held every limit"
    if verdict.derived and not any(each.is_duration for each in told):
        what = f"Errors held their limit ({words.series([str(each) for each in told])}), latency is not known,"
    elif len(told) < len(verdict.thresholds):
        what = f"Held what is known of the limits ({words.series([str(each) for each in told])})"
    where = "at all levels"
    if len(held) < len(judged):
        where = "at the levels where they are known"
    elif verdict.outages:
        where = "at the levels without an outage"
    elif _stopped(assessment) or any(each.lacks_requests for each in assessment.ramp):
        where = "at the levels measured"
    elif len(steps) == 1:
        where = "at the one level"
    breaks = _first_break(verdict)
    return f"{what} {where}, up to {top}; {breaks or 'where it breaks was not reached'}."


def _of_one_level(level: LevelFigures) -> str:
    """The only level in a sentence."""
    who = words.with_unit(level.load, level.unit)
    phases = [f"{words.digits(level.throughput)} requests/s"] if level.throughput > 0.0 else []
    if level.output_tokens_per_s > 0.0:
        phases.append(f"{words.digits(level.output_tokens_per_s)} tokens/s")
    metric = _headline_metric(level)
    if metric:
        what = "first token" if metric == "ttft" else "answered"
        phases.append(f"{what} within {one_level.of_summary(level.metric(metric), 'p95')} (p95)")
    return f"{who}: {', '.join([*phases, one_level.failed(level)])}."


def _headline_metric(level: LevelFigures) -> str:
    return next((each for each in ("ttft", "e2e") if not math.isnan(level.metric(each)["p95"])), "")


def _held_so_far(assessment: Assessment, told: Sequence[Threshold], figures: LevelFigures) -> bool:
    """Whether a level holds whatever any level tells of the limits."""
    return (
        bool(told)
        and figures.level not in assessment.verdict.empty
        and all(assessment.meets(each, figures) is not None for each in told)
    )


def _stopped(assessment: Assessment) -> str:
    """That the run was stopped early, as a sentence to add; nothing where it was not."""
    check = next((each for each in assessment.checks if each.key == "run_completed" and not each.ok), None)
    if check is None:
        return ""
    over = assessment.run.info.get("ended") is not None
    said = "The run was stopped early" if over else "The run was cut off, or still goes on"
    if gate := ended_by(assessment.run.info):
        said = f"The run was ended by its gate {gate}"
    if check.limit is None or (check.value or 0) >= check.limit:
        return f" {said}."
    return f" {said}, after {check.value:.0f} of {check.limit:.0f} {check.unit or 'levels'}."


_CLIFFS = {
    CliffKind.QUEUE: "requests queue",
    CliffKind.SLOWER: "answers get slower",
    CliffKind.WAIT: "requests wait before their first token",
}
"""The words of a headline, for the kinds of cliffs that it mentions."""


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
            return f"yet {NUMBERS[name].lower()} is {place(finding, verdict.unit)}"
    return ""
