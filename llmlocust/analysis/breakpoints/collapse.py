"""Where a system falls apart: throughput that falls, errors that pass 1 %, a server that is gone. Pure."""

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

_FALL = 0.05  # a smaller fall of throughput is no collapse, however certain


def lost_server(steps: Sequence[Step], gone: Mapping[int, float], unit: str) -> tuple[float, Message] | None:
    """The first load at which the server was gone, and how that showed."""
    for step in steps:
        seconds = [gone[each.level] for each in step.levels if each.level in gone]
        if seconds:
            at = words.with_unit(step.load, unit)
            if min(seconds) < 1.0:
                return step.load, message("nothing could connect at {load}", load=at)
            since = f"{min(seconds):.0f}"
            return step.load, message("nothing could connect at {load} from second {since} on", load=at, since=since)
    return None


def find_collapse(
    steps: Sequence[Step],
    there: Sequence[Step],
    curve: Sequence[Step],
    unit: str,
    lost: tuple[float, Message] | None,
) -> Finding:
    """`there` are the steps at which there was a server, `curve` those of them whose throughput is known."""
    gone = None if lost is None else _loss(steps, lost, unit)
    found = [each for each in (_fall(curve, unit), errors_onset(there, unit), gone) if each is not None]
    if found:
        first = min(found, key=lambda each: each.level_bad or math.inf)
        others = [each.why for each in found if each is not first and each.level_bad == first.level_bad]
        return first if not others else replace(first, why=clauses([first.why, *others]))
    if not steps:
        return Finding(Status.UNKNOWN, message("cannot be told: no level has a load and requests"))
    top, errors = words.with_unit(steps[-1].load, unit), _errors_below(steps, unit)
    if len(curve) < 2:
        why = message(
            "not reached up to {top}: {errors}; whether throughput falls cannot be told", top=top, errors=errors
        )
    else:
        why = message("not reached up to {top}: {errors}, throughput does not fall", top=top, errors=errors)
    return Finding(Status.NOT_REACHED, why)


def _errors_below(steps: Sequence[Step], unit: str) -> Message:
    """What the errors of levels were of which none surely has too many."""
    step = next((step for step in steps if step.errors > ERROR_LIMIT), None)
    if step is None:
        worst = max((step.errors for step in steps if step.requests), default=math.nan)
        if math.isnan(worst):
            return message("errors at most {share} are known", share=words.UNKNOWN)
        return message("no errors") if worst == 0.0 else message("errors at most {share}", share=words.share(worst))
    share, load = words.share(step.errors), words.with_unit(step.load, unit)
    if not step.counted:
        return message("errors were {share} at {load}, but so few prove no more than chance", share=share, load=load)
    return message(
        "errors were {share} at {load}, but {failed} of {requests} requests prove no more than chance",
        share=share,
        load=load,
        failed=step.failed,
        requests=step.requests,
    )


def _loss(steps: Sequence[Step], lost: tuple[float, Message], unit: str) -> Finding:
    load, said = lost
    before = [step.load for step in steps if step.load < load and step.ok]
    if not before and not any(step.ok for step in steps):
        why = message("{loss}: see whether a server is there, and its address", loss=said)
        return Finding(Status.REACHED, why, None, None, load, None, load)
    if not before:
        why = message(
            "{loss}: the server was gone. See its log, whether it crashed under the load or was stopped; then run again",
            loss=said,
        )
        return Finding(Status.REACHED, why, None, None, load, None, load)
    why = message(
        "{loss}: the server was gone. See its log, whether it crashed under the load or was stopped; then run again from "
        "{load} up",
        loss=said,
        load=words.with_unit(before[-1], unit),
    )
    return Finding(Status.REACHED, why, load, before[-1], load, before[-1], load)


def _fall(curve: Sequence[Step], unit: str) -> Finding | None:
    """The first load from which throughput is below its best by more than noise, and stays there."""
    if len(curve) < 2:
        return None
    best = max(range(len(curve)), key=lambda place: curve[place].throughput)
    if curve[best].throughput <= 0.0:
        return None

    def lost(place: int) -> float:
        return 1.0 - curve[place].throughput / curve[best].throughput

    full = next(place for place, step in enumerate(curve) if as_good(step, curve[best]))
    for place in range(best + 1, len(curve)):
        stays = all(lost(later) > _FALL for later in range(place, len(curve)))
        if stays and _fell(curve[full:place], curve[place:]):
            low, high = curve[place - 1], curve[place]
            why = message(
                "throughput falls {before} → {after}/s ({share} below its best, at {best}) by {load}",
                before=words.digits(curve[best].throughput),
                after=words.digits(high.throughput),
                share=words.share(lost(place)),
                best=words.load(curve[best].load),
                load=words.with_unit(high.load, unit),
            )
            part = (_FALL - lost(place - 1)) / (lost(place) - lost(place - 1)) if lost(place) > lost(place - 1) else 0.5
            point = low.load + min(1.0, max(0.0, part)) * (high.load - low.load)
            least = min(curve[full].load, point * max(0.0, 1.0 - 1.96 * error_of_place(low)))
            return Finding(Status.REACHED, why, point, least, high.load, curve[best].load, high.load)
    return None


def _fell(before: Sequence[Step], after: Sequence[Step]) -> bool:
    """Whether throughput fell from the plateau to what came after it, beyond noise.

    Both are pooled: the best of several equal levels is above them all by luck, and a single level proves less. The
    more levels there are to choose a fall from, the more it has to be (Bonferroni).
    """
    first, second = (
        mean_of((step.throughput, step.ended / max(step.throughput, 1e-9)) for step in each) for each in (before, after)
    )
    counts = [max(1.0, sum(step.ended for step in each)) for each in (before, after)]
    error = math.sqrt(1.0 / counts[0] + 1.0 / counts[1] + 2.0 * WOBBLE**2)
    sure = NormalDist().inv_cdf(1.0 - 0.05 / (len(before) + len(after)))
    return first > 0.0 and -math.log(max(1e-9, second / first)) > max(_FALL, sure * error)


def errors_onset(steps: Sequence[Step], unit: str) -> Finding | None:
    """The first load at which errors are above the limit by more than chance."""
    for place, step in enumerate(steps):
        if not more_than(step.failed, step.requests, ERROR_LIMIT):
            continue
        share, load = words.share(step.errors), words.with_unit(step.load, unit)
        said = message("errors {share} at {load} ({kinds})", share=share, load=load, kinds=kinds_of(step))
        if place == 0:
            why = message("{errors}, the lowest level: it fails before load has anything to do with it", errors=said)
            return Finding(Status.REACHED, why, None, None, step.load, None, step.load)
        before = steps[place - 1]
        known = 0.0 if math.isnan(before.errors) else before.errors
        part = (ERROR_LIMIT - known) / (step.errors - known) if step.errors > known else 0.5
        point = before.load + min(1.0, max(0.0, part)) * (step.load - before.load)
        low = _last_without_errors(steps[:place])
        if low is not None:
            low = min(low, point * max(0.0, 1.0 - 1.96 * error_of_place(before)))
        return Finding(Status.REACHED, said, point, low, step.load, before.load, step.load)
    return None


def _last_without_errors(steps: Sequence[Step]) -> float | None:
    """The last load up to which no request failed, or surely too few."""
    low = None
    for place, step in enumerate(steps):
        if step.failed and share_range(steps, place)[1] > ERROR_LIMIT:
            break
        low = step.load
    return low
