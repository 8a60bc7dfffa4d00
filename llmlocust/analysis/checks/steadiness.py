"""Steadiness: whether latencies stood still inside each level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks
from llmlocust.analysis.phases.trend import CHANGE, Change, change_of
from llmlocust.metrics.levels import RATE, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences, term

HELD_LONGER = 3.0
"""So many times longer a level that has not come to rest should be held."""
_BEGINS = message(
    "A fixed number of requests has its beginning in its figures: ask for more, or hold the level for a time (--hold), "
    "which begins after its warm-up."
)


def warm_up_and_drift(levels: Sequence[LevelFigures], facts: Facts) -> list[Check | None]:
    """Two ways not to stand still: the level's beginning differs from the rest, or it never came to rest."""
    found: dict[int, Change] = {}
    for level, courses in facts.courses.items():
        changes = [change for course in courses if (change := change_of(course)) is not None]
        if changes:
            # how fast tokens come is the server's own pace, waits are what load makes of it
            found[level] = max(changes, key=lambda each: (each.metric == "tpot", each.size))
    judged = [each for each in levels if facts.courses.get(each.level)]
    if not judged:
        return []
    changed = [(each, found[each.level]) for each in judged if each.level in found]
    waits = [each for each, change in changed if _only_waits(each, change)]
    left = [(each, change) for each, change in changed if not _only_waits(each, change)]
    return [
        _warm_up([(each, change) for each, change in left if math.isfinite(change.until)], facts),
        _drift([(each, change) for each, change in left if math.isinf(change.until)], waits, facts),
    ]


def _only_waits(each: LevelFigures, change: Change) -> bool:
    """Near saturation, an open load has a queue that comes and goes; above, one that grows without an end."""
    return each.unit == RATE and change.metric != "tpot"


def _how(each: LevelFigures, change: Change) -> Message:
    return message(
        "{metric} went {change} inside {load}",
        metric=term(METRICS[change.metric].short),
        change=words.change(change.before, change.after),
        load=loads_of([each]),
    )


def _warm_up(early: Sequence[tuple[LevelFigures, Change]], facts: Facts) -> Check:
    if not early:
        says: str = message("No level begins otherwise than it goes on: the warm-up was long enough.")
        return Check("warm_up", True, 1.0, CHANGE, says)
    each, change = max(early, key=lambda pair: pair[1].size)
    leaks = message(
        "The warm-up leaks into {loads}: {change} and then stood still.",
        loads=loads_of([each for each, _ in early]),
        change=_how(each, change),
    )
    cure = _BEGINS if facts.requests else _longer_warmup(max(change.until for _, change in early), facts.warmup)
    says = sentences([leaks, cure])
    return Check("warm_up", False, math.exp(change.size), CHANGE, says, marks(each for each, _ in early))


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
        each, change = max(late, key=lambda pair: pair[1].size)
        hold = math.ceil(HELD_LONGER * max(each.window for each, _ in late))
        changed = message(
            "Not steady at {loads}: {change}, and still changed at its end.",
            loads=loads_of([each for each, _ in late]),
            change=_how(each, change),
        )
        cure = message("Hold such a level for {hold} s or more, or see what else changed meanwhile.", hold=hold)
        if facts.requests:
            cure = message("Ask for more requests (--requests), or see what else changed meanwhile.")
        says: str = sentences([changed, cure])
        return Check("drift", False, math.exp(change.size), CHANGE, says, marks(each for each, _ in late))
    if waits:
        says = message(
            "At {loads} waits changed while the level was held, as a queue's do that comes and goes or grows: latencies there "
            "hang on how long that was.",
            loads=loads_of(waits),
        )
        return Check("drift", True, None, CHANGE, says, marks(waits))
    says = message("Latencies stood still inside every level that is long enough to tell.")
    return Check("drift", True, 1.0, CHANGE, says)
