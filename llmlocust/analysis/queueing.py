"""The knee, where more load stops buying throughput, and the capacity, where queueing begins. Pure.

A flat throughput alone has been seen to fool: a server whose batch slows down makes it flatten without any queue. So
capacity needs a second witness, waiting that grows, or errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmlocust.analysis import words
from llmlocust.analysis.steps import (
    ERROR_LIMIT,
    WOBBLE,
    Z95,
    Finding,
    Step,
    apart,
    as_good,
    load_word,
    more_than,
    name_of,
)
from llmlocust.numbers.levels import USERS

KNEE = 0.5
"""Elasticity d ln X / d ln N: above, more load still buys most of its share of throughput."""
FLAT = 0.15
"""Elasticity below which throughput no longer grows."""
QUEUED = 0.3
"""Of the wait that each further user adds (1/X, by Little's law), the share that must fall before the first token to \
be called a queue; the rest may be a batch that slows down."""
LEAST_WAIT = 0.02
"""Seconds; a wait that grows by less is none."""


def _elasticity(first: Step, second: Step) -> tuple[float, float]:
    """The elasticity d ln X / d ln N between two loads, and its standard error from the counts."""
    span = math.log(second.load / first.load)
    grown = math.log(max(second.throughput, 1e-9) / max(first.throughput, 1e-9))
    return grown / span, _noise(first, second) / span


def _noise(first: Step, second: Step) -> float:
    """The standard error of ln(X2 / X1)."""
    return math.sqrt(1.0 / max(first.ended, 1.0) + 1.0 / max(second.ended, 1.0) + 2.0 * WOBBLE**2)


def _knee_place(curve: Sequence[Step]) -> int | None:
    """The first load after the last one from which more load still bought its share; None where that is the last."""
    last = len(curve) - 1
    buys = [place for place in range(last) if _elasticity(curve[place], _onward(curve, place))[0] >= KNEE]
    place = buys[-1] + 1 if buys else 0
    if place == last:
        return None
    value, error = _elasticity(curve[place], curve[last])
    return place if value + error < KNEE else None


def _onward(curve: Sequence[Step], place: int) -> Step:
    """The next load that is far enough above for their noise not to decide."""
    far = (step for step in curve[place + 1 :] if step.load >= 1.2 * curve[place].load)
    return next(far, curve[-1])


def _flat_from(curve: Sequence[Step]) -> int | None:
    """The first load from which the highest buys no throughput, and none between does by more than noise."""
    for place, step in enumerate(curve[:-1]):
        tail = [_elasticity(step, later) for later in curve[place + 1 :]]
        if tail[-1][0] < FLAT and all(value < FLAT + Z95 * error for value, error in tail):
            return place
    return None


def _too_few(curve: Sequence[Step], unit: str) -> Finding | None:
    if not curve:
        return Finding(False, "cannot be told: the throughput of the levels is not known")
    if not any(step.throughput > 0.0 for step in curve):
        return Finding(False, "cannot be told: nothing succeeded at any level")
    if len(curve) == 1:
        return Finding(False, f"cannot be told from one level ({words.with_unit(curve[0].load, unit)})")
    return None


def find_knee(curve: Sequence[Step], unit: str) -> Finding:
    if unknown := _too_few(curve, unit):
        return unknown
    place = _knee_place(curve)
    top = curve[-1].load
    if place is None:
        value, _ = _elasticity(curve[-2], curve[-1])
        bought = f"the last step still bought {_bought(value)} more throughput for 10 % more {load_word(unit)}"
        if value < KNEE:
            bought = "the last step bought little, but one step within noise is no knee"
        return Finding(False, f"not reached up to {words.with_unit(top, unit)}: {bought}")
    after, _ = _elasticity(curve[place], curve[place + 1])
    overall, _ = _elasticity(curve[place], curve[-1])
    why = (
        f"from {words.load(curve[place].load)} to {words.with_unit(top, unit)}, 10 % more {load_word(unit)} "
        f"{_buys(overall)}"
    )
    high = curve[place + 1].load
    if place == 0:
        return Finding(
            True, f"{why}; it lies at or below the lowest levels, so add lower ones", None, None, high, None, high
        )
    before, _ = _elasticity(curve[place - 1], curve[place])
    why += f" (before, up to {words.load(curve[place].load)}, {_bought(before)})"
    middles = [math.sqrt(one.load * two.load) for one, two in pairwise(curve[place - 1 : place + 2])]
    part = (before - KNEE) / (before - after) if before > KNEE > after else 0.5
    point = middles[0] * (middles[1] / middles[0]) ** part
    return Finding(True, why, point, curve[place - 1].load, high, curve[place].load, high)


def _bought(elasticity: float) -> str:
    return f"{words.digits(max(0.0, elasticity) * 10.0)} %"


def _buys(elasticity: float) -> str:
    if elasticity < 0.01:
        return "buys no more throughput" if elasticity > -0.05 else "costs throughput"
    return f"buys only {_bought(elasticity)} more throughput"


def find_capacity(curve: Sequence[Step], unit: str) -> Finding:
    if unknown := _too_few(curve, unit):
        return unknown
    top = words.with_unit(curve[-1].load, unit)
    flat = _flat_from(curve)
    if flat is None:
        return Finding(False, f"not reached up to {top}: throughput still grows")
    best = max(curve, key=lambda step: step.throughput)
    if best.throughput <= 0.0:
        return Finding(False, f"cannot be told: nothing succeeded at any level up to {top}")
    full = next(place for place, step in enumerate(curve) if as_good(step, best))
    low = max(full - 1, 0)
    point = curve[low].load * best.throughput / max(curve[low].throughput, 1e-9)
    waiting = _waits(curve)
    if waiting is not None and waiting.metric == "ttft":
        # throughput may be flat long before anything queues, where the batch slows down: the queue tells the place
        onset = _onset(curve, waiting, unit)
        if onset == len(curve) - 1:
            waiting = None
        else:
            low = max(onset, flat - 1)
            point = _where_the_queue_begins(curve, low, waiting) if unit == USERS else point
            low = max(low - 1, 0) if unit == USERS and point < curve[low].load else low
    grows = _waiting_grows(curve, low, max(full, flat, low), waiting, unit)
    if grows is None:
        why = (
            f"not reached up to {top}: throughput is flat from {words.load(curve[flat].load)} on, but neither waiting "
            f"nor errors grow with it, so no queue is seen"
        )
        return Finding(False, why)
    high = curve[low + 1]
    why = f"throughput stays at {words.digits(best.throughput)}/s up to {top}, while {grows}"
    if unit != USERS:
        point = best.throughput
    if low == 0 and flat == 0 and full == 0 and point <= curve[0].load:
        return Finding(True, f"{why}, from the lowest level on; add lower ones", None, None, high.load, None, high.load)
    point = min(max(point, curve[low].load), high.load)
    return Finding(True, why, point, curve[low].load, high.load, curve[low].load, high.load)


@dataclass(frozen=True)
class _Waiting:
    """The figure by which waiting is seen, with its value at each load (NaN where it is not known)."""

    metric: str
    statistic: str
    values: tuple[float, ...]


def _waits(curve: Sequence[Step]) -> _Waiting | None:
    for metric, statistic in (("ttft", "p50"), ("ttft", "mean"), ("e2e", "p50"), ("e2e", "mean")):
        values = tuple(step.figure(metric, statistic) for step in curve)
        if math.isfinite(values[-1]) and sum(map(math.isfinite, values)) > len(values) / 2:
            return _Waiting(metric, statistic, values)
    return None


def _queue_between(curve: Sequence[Step], waiting: _Waiting, first: int, second: int) -> float:
    """Of the load that was added, the share that waits: X dW / dN, by Little's law. NaN where it is not known."""
    grown = waiting.values[second] - waiting.values[first]
    return grown * curve[second].throughput / (curve[second].load - curve[first].load)


def _onset(curve: Sequence[Step], waiting: _Waiting, unit: str) -> int:
    """The last load before the queue: from there on, whatever load is added waits (or most of it does)."""
    last = len(curve) - 1
    for place in range(last):
        if unit == USERS:
            tail = [_queue_between(curve, waiting, place, later) for later in range(place + 1, last + 1)]
            if all(math.isnan(share) or share >= QUEUED for share in tail):
                return place
        elif all(
            math.isnan(value) or value > 1.5 * waiting.values[place] + LEAST_WAIT
            for value in waiting.values[place + 1 :]
        ):
            return place
    return last


def _where_the_queue_begins(curve: Sequence[Step], low: int, waiting: _Waiting) -> float:
    """N* = N − X·(W − W0): the load less those who wait, at the first load that queues."""
    base = waiting.values[max(low - 1, 0)]
    queued = curve[low + 1].throughput * (waiting.values[low + 1] - base)
    return curve[low + 1].load - queued if math.isfinite(queued) else math.sqrt(curve[low].load * curve[low + 1].load)


def _waiting_grows(curve: Sequence[Step], low: int, full: int, waiting: _Waiting | None, unit: str) -> str | None:
    """The second witness of capacity, in words; None where there is none."""
    first, last = curve[low], curve[-1]
    if waiting is not None:
        before, after = waiting.values[low], waiting.values[-1]
        # what a queue of this many further users has to add, by Little's law; an open load has no such bound
        queue = QUEUED * (last.load - curve[full].load) / last.throughput if unit == USERS and last.throughput else 0.0
        if after - before > max(queue, 0.5 * before, LEAST_WAIT) and apart(
            first, last, waiting.metric, waiting.statistic
        ):
            said = f"{name_of(waiting.metric, waiting.statistic)} grows {words.change(before, after)}"
            alone = " (without TTFT, a queue cannot be told from a slower batch)"
            return said if waiting.metric == "ttft" else said + alone
    if more_than(last.failed, last.requests, ERROR_LIMIT) and last.errors > 2.0 * (first.errors or 0.0):
        return f"errors grow {words.share(first.errors)} → {words.share(last.errors)}"
    return None
