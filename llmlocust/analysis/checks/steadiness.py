"""Checks of steadiness: whether latencies were steady inside each level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks
from llmlocust.analysis.phases.trend import CHANGE, Change, change_of
from llmlocust.metrics.levels import RATE, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term

LONGER_HOLD = 3.0
"""Factor by which the advised hold of a level that was not steady is longer."""
_FIXED_REQUESTS = message(
    "The figures of a fixed number of requests include its start: send more requests, or hold the level for a "
    "time (--hold), which begins after its warm-up."
)


def warm_up_and_drift(levels: Sequence[LevelFigures], facts: Facts) -> list[Check | None]:
    """Check both kinds of unsteadiness: a level whose beginning differs from the rest, and one that never gets steady."""
    largest: dict[int, Change] = {}
    for level, courses in facts.courses.items():
        changes = [change for course in courses if (change := change_of(course)) is not None]
        if changes:
            # TPOT shows the server's own speed, the other latencies also depend on the load
            largest[level] = max(changes, key=lambda change: (change.metric == "tpot", change.size))
    judged = [level for level in levels if facts.courses.get(level.level)]
    if not judged:
        return []
    changed = [(level, largest[level.level]) for level in judged if level.level in largest]
    waits = [level for level, change in changed if _only_waits(level, change)]
    left = [(level, change) for level, change in changed if not _only_waits(level, change)]
    return [
        _warm_up([(level, change) for level, change in left if math.isfinite(change.until)], facts),
        _drift([(level, change) for level, change in left if math.isinf(change.until)], waits, facts),
    ]


def _only_waits(level: LevelFigures, change: Change) -> bool:
    """Whether only waiting times of an open load changed. Near saturation its queue comes and goes; above, it grows."""
    return level.unit == RATE and change.metric != "tpot"


def _changed(level: LevelFigures, change: Change) -> Message:
    return message(
        "{metric} went {change} at {load}",
        metric=term(METRICS[change.metric].short),
        change=words.change(change.before, change.after),
        load=loads_of([level]),
    )


def _warm_up(early: Sequence[tuple[LevelFigures, Change]], facts: Facts) -> Check:
    if not early:
        says: str = message("No level begins differently from how it continues: the warm-up was long enough.")
        return Check("warm_up", True, 1.0, CHANGE, says)
    level, change = max(early, key=lambda pair: pair[1].size)
    finding = message(
        "The warm-up was too short at {loads}: {change} and was steady afterwards.",
        loads=loads_of([level for level, _ in early]),
        change=_changed(level, change),
    )
    advice = (
        _FIXED_REQUESTS if facts.requests else _longer_warmup(max(change.until for _, change in early), facts.warmup)
    )
    says = sentences([finding, advice])
    return Check("warm_up", False, math.exp(change.size), CHANGE, says, marks(level for level, _ in early))


def _longer_warmup(seconds: float, warmup: float | None) -> Message:
    longer = math.ceil(seconds)
    if warmup is None:
        return message("Make the warm-up of levels {longer} s longer (--warmup).", longer=longer)
    total = math.ceil(warmup + seconds)
    return message(
        "Make the warm-up of levels {longer} s longer (--warmup, {total} s in all).", longer=longer, total=total
    )


def _drift(late: Sequence[tuple[LevelFigures, Change]], waits: Sequence[LevelFigures], facts: Facts) -> Check:
    if late:
        level, change = max(late, key=lambda pair: pair[1].size)
        hold = math.ceil(LONGER_HOLD * max(level.window for level, _ in late))
        changed = message(
            "Not steady at {loads}: {change}, and was still changing at its end.",
            loads=loads_of([level for level, _ in late]),
            change=_changed(level, change),
        )
        advice = message("Hold such a level for {hold} s or more, or find out what else changed during it.", hold=hold)
        if facts.requests:
            advice = message("Send more requests (--requests), or find out what else changed during the level.")
        says: str = sentences([changed, advice])
        return Check("drift", False, math.exp(change.size), CHANGE, says, marks(level for level, _ in late))
    if waits:
        says = message(
            "At {loads} waiting times changed during the level, because a queue came and went, or grew. Latencies "
            "there depend on how long the level was held.",
            loads=loads_of(waits),
        )
        return Check("drift", True, None, CHANGE, says, marks(waits))
    says = message("Latencies were steady in every level that is long enough to judge.")
    return Check("drift", True, 1.0, CHANGE, says)
