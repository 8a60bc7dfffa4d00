"""A report in about five lines, for a terminal."""

from __future__ import annotations

from llmlocust.analysis.breakpoints.steps import Finding
from llmlocust.assessment.assessment import Assessment
from llmlocust.report.sections import one_level, phases
from llmlocust.report.sections.four_numbers import NUMBERS, place
from llmlocust.report.sections.headline import headline
from llmlocust.report.sections.validity import validity_line


def summary(assessment: Assessment) -> list[str]:
    """Return the verdict in about five lines, for a terminal."""
    lines = [headline(assessment)]
    if assessment.only_level:
        return [*lines, *one_level.lines(assessment.only_level), f"{'Validity:':<21} {validity_line(assessment)}"]
    for name in ("saturation", "knee", "collapse") if assessment.climbs else ():
        finding = assessment.verdict.numbers()[name]
        lines.append(f"{NUMBERS[name] + ':':<10} {place(finding, assessment.unit)}" + _because(finding))
    lines += [
        f"{phase.name + ':':<10} {phases.brief(phase, assessment.phases, assessment.unit)}"
        for phase in assessment.phases.phases
    ]
    lines.append(f"{'Validity:':<10} {validity_line(assessment)}")
    return lines


def _because(finding: Finding) -> str:
    return f" – {finding.why}" if finding.reached else ""
