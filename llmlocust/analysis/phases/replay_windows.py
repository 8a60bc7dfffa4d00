"""What is said of a replayed trace. Its levels are windows of time and no ramp: they differ in what is asked as much as in
how much, and each begins with what the one before has left. So no load of theirs is a limit. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, Finding, Status
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.checks.check import Check
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

FEW_ERRORS = Threshold("errors", "", "<", ERROR_LIMIT * 100.0, "%")
"""Asked for where nobody gave limits: no window is one to derive others from."""
_NO_RAMP = Finding(Status.UNKNOWN, message("cannot be told: the levels are windows of a replayed trace and no ramp"))
_OF_STILLNESS = ("answer_length", "warm_up", "drift")
"""Checks that doubt what is not the same from level to level, or does not stand still in one: no trace does."""


def of_windows(
    verdict: Verdict, levels: Sequence[LevelFigures], thresholds: Sequence[Threshold], goodput: Mapping[int, float]
) -> Verdict:
    """A verdict without what only a ramp can tell, and with what the windows do."""
    return replace(
        verdict,
        slo_limit=_NO_RAMP,
        knee=_NO_RAMP,
        saturation=_NO_RAMP,
        collapse=_NO_RAMP,
        onset=_NO_RAMP,
        cliffs=(),
        derived=not thresholds,
        windows=_kept(levels, verdict.thresholds, goodput),
        gold=None,
    )


def _kept(levels: Sequence[LevelFigures], thresholds: Sequence[Threshold], goodput: Mapping[int, float]) -> Message:
    """In how many windows the limits were kept."""
    seen = (
        [each.holds(window, goodput.get(window.level)) for each in thresholds] for window in levels if window.requests
    )
    told = [kept for kept in seen if set(kept) != {None}]
    if not told:
        return message("Whether the replayed trace kept its limits cannot be told: no window has what they speak of.")
    broken = sum(False in kept for kept in told)
    if not broken:
        limits = words.series([str(each) for each in thresholds])
        return message(
            "The replayed trace kept its limits in all {count} windows: {limits}.", count=len(told), limits=limits
        )
    times = [sum(each is False for each in of_one) for of_one in zip(*told, strict=True)]
    counts = zip(thresholds, times, strict=True)
    named = [message("{limit} in {count}", limit=each, count=count) for each, count in counts if count]
    return message(
        "The replayed trace broke its limits in {broken} of {count} windows: {limits}.",
        broken=broken,
        count=len(told),
        limits=words.series(named),
    )


def checks_of(found: Sequence[Check]) -> list[Check]:
    """Those that mean something of windows."""
    return [each for each in found if each.key not in _OF_STILLNESS]
