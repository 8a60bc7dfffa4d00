"""The validity of a measurement, in words."""

from __future__ import annotations

from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.checks.validity import standing
from llmlocust.assessment.assessment import Assessment
from llmlocust.text import figures as words


def validity_line(assessment: Assessment) -> str:
    """Return the validity in a sentence or two: the number of checks that passed or failed, and what the failed affect."""
    failed = [check for check in assessment.checks if not check.ok]
    total = len(assessment.checks)
    if not failed:
        valid = f"Measurement valid: {total} of {total} checks passed"
        if not any(check.key == "client_cpu" for check in assessment.checks):
            return f"{valid}, but it is not known whether the load generator kept up."
        return f"{valid}."
    names = words.series([check.name for check in failed])
    sentence = f"{len(failed)} of {total} checks failed: {names}."
    return sentence if assessment.verdict.windows else f"{sentence} {_affected(assessment)}".rstrip()


def _affected(assessment: Assessment) -> str:
    """Return which of the four numbers the failed checks affect; without a ramp, which phases."""
    if assessment.only_level:
        return "This affects the only level." if assessment.doubted else ""
    if not assessment.climbs:
        return _affected_phases(assessment)
    names = {"slo_limit": "the SLO limit", "knee": "the knee", "saturation": "saturation", "collapse": "collapse"}
    validity = assessment.stands
    affected = [names[key] for key, is_valid in validity.items() if not is_valid]
    valid = [names[key] for key, is_valid in validity.items() if is_valid]
    if not valid:
        return "This affects all four numbers."
    if not affected:
        return "This affects none of the four numbers."
    return f"This affects {words.series(affected)}, but not {words.series(valid)}."


def _affected_phases(assessment: Assessment) -> str:
    """Return which phases of the plan the failed checks affect."""
    levels = {phase.name: {level.level for level in phase.levels} for phase in assessment.phases.phases}
    affected = [name for name, is_valid in standing(assessment.checks, levels).items() if not is_valid]
    return f"This affects {words.series(affected)}." if affected else "This affects no measured level."


MARKS = {"✓": "passed", "✗": "failed", "•": "to note"}


def mark(check: Check) -> str:
    """Return ✗ for a check that failed, • for a check that passed but marks levels, ✓ for the others."""
    return "✗" if not check.ok else "•" if check.levels else "✓"
