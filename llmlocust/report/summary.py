"""A report in about five lines, for a terminal."""

from __future__ import annotations

from llmlocust.analysis.breakpoints.steps import Finding
from llmlocust.assessment.assessment import Assessment
from llmlocust.report.sections import faults, one_level, phases, telemetry
from llmlocust.report.sections.four_numbers import NUMBERS, place
from llmlocust.report.sections.headline import headline
from llmlocust.report.sections.validity import validity_line


def summary(assessment: Assessment) -> list[str]:
    """Return the verdict in about five lines, for a terminal."""
    lines = [headline(assessment)]
    if assessment.only_level:
        lines += [*one_level.lines(assessment.only_level), *_server(assessment, 21), *_faults(assessment, 21)]
        return [*lines, f"{'Validity:':<21} {validity_line(assessment)}"]
    for name in ("saturation", "knee", "collapse") if assessment.climbs else ():
        finding = assessment.verdict.numbers()[name]
        lines.append(f"{NUMBERS[name] + ':':<10} {place(finding, assessment.unit)}" + _because(finding))
    lines += [
        f"{phase.name + ':':<10} {phases.brief(phase, assessment.phases, assessment.unit)}"
        for phase in assessment.phases.phases
    ]
    lines += [*_server(assessment, 10), *_faults(assessment, 10)]
    lines.append(f"{'Validity:':<10} {validity_line(assessment)}")
    return lines


def _faults(assessment: Assessment, width: int) -> list[str]:
    """Return a line on each fault, and on each drift of a soak."""
    lines = [f"{'Fault:':<{width}} {faults.result(fault)}" for fault in assessment.faults.repeats]
    drifts = [f"{'Drift:':<{width}} {drift.says}" for soak in assessment.soaks.drifts for drift in soak.drifts.values()]
    return [*lines, *drifts]


def _server(assessment: Assessment, width: int) -> list[str]:
    """Return a line on what the server reported, if it was observed."""
    line = telemetry.brief(assessment)
    return [f"{'Server:':<{width}} {line}"] if line else []


def _because(finding: Finding) -> str:
    return f" – {finding.why}" if finding.reached else ""
