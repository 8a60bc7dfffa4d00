"""Saturation: the load at which queueing begins. Pure.

Flat throughput alone is no proof: if a server's batch slows down, throughput flattens without a queue. So saturation
needs a second sign: growing waits, or errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.analysis.breakpoints.steps import (
    ERROR_LIMIT,
    MIN_LEVEL_ERROR,
    MIN_SHORTFALL,
    WORK,
    Z95,
    Finding,
    Status,
    Step,
    apart,
    as_good,
    elasticity,
    error_of_place,
    mean_of,
    more_than,
    name_of,
    shortfall,
    too_few,
)
from llmlocust.metrics.levels import USERS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

FLAT = 0.15
"""Elasticity below which throughput no longer grows."""
QUEUED = 0.3
"""Share of the wait that each further user adds (1/X, by Little's law) that must be before the first token to indicate a
queue. The remainder may come from a batch that slows down."""
QUEUED_IF_GROWING = 0.6
"""The same share if throughput seems to grow a little."""
MIN_WAIT = 0.02
"""Seconds. A wait that grows by less does not count."""


def _flat_from(curve: Sequence[Step]) -> int | None:
    """The index of the first load above which throughput no longer grows: not at the highest load, and between by no more
    than noise.
    """
    for place, step in enumerate(curve[:-1]):
        tail = [elasticity(step, later) for later in curve[place + 1 :]]
        if tail[-1][0] < FLAT and all(value < FLAT + Z95 * error for value, error in tail):
            return place
    return None


def find_saturation(curve: Sequence[Step], unit: str) -> Finding:
    """Find the saturation of a curve of loads with known throughput."""
    if unknown := too_few(curve, unit):
        return unknown
    if unit != USERS:
        return _saturation_of_rates(curve, unit)
    top = words.with_unit(curve[-1].load, unit)
    waiting = _waits(curve)
    onset = _onset(curve, waiting) if waiting is not None and waiting.metric == "ttft" else None
    flat = _flat_from(curve)
    if flat is None and waiting is not None and onset is not None:
        flat = _flat_with_queue(curve, waiting, onset)
    if flat is None:
        return Finding(Status.NOT_REACHED, message("not reached up to {top}: throughput still grows", top=top))
    best = max(curve, key=lambda step: step.throughput)
    if best.throughput <= 0.0:
        why = message("cannot be determined: no request succeeded at any level up to {top}", top=top)
        return Finding(Status.UNKNOWN, why)
    full = next(place for place, step in enumerate(curve) if as_good(step, best))
    low = max(full - 1, 0)
    point = curve[low].load * best.throughput / max(curve[low].throughput, 1e-9)
    if waiting is not None and onset == len(curve) - 1:
        waiting = None
    elif waiting is not None and onset is not None:
        # throughput may be flat long before anything queues, if the batch slows down: the queue gives the place
        low = max(onset, flat - 1)
        point = _queue_start(curve, low, waiting, best.throughput)
        low = max(low - 1, 0) if point < curve[low].load * (1.0 - error_of_place(curve[low + 1])) else low
    grows = _waiting_grows(curve, low, max(full, flat, low), waiting, unit)
    if grows is None:
        why = message(
            "not reached up to {top}: throughput is flat from {load} on, but neither waiting nor errors grow with it, so "
            "no queue is seen",
            top=top,
            load=words.load(curve[flat].load),
        )
        return Finding(Status.NOT_REACHED, why)
    high = curve[low + 1].load
    rate = words.digits(best.throughput)
    why = message("throughput stays at {rate}/s up to {top}, while {growth}", rate=rate, top=top, growth=grows)
    if low == 0 and flat == 0 and full == 0:
        return Finding(Status.REACHED, _from_lowest_level(why), None, None, high, None, high)
    point = min(max(point, curve[low].load), high)
    error = 1.96 * error_of_place(curve[low + 1])
    lowest = min(curve[low].load, point * max(0.0, 1.0 - error)) if low or full else None
    return Finding(Status.REACHED, why, point, lowest, max(high, point * (1.0 + error)), curve[low].load, high)


def _from_lowest_level(why: Message) -> Message:
    return message("{finding}, from the lowest level on; add lower ones", finding=why)


def _saturation_of_rates(curve: Sequence[Step], unit: str) -> Finding:
    """Saturation of an open load: the maximum of answered requests per second, if from some rate on certainly not all are
    answered.
    """
    top = words.with_unit(curve[-1].load, unit)
    short = [_short(step) for step in curve]
    first = next((n for n, size in enumerate(short) if size > MIN_SHORTFALL and min(short[n:]) > 1.0), None)
    if first is None:
        return Finding(Status.NOT_REACHED, message("not reached up to {top}: all requests sent are answered", top=top))
    best = max(curve[max(first - 1, 0) :], key=lambda step: step.throughput)
    if best.throughput <= 0.0:
        low_load = words.load(curve[first].load)
        why = message("cannot be determined: no request succeeded from {low} to {high}", low=low_load, high=top)
        return Finding(Status.UNKNOWN, why)
    full = [step for step in curve[max(first - 1, 0) :] if as_good(step, best)]
    ended = max(1.0, sum(step.ended for step in full))
    arrival = max(step.offered / step.load for step in curve)  # requests per arrival, if all of them are sent
    answered = mean_of((step.throughput, 1.0) for step in full) / arrival
    first = next((n for n, step in enumerate(curve[:first]) if step.load > answered), first)
    grows = _wait_of_rates(curve, first)
    if grows is None:
        why = message(
            "not reached up to {top}: some requests are not answered in time, but no request waits longer", top=top
        )
        return Finding(Status.NOT_REACHED, why)
    high = curve[first].load
    sent = words.with_unit(high, unit)
    if first < len(curve) - 1:
        sent = message("{low} to {high}", low=words.load(high), high=top)
    why = message(
        "at most {rate}/s of the {sent} sent are answered, while {growth}",
        rate=words.digits(answered),
        sent=sent,
        growth=grows,
    )
    if first == 0:
        return Finding(Status.REACHED, _from_lowest_level(why), None, None, high, None, high)
    low = curve[first - 1].load
    error = math.exp(1.96 * math.hypot(WORK / math.sqrt(ended), MIN_LEVEL_ERROR))
    lowest, highest = min(low, answered / error), max(high, min(answered, high) * error)
    return Finding(Status.REACHED, why, min(max(low, answered), high), lowest, highest, low, high)


def _short(step: Step) -> float:
    """`shortfall`; infinite if the share of failed requests is certainly above ERROR_LIMIT."""
    return math.inf if more_than(step.failed, step.requests, ERROR_LIMIT) else shortfall(step)


def _wait_of_rates(curve: Sequence[Step], first: int) -> Message | None:
    """Describe the second sign of saturation, longer waits or errors; None without one."""
    low, last = curve[max(first - 1, 0)], curve[-1]
    waiting = _waits(curve)
    if waiting is not None:
        before, after = waiting.values[max(first - 1, 0)], waiting.values[-1]
        if first == 0 or after > 1.5 * before + MIN_WAIT:
            name = name_of(waiting.metric, waiting.statistic)
            return message("{metric} goes {change}", metric=name, change=words.change(before, after))
    if last.errors > ERROR_LIMIT:
        return message("errors go {before} → {after}", before=words.share(low.errors), after=words.share(last.errors))
    return None


def _flat_with_queue(curve: Sequence[Step], waiting: _Waiting, onset: int) -> int | None:
    """The index of the first flat load if hardly any added load is served. Throughput may still grow within noise."""
    last = len(curve) - 1
    if onset == last or not _queue_between(curve, waiting, onset, last) > QUEUED_IF_GROWING:
        return None
    for place in range(onset, last):
        if all(
            value < FLAT + Z95 * error for value, error in (elasticity(curve[place], s) for s in curve[place + 1 :])
        ):
            return place
    return None


@dataclass(frozen=True)
class _Waiting:
    """The figure that shows waiting, with its value at each load (NaN if not known)."""

    metric: str
    statistic: str
    values: tuple[float, ...]


def _waits(curve: Sequence[Step]) -> _Waiting | None:
    """The best figure for waiting that most loads have; None if none has."""
    for metric, statistic in (("ttft", "p50"), ("ttft", "mean"), ("e2e", "p50"), ("e2e", "mean")):
        values = tuple(step.figure(metric, statistic) for step in curve)
        if math.isfinite(values[-1]) and sum(map(math.isfinite, values)) > len(values) / 2:
            return _Waiting(metric, statistic, values)
    return None


def _queue_between(curve: Sequence[Step], waiting: _Waiting, first: int, second: int) -> float:
    """The share of the added load that waits: X dW / dN, by Little's law. NaN if not known."""
    grown = waiting.values[second] - waiting.values[first]
    return grown * curve[second].throughput / (curve[second].load - curve[first].load)


def _onset(curve: Sequence[Step], waiting: _Waiting) -> int:
    """The index of the last load before the queue. Above it, most of the added load waits.

    If requests are rejected or time out, the wait of the others is bounded: such loads are ignored.
    """
    last = len(curve) - 1
    for place in range(last):
        tail = [
            _queue_between(curve, waiting, place, later)
            for later in range(place + 1, last + 1)
            if later == place + 1 or not curve[later].errors > ERROR_LIMIT
        ]
        if all(math.isnan(share) or share >= QUEUED for share in tail):
            return place
    return last


def _queue_start(curve: Sequence[Step], low: int, waiting: _Waiting, best: float) -> float:
    """N* = N − X·(W − W0): the load minus the users that wait, at the first load that queues.

    If throughput has fallen there, fewer users think than at the best throughput. The difference is added again.
    """
    first = curve[low + 1]
    queued = first.throughput * (waiting.values[low + 1] - waiting.values[max(low - 1, 0)])
    if not math.isfinite(queued):
        return math.sqrt(curve[low].load * first.load)
    think = curve[low].load / max(curve[low].throughput, 1e-9) - curve[low].figure("e2e", "mean")
    missing = max(0.0, best - first.throughput) * max(0.0, think) if math.isfinite(think) else 0.0
    return first.load - queued + missing


def _waiting_grows(curve: Sequence[Step], low: int, full: int, waiting: _Waiting | None, unit: str) -> Message | None:
    """Describe the second sign of saturation of users, longer waits or errors; None without one."""
    first, last = curve[low], curve[-1]
    if waiting is not None:
        before, after = waiting.values[low], waiting.values[-1]
        # the minimum wait that a queue of this many further users adds, by Little's law; open load has no such bound
        queue = QUEUED * (last.load - curve[full].load) / last.throughput if unit == USERS and last.throughput else 0.0
        if after - before > max(queue, 0.5 * before, MIN_WAIT) and apart(
            first, last, waiting.metric, waiting.statistic
        ):
            growth = message(
                "{metric} grows {change} between {low} and {high}",
                metric=name_of(waiting.metric, waiting.statistic),
                change=words.change(before, after),
                low=words.load(first.load),
                high=words.with_unit(last.load, unit),
            )
            if waiting.metric == "ttft":
                return message("{growth}: requests wait", growth=growth)
            return message(
                "{growth} (without TTFT, a queue cannot be distinguished from a slower batch)", growth=growth
            )
    if more_than(last.failed, last.requests, ERROR_LIMIT) and last.errors > 2.0 * (first.errors or 0.0):
        return message(
            "errors grow {before} → {after}", before=words.share(first.errors), after=words.share(last.errors)
        )
    return None
