"""Collapse: the load at which throughput falls, errors exceed 1 %, or the server becomes unreachable. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

from llmlocust.analysis.breakpoints.steps import (
    ERROR_LIMIT,
    WOBBLE,
    Finding,
    Status,
    Step,
    as_good,
    error_of_place,
    kinds_of,
    mean_of,
    more_than,
    share_range,
)
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message

_FALL = 0.05
"""Share of the best throughput. A smaller fall is no collapse, however certain it is."""


def lost_server(steps: Sequence[Step], unreachable: Mapping[int, float], unit: str) -> tuple[float, Message] | None:
    """Return the first load at which the server was unreachable, with a description; None if it never was.

    `unreachable` has the second from which on nothing could connect, by level.
    """
    for step in steps:
        seconds = [unreachable[level.level] for level in step.levels if level.level in unreachable]
        if seconds:
            at = words.with_unit(step.load, unit)
            if min(seconds) < 1.0:
                return step.load, message("nothing could connect at {load}", load=at)
            since = f"{min(seconds):.0f}"
            return step.load, message("nothing could connect at {load} from second {since} on", load=at, since=since)
    return None


def find_collapse(
    steps: Sequence[Step],
    reachable: Sequence[Step],
    curve: Sequence[Step],
    unit: str,
    lost: tuple[float, Message] | None,
) -> Finding:
    """Find the collapse. `reachable` are the steps with a reachable server, `curve` those of them whose throughput is known."""
    loss = None if lost is None else _loss(steps, lost, unit)
    causes = [cause for cause in (_fall(curve, unit), errors_onset(reachable, unit), loss) if cause is not None]
    if causes:
        first = min(causes, key=lambda cause: cause.level_bad or math.inf)
        others = [cause.why for cause in causes if cause is not first and cause.level_bad == first.level_bad]
        return first if not others else replace(first, why=clauses([first.why, *others]))
    if not steps:
        return Finding(Status.UNKNOWN, message("cannot be determined: no level has a load and requests"))
    top, errors = words.with_unit(steps[-1].load, unit), _errors_below(steps, unit)
    if len(curve) < 2:
        why = message(
            "not reached up to {top}: {errors}; whether throughput falls cannot be determined", top=top, errors=errors
        )
    else:
        why = message("not reached up to {top}: {errors}, throughput does not fall", top=top, errors=errors)
    return Finding(Status.NOT_REACHED, why)


def _errors_below(steps: Sequence[Step], unit: str) -> Message:
    """Describe the errors of levels of which none certainly has too many."""
    step = next((step for step in steps if step.errors > ERROR_LIMIT), None)
    if step is None:
        worst = max((step.errors for step in steps if step.requests), default=math.nan)
        if math.isnan(worst):
            return message("the share of errors is not known")
        return message("no errors") if worst == 0.0 else message("errors at most {share}", share=words.share(worst))
    share, load = words.share(step.errors), words.with_unit(step.load, unit)
    if not step.counted:
        return message("errors were {share} at {load}, but this may be chance", share=share, load=load)
    return message(
        "errors were {share} at {load}, but {failed} of {requests} requests may be chance",
        share=share,
        load=load,
        failed=step.failed,
        requests=step.requests,
    )


def _loss(steps: Sequence[Step], lost: tuple[float, Message], unit: str) -> Finding:
    load, loss = lost
    before = [step.load for step in steps if step.load < load and step.ok]
    if not before and not any(step.ok for step in steps):
        why = message("{loss}: check that the server runs and that its address is right", loss=loss)
        return Finding(Status.REACHED, why, None, None, load, None, load)
    if not before:
        why = message(
            "{loss}: the server was unreachable. Check its log to see whether it crashed under the load or was stopped; then run again",
            loss=loss,
        )
        return Finding(Status.REACHED, why, None, None, load, None, load)
    why = message(
        "{loss}: the server was unreachable. Check its log to see whether it crashed under the load or was stopped; then run again from {load} up",
        loss=loss,
        load=words.with_unit(before[-1], unit),
    )
    return Finding(Status.REACHED, why, load, before[-1], load, before[-1], load)


def _fall(curve: Sequence[Step], unit: str) -> Finding | None:
    """The first load from which on throughput stays below its best by more than noise."""
    if len(curve) < 2:
        return None
    best = max(range(len(curve)), key=lambda place: curve[place].throughput)
    if curve[best].throughput <= 0.0:
        return None

    def shortfall_at(place: int) -> float:
        return 1.0 - curve[place].throughput / curve[best].throughput

    full = next(place for place, step in enumerate(curve) if as_good(step, curve[best]))
    for place in range(best + 1, len(curve)):
        stays = all(shortfall_at(later) > _FALL for later in range(place, len(curve)))
        if stays and _fell(curve[full:place], curve[place:]):
            low, high = curve[place - 1], curve[place]
            why = message(
                "throughput falls {before} → {after}/s ({share} below its best, at {best}) by {load}",
                before=words.digits(curve[best].throughput),
                after=words.digits(high.throughput),
                share=words.share(shortfall_at(place)),
                best=words.load(curve[best].load),
                load=words.with_unit(high.load, unit),
            )
            before, after = shortfall_at(place - 1), shortfall_at(place)
            position = (_FALL - before) / (after - before) if after > before else 0.5
            point = low.load + min(1.0, max(0.0, position)) * (high.load - low.load)
            lowest = min(curve[full].load, point * max(0.0, 1.0 - 1.96 * error_of_place(low)))
            return Finding(Status.REACHED, why, point, lowest, high.load, curve[best].load, high.load)
    return None


def _fell(before: Sequence[Step], after: Sequence[Step]) -> bool:
    """Whether throughput fell from the plateau to the levels after it, by more than noise.

    The levels on either side are pooled: the best of several equal levels exceeds the others by chance, and a single
    level proves less. The more levels a fall can be chosen from, the larger it has to be (Bonferroni).
    """
    first, second = (
        mean_of((step.throughput, step.ended / max(step.throughput, 1e-9)) for step in side) for side in (before, after)
    )
    counts = [max(1.0, sum(step.ended for step in side)) for side in (before, after)]
    error = math.sqrt(1.0 / counts[0] + 1.0 / counts[1] + 2.0 * WOBBLE**2)
    sure = NormalDist().inv_cdf(1.0 - 0.05 / (len(before) + len(after)))
    return first > 0.0 and -math.log(max(1e-9, second / first)) > max(_FALL, sure * error)


def errors_onset(steps: Sequence[Step], unit: str) -> Finding | None:
    """The first load at which errors exceed ERROR_LIMIT by more than chance; None if none does."""
    for place, step in enumerate(steps):
        if not more_than(step.failed, step.requests, ERROR_LIMIT):
            continue
        share, load = words.share(step.errors), words.with_unit(step.load, unit)
        onset = message("errors {share} at {load} ({kinds})", share=share, load=load, kinds=kinds_of(step))
        if place == 0:
            why = message("{errors}, the lowest level: the failures do not depend on load", errors=onset)
            return Finding(Status.REACHED, why, None, None, step.load, None, step.load)
        before = steps[place - 1]
        known = 0.0 if math.isnan(before.errors) else before.errors
        position = (ERROR_LIMIT - known) / (step.errors - known) if step.errors > known else 0.5
        point = before.load + min(1.0, max(0.0, position)) * (step.load - before.load)
        low = _last_without_errors(steps[:place])
        if low is not None:
            low = min(low, point * max(0.0, 1.0 - 1.96 * error_of_place(before)))
        return Finding(Status.REACHED, onset, point, low, step.load, before.load, step.load)
    return None


def _last_without_errors(steps: Sequence[Step]) -> float | None:
    """The last load up to which no request failed, or the share of failures was certainly within ERROR_LIMIT."""
    low = None
    for place, step in enumerate(steps):
        if step.failed and share_range(steps, place)[1] > ERROR_LIMIT:
            break
        low = step.load
    return low
