"""Cliffs: jumps of latency or errors between neighbouring levels that noise does not explain. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, Step, apart, kinds_of, load_word, name_of, wilson
from llmlocust.metrics.levels import USERS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message

_CLIFF = 1.3
"""Factor by which a jump must exceed the growth of the load to be a cliff."""
_CLIFF_FLOOR = 0.02
"""Seconds; a smaller jump is no cliff."""


class CliffKind(StrEnum):
    """The cause that a cliff points to."""

    QUEUE = "queue"
    """Most of the added time is before the first token."""
    SLOWER = "slower"
    """Most of the added time is after the first token."""
    WAIT = "wait"
    """Requests wait before their first token. The change of their total time is not known."""
    LONGER = "longer"
    """Requests take longer. Whether the time is added before or after the first token is not known."""
    ERRORS = "errors"
    """More requests fail."""


class _Jump(NamedTuple):
    """A jump of one figure: the change, its cause, and the kind of cliff that it makes."""

    what: str
    why: str
    kind: CliffKind


@dataclass(frozen=True)
class Cliff:
    """A jump between neighbouring levels that neither noise nor the growth of the load explains."""

    between: tuple[float, float]
    what: str
    why: str
    kind: CliffKind
    """If latency and errors both jump, the kind of the latency's jump."""


def find_cliffs(steps: Sequence[Step], unit: str) -> Iterable[Cliff]:
    """Yield the cliffs between neighbouring levels. A queue that continues to grow is reported once, where it begins."""
    queued = False
    for before, after in pairwise(steps):
        latency = _latency_jump(before, after)
        continues = queued and unit == USERS and _queue_continues(before, after)
        queued = latency is not None
        candidates = [None if continues else latency, _error_jump(before, after)]
        jumps = [jump for jump in candidates if jump is not None]
        if jumps:
            what = words.series([jump.what for jump in jumps])
            why = clauses([jump.why for jump in jumps])
            factor = words.digits(after.load / before.load)
            what = message("{what} for {factor} × the {load}", what=what, factor=factor, load=load_word(unit))
            yield Cliff((before.load, after.load), what, why, jumps[0].kind)


def _queue_continues(before: Step, after: Step) -> bool:
    """Whether an existing queue explains the growth: each further user adds a wait of 1/X (2/X at the p95)."""
    metric = "ttft" if math.isfinite(after.figure("ttft", "p95")) else "e2e"
    grown = after.figure(metric, "p95") - before.figure(metric, "p95")
    return after.throughput > 0.0 and grown <= 2.0 * (after.load - before.load) / after.throughput


def _latency_jump(before: Step, after: Step) -> _Jump | None:
    for metric in ("ttft", "e2e"):
        first, second = before.figure(metric, "p95"), after.figure(metric, "p95")
        if not (math.isfinite(first) and math.isfinite(second)) or first <= 0.0:
            continue
        beyond = second > first * _CLIFF * after.load / before.load and second - first > _CLIFF_FLOOR
        if beyond and apart(before, after, metric, "p95"):
            change = words.change(first, second)
            what = message("{metric} {change}", metric=name_of(metric, "p95"), change=change)
            return _Jump(what, *_cause_of_latency(before, after, metric))
    return None


def _cause_of_latency(before: Step, after: Step, metric: str) -> tuple[Message, CliffKind]:
    if metric != "ttft":
        why = message("each request takes longer; without TTFT, waiting and slower answers cannot be distinguished")
        return why, CliffKind.LONGER
    first = after.figure("ttft", "mean") - before.figure("ttft", "mean")
    whole = after.figure("e2e", "mean") - before.figure("e2e", "mean")
    if math.isnan(first) or math.isnan(whole) or whole <= 0.0:
        return message("requests wait before their first token"), CliffKind.WAIT
    share_before = min(1.0, max(0.0, first / whole))
    share = words.share(share_before)
    if share_before > 0.4:
        why = message("requests queue: {share} of the added time is before the first token", share=share)
        return why, CliffKind.QUEUE
    why = message("answers get slower: only {share} of the added time is before the first token", share=share)
    return why, CliffKind.SLOWER


def _error_jump(before: Step, after: Step) -> _Jump | None:
    if not before.requests or not after.requests:
        return None
    _, high = wilson(before.errors, before.requests)
    low, _ = wilson(after.errors, after.requests)
    grown = after.errors - before.errors
    if low <= high or grown < ERROR_LIMIT or after.errors <= before.errors * _CLIFF * after.load / before.load:
        return None
    what = message("errors {before} → {after}", before=words.share(before.errors), after=words.share(after.errors))
    return _Jump(what, kinds_of(after), CliffKind.ERRORS)
