"""The headline of a report: the verdict in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.breakpoints.cliffs import CliffKind
from llmlocust.analysis.breakpoints.steps import Finding, steps_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.phases.phases import undisturbed
from llmlocust.analysis.phases.recovery import Recovery
from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.phases import Phases
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import PASSES, Threshold
from llmlocust.report.sections import faults, one_level
from llmlocust.report.sections.four_numbers import IN_SENTENCES, place
from llmlocust.runfiles.reading.run_json import ended_by, mapping
from llmlocust.text import figures as words
from llmlocust.text.message import Message, enumeration, message, sentences, term


def title(assessment: Assessment) -> Message:
    """Return the model, or without it the name of the run, as a heading."""
    model = mapping(assessment.run.info.get("target")).get("model")
    if model:
        return message("Load test of {model}", model=model)
    return message("Load test {run}", run=assessment.run.prefix.name)


def headline(assessment: Assessment) -> str:
    """Return the verdict in plain words, with a last sentence if the run was stopped early."""
    of_phases, of_faults = _of_phases(assessment.phases), faults.headlines(assessment)
    verdict = [_safe(assessment)] if assessment.climbs or not of_phases else []
    if of_faults and not undisturbed(assessment.levels):  # nothing else was measured
        verdict = []
    return sentences([*verdict, *of_phases, *of_faults, *_stopped(assessment)])


def _of_phases(phases: Phases) -> list[str]:
    """Return the first sentence on each phase, and a sentence on each recovery."""
    first = [of_phase[0] for of_phase in phases.sentences if of_phase]
    return [*first, *(_recovered(recovery) for recovery in phases.recoveries if recovery.is_known)]


def _recovered(recovery: Recovery) -> Message:
    phase = term(recovery.after)
    if recovery.seconds is None:
        within = words.duration(recovery.within)
        return message("Not recovered within {time} after the {phase}.", time=within, phase=phase)
    if recovery.seconds == 0.0:
        return message("Recovered at once after the {phase}.", phase=phase)
    return message("Recovered {time} after the {phase}.", time=words.duration(recovery.seconds), phase=phase)


def _safe(assessment: Assessment) -> str:
    verdict, unit = assessment.verdict, assessment.unit
    limit = verdict.slo_limit
    if verdict.windows:
        return verdict.windows
    if not limit.reached:
        return _met(assessment)
    if verdict.unreachable is not None and verdict.unreachable[0] == limit.level_bad:
        return _unreachable(assessment, verdict.unreachable[1])
    bad = words.with_unit(limit.level_bad or 0.0, unit)
    why = _why_it_breaks(verdict, limit)
    if assessment.only_level:
        return message("Not safe at {load}: {why}.", load=bad, why=why)
    if limit.level_ok is None:
        return message("Not safe even at the lowest level, {load}: {why}.", load=bad, why=why)
    return message(
        "Safe up to {load}; breaks between {low} and {high}: {why}.",
        load=words.with_unit(limit.level_ok, unit),
        low=words.load(limit.level_ok),
        high=words.load(limit.level_bad or 0.0),
        why=why,
    )


def _unreachable(assessment: Assessment, loss: Message) -> Message:
    """Return the headline of a run whose server was unreachable at the first level that is not safe."""
    safe = assessment.verdict.slo_limit.level_ok
    if safe is not None:
        load = words.with_unit(safe, assessment.unit)
        return message("Safe up to {load}; then the server was unreachable: {loss}.", load=load, loss=loss)
    if any(level.ok for level in assessment.levels):
        return message("The server became unreachable: {loss}.", loss=loss)
    return message("The server was never reachable: {loss}.", loss=loss)


def _met(assessment: Assessment) -> Message:
    """Return the headline of a run without a broken threshold: the thresholds that were met, and at which levels."""
    verdict, unit = assessment.verdict, assessment.unit
    steps = steps_of(assessment.ramp)
    judged = [level for step in steps for level in step.levels if level.level not in verdict.outages]
    known = [
        limit for limit in verdict.thresholds if any(assessment.meets(limit, level) is not None for level in judged)
    ]
    met = [level for level in judged if assessment.result(level) == PASSES or _met_as_known(assessment, known, level)]
    if judged and {level.level for level in judged} <= verdict.empty:
        return message("It is not known whether this load is safe: the answers contained no tokens.")
    if not met:
        return message("It is not known whether this load is safe: no level has the metrics of the thresholds.")
    top = words.with_unit(max(level.load for level in met), unit)
    if len(steps) == 1 and verdict.derived:
        level = assessment.only_level
        if level:
            return _of_one_level(level)
        return message("Only one load, {load}: it cannot be compared with another.", load=top)
    where = _where_met(assessment, all_met=len(met) == len(judged), is_one=len(steps) == 1)
    return message(
        "{outcome} {where}, up to {top}; {breaking_point}.",
        outcome=_outcome(verdict, known),
        where=where,
        top=top,
        breaking_point=_first_break(verdict) or message("the breaking point was not reached"),
    )


def _outcome(verdict: Verdict, known: Sequence[Threshold]) -> Message:
    """Return which thresholds were met. `known`: the thresholds that are known at some level."""
    named = words.series([str(limit) for limit in known])
    if verdict.derived and not any(limit.is_duration for limit in known):
        return message("Met the error threshold ({thresholds}), with latency not known,", thresholds=named)
    if len(known) < len(verdict.thresholds):
        return message("Met the thresholds that are known ({thresholds})", thresholds=named)
    return message("Met every threshold")


def _where_met(assessment: Assessment, *, all_met: bool, is_one: bool) -> Message:
    """Return the levels at which thresholds were met. `is_one`: the run has one load."""
    if not all_met:
        return message("at the levels where they are known")
    if assessment.verdict.outages:
        return message("at the levels without an outage")
    if _stopped(assessment) or any(level.lacks_requests for level in assessment.ramp):
        return message("at the levels measured")
    return message("at the only level") if is_one else message("at all levels")


def _of_one_level(level: LevelFigures) -> Message:
    """Return a sentence on the only level."""
    figures = []
    if level.throughput > 0.0:
        figures.append(message("{rate} requests/s", rate=words.digits(level.throughput)))
    if level.output_tokens_per_s > 0.0:
        figures.append(message("{rate} tokens/s", rate=words.digits(level.output_tokens_per_s)))
    if not math.isnan(level.metric("ttft")["p95"]):
        p95 = one_level.of_summary(level.metric("ttft"), "p95")
        figures.append(message("first token within {time} (p95)", time=p95))
    elif not math.isnan(level.metric("e2e")["p95"]):
        p95 = one_level.of_summary(level.metric("e2e"), "p95")
        figures.append(message("answered within {time} (p95)", time=p95))
    load, listed = words.with_unit(level.load, level.unit), enumeration([*figures, one_level.failed(level)])
    if level.fault:
        return message("{load}, before the fault: {figures}.", load=load, figures=listed)
    return message("{load}: {figures}.", load=load, figures=listed)


def _met_as_known(assessment: Assessment, known: Sequence[Threshold], figures: LevelFigures) -> bool:
    """Whether a level meets all thresholds that are known at any level."""
    return (
        bool(known)
        and figures.level not in assessment.verdict.empty
        and all(assessment.meets(limit, figures) is not None for limit in known)
    )


def _stopped(assessment: Assessment) -> list[Message]:
    """Return a sentence if the run was stopped early; otherwise none."""
    check = next((check for check in assessment.checks if check.key == "run_completed" and not check.ok), None)
    if check is None:
        return []
    end = message("The run was cut off, or is still running")
    if gate := ended_by(assessment.run.info):
        end = message("The run was ended by its gate {gate}", gate=gate)
    elif assessment.run.info.get("ended") is not None:
        end = message("The run was stopped early")
    if check.limit is None or (check.value or 0) >= check.limit:
        return [words.sentence(end)]
    count, total = f"{check.value:.0f}", f"{check.limit:.0f}"
    if check.unit == "requests":
        return [message("{end}, after {count} of {total} requests.", end=end, count=count, total=total)]
    return [message("{end}, after {count} of {total} levels.", end=end, count=count, total=total)]


_CLIFFS = {
    CliffKind.QUEUE: term("requests queue"),
    CliffKind.SLOWER: term("answers get slower"),
    CliffKind.WAIT: term("requests wait before their first token"),
}
"""The words of the headline, for the kinds of cliffs that it mentions."""


def _why_it_breaks(verdict: Verdict, limit: Finding) -> str:
    cause = limit.cause or limit.why
    for cliff in verdict.cliffs:
        if cliff.between == (limit.level_ok, limit.level_bad) and cliff.kind in _CLIFFS:
            return message("{problem} ({cause})", problem=_CLIFFS[cliff.kind], cause=cause)
    return cause


def _first_break(verdict: Verdict) -> str:
    """Return the saturation, or without it the collapse, if the run reached one; otherwise an empty string."""
    for name in ("saturation", "collapse"):
        finding = verdict.numbers()[name]
        if finding.reached:
            return message("but {number} is {place}", number=IN_SENTENCES[name], place=place(finding, verdict.unit))
    return ""
