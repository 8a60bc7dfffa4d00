"""The validity of a measurement, in words."""

from __future__ import annotations

from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.checks.validity import valid_numbers
from llmlocust.assessment.assessment import Assessment
from llmlocust.report.sections.four_numbers import IN_SENTENCES
from llmlocust.report.sections.phases import name_in_words
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term


def validity_line(assessment: Assessment) -> str:
    """Return the validity in a sentence or two: the number of checks that passed or failed, and what the failed affect."""
    failed = [check for check in assessment.checks if not check.ok]
    total = len(assessment.checks)
    if failed:
        names = words.series([check.name for check in failed])
        summary = message("{count} of {total} checks failed: {checks}.", count=len(failed), total=total, checks=names)
        return summary if assessment.verdict.windows else sentences([summary, *_affected(assessment)])
    if any(check.key == "client_cpu" for check in assessment.checks):
        return message("Measurement valid: {count} of {total} checks passed.", count=total, total=total)
    return message(
        "Measurement valid: {count} of {total} checks passed, but it is not known whether the load generator kept up.",
        count=total,
        total=total,
    )


def _affected(assessment: Assessment) -> list[Message]:
    """Return a sentence on which of the four numbers the failed checks affect; without a ramp, on which phases."""
    if assessment.only_level:
        return [message("This affects the only level.")] if assessment.doubted else []
    if not assessment.climbs:
        return [_affected_phases(assessment)]
    validity = assessment.valid_numbers
    affected = [IN_SENTENCES[key] for key, is_valid in validity.items() if not is_valid]
    valid = [IN_SENTENCES[key] for key, is_valid in validity.items() if is_valid]
    if not valid:
        return [message("This affects all four numbers.")]
    if not affected:
        return [message("This affects none of the four numbers.")]
    numbers, others = words.series(affected), words.series(valid)
    return [message("This affects {numbers}, but not {others}.", numbers=numbers, others=others)]


def _affected_phases(assessment: Assessment) -> Message:
    """Return a sentence on which phases of the plan the failed checks affect."""
    levels = {phase.name: {level.level for level in phase.levels} for phase in assessment.phases.phases}
    affected = [name for name, is_valid in valid_numbers(assessment.checks, levels).items() if not is_valid]
    if not affected:
        return message("This affects no measured level.")
    return message("This affects {phases}.", phases=words.series([name_in_words(name) for name in affected]))


MARKS = {"✓": term("passed"), "✗": term("failed"), "•": term("to note")}


def mark(check: Check) -> str:
    """Return ✗ for a check that failed, • for a check that passed but marks levels, ✓ for the others."""
    return "✗" if not check.ok else "•" if check.levels else "✓"
