"""The verdict on a replayed trace. Pure.

The levels of a replayed trace are windows of time, not a ramp. They differ in their requests as much as in their load, and
each begins with the backlog of the one before. So no load of a window is a limit.
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
"""The threshold if none are given: thresholds cannot be derived from a window."""
_NO_RAMP = Finding(
    Status.UNKNOWN, message("cannot be determined: the levels are windows of a replayed trace, not a ramp")
)
_OF_STEADINESS = ("answer_length", "warm_up", "drift")
"""Keys of the checks that fail if levels differ, or change inside: those of a trace always do."""


def of_windows(
    verdict: Verdict, levels: Sequence[LevelFigures], thresholds: Sequence[Threshold], goodput: Mapping[int, float]
) -> Verdict:
    """A verdict without the numbers, which need a ramp, and with a sentence on the windows."""
    return replace(
        verdict,
        slo_limit=_NO_RAMP,
        knee=_NO_RAMP,
        saturation=_NO_RAMP,
        collapse=_NO_RAMP,
        onset=_NO_RAMP,
        cliffs=(),
        derived=not thresholds,
        windows=_summary(levels, verdict.thresholds, goodput),
        gold=None,
    )


def _summary(levels: Sequence[LevelFigures], thresholds: Sequence[Threshold], goodput: Mapping[int, float]) -> Message:
    """A sentence on the number of windows that met the thresholds."""
    results = (
        [threshold.is_met(window, goodput.get(window.level)) for threshold in thresholds]
        for window in levels
        if window.requests
    )
    known = [met for met in results if set(met) != {None}]
    if not known:
        return message(
            "Whether the replayed trace met its thresholds cannot be determined: no window has figures for them."
        )
    broken = sum(False in met for met in known)
    if not broken:
        texts = words.series([str(threshold) for threshold in thresholds])
        return message(
            "The replayed trace met its thresholds in all {count} windows: {thresholds}.",
            count=len(known),
            thresholds=texts,
        )
    times = [sum(met is False for met in of_threshold) for of_threshold in zip(*known, strict=True)]
    counts = zip(thresholds, times, strict=True)
    named = [
        message("{threshold} in {count}", threshold=threshold, count=count) for threshold, count in counts if count
    ]
    return message(
        "The replayed trace violated its thresholds in {broken} of {count} windows: {thresholds}.",
        broken=broken,
        count=len(known),
        thresholds=words.series(named),
    )


def checks_of(checks: Sequence[Check]) -> list[Check]:
    """The checks that apply to windows."""
    return [check for check in checks if check.key not in _OF_STEADINESS]
