"""Whether a run can be believed: the checks in words."""

from __future__ import annotations

from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.checks.validity import standing
from llmlocust.assessment.assessment import Assessment
from llmlocust.text import figures as words


def validity_line(assessment: Assessment) -> str:
    """Whether the run can be believed, in a sentence; of what failed, what it leaves standing."""
    failed = [check for check in assessment.checks if not check.ok]
    if not failed:
        if not any(check.key == "client_cpu" for check in assessment.checks):
            return (
                f"Nothing speaks against the measurement ({len(assessment.checks)} checks), but whether the load "
                "generator itself kept up is not known."
            )
        return f"The measurement can be believed: {len(assessment.checks)} checks, none failed."
    names = words.series([check.name for check in failed])
    said = f"Read these numbers with care: {len(failed)} of {len(assessment.checks)} checks failed ({names})."
    return said if assessment.verdict.windows else f"{said} {_still_stands(assessment)}".rstrip()


def _still_stands(assessment: Assessment) -> str:
    """Which of the four numbers can be used in spite of what failed; without a ramp, which parts."""
    if assessment.only_level:
        return "They doubt the only level." if assessment.doubted else ""
    if not assessment.climbs:
        return _parts_that_stand(assessment)
    told = {"slo_limit": "the SLO limit", "knee": "the knee", "saturation": "saturation", "collapse": "collapse"}
    held = assessment.stands
    fallen = [told[name] for name, holds in held.items() if not holds]
    kept = [told[name] for name, holds in held.items() if holds]
    if not kept:
        return "All four numbers rest on what they doubt."
    if not fallen:
        return "The four numbers rest on other levels and stand."
    stand = f"{words.series(kept)} {'stand' if len(kept) > 1 else 'stands'}"
    rest = f"{words.series(fallen)} {'rest' if len(fallen) > 1 else 'rests'} on doubted levels"
    return f"{words.sentence(rest)[:-1]}; {stand}."


def _parts_that_stand(assessment: Assessment) -> str:
    rests = {part.name: {each.level for each in part.levels} for part in assessment.phases.phases}
    fallen = [name for name, holds in standing(assessment.checks, rests).items() if not holds]
    return f"They are about {words.series(fallen)}." if fallen else "They are about no level that was measured."


MARKS = {"✓": "passed", "✗": "failed", "•": "to note"}


def mark(check: Check) -> str:
    """✗ where the numbers are hurt, • where something limits how far those of some levels reach, else ✓."""
    return "✗" if not check.ok else "•" if check.levels else "✓"
