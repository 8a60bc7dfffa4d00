"""What to try next. Each advice rests on a figure of this run, which it names; nothing is advised that was not seen. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, Status, Step, steps_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.checks.check import BOUNDED, Check
from llmlocust.analysis.phases.phases import climbs, of_the_ramp
from llmlocust.metrics.levels import RATE, USERS, LevelFigures
from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.text import figures as words

WIDE = 1.2
"""A limit between two levels further apart than this factor is worth another run."""
STEADY = 1.3
"""Where gaps between tokens grow by less than this factor the server's steps are no slower: it only runs no more at once."""
SLOWER = 2.0
"""Where they grow by more, the steps themselves are what takes the time."""
LOST = 0.2
"""So much less goodput than at its best is worth turning requests away for."""
MOST = 6


@dataclass(frozen=True)
class Advice:
    do: str
    because: str
    """The figure of this run that it rests on."""


def advise(
    levels: Sequence[LevelFigures],
    verdict: Verdict,
    checks: Sequence[Check],
    goodput: Mapping[int, float],
    *,
    counted: bool = False,
) -> list[Advice]:
    """What to try next, the most telling first. `goodput` is requests a second, by level; `counted`: the run was of a
    fixed number of requests.
    """
    levels = [each for each in levels if each.level not in verdict.outages]
    ramp = of_the_ramp(levels)
    steps = steps_of(ramp)
    found = [
        *_trust(checks),
        *(_range(steps, verdict) if climbs(levels) else ()),
        *_errors(steps_of(levels), verdict),
        *_queue(steps, verdict),
        *_admission(ramp, verdict, goodput),
        *_longer(levels, verdict, checks, counted=counted),
        *_own_limits(steps, verdict),
    ]
    return found[:MOST]


_REPAIRS = {
    "client limits": "Measure again with a higher limit of open files (ulimit -n), or from more machines.",
    "network": "Measure again when the network to the server is up.",
    "name look-up": "Measure again with the server's IP address as the host, or with a name service that works.",
    "proxy": "Measure again with a proxy that works, or without one (NO_PROXY).",
    "TLS": "Measure again with a certificate that the load generator trusts.",
    "requests not sent": "Measure again with a valid path and valid headers (--llm-path, --llm-header).",
}
"""By the checks of requests that never reached the server."""


def _trust(checks: Sequence[Check]) -> Iterator[Advice]:
    """A generator that was full comes first: all else may be its own doing."""
    for check in checks:
        if check.name == "client CPU" and not check.ok and check.value is not None:
            because = f"The busiest load process used {words.share(check.value)} of its core."
            yield Advice("Measure again with more load processes or machines (--processes, --worker).", because)
        if check.name in _REPAIRS and not check.ok and check.value is not None:
            because = f"{words.share(check.value)} of a level's requests never reached the server."
            yield Advice(_REPAIRS[check.name], because)


def _range(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """Where the next run should look."""
    limit, unit = verdict.slo_limit, verdict.unit
    if verdict.gone is not None or not steps:
        return
    top = steps[-1].load
    if not limit.reached:
        if limit.status is Status.NOT_REACHED:
            because = f"Nothing broke up to {words.with_unit(top, unit)}."
            yield Advice(f"Go higher: up to {words.with_unit(2 * top, unit)}, to see where it breaks.", because)
    elif limit.level_ok is None and limit.level_bad is not None:
        low = words.with_unit(_short_load(limit.level_bad / 4.0), unit)
        because = f"The lowest level, {words.with_unit(limit.level_bad, unit)}, did not hold."
        yield Advice(f"Begin lower: from {low} up.", because)
    elif limit.level_ok and limit.level_bad and limit.level_bad > WIDE * limit.level_ok:
        between = f"{words.load(limit.level_ok)} and {words.with_unit(limit.level_bad, unit)}"
        loads = _between(limit.level_ok, limit.level_bad, unit)
        if loads:
            named = words.series([words.load(each) for each in loads])
            because = f"The limit lies somewhere between {between}."
            yield Advice(f"Measure between: {named} {words.unit_of(unit)}.", because)


def _between(low: float, high: float, unit: str) -> list[float]:
    """Loads that one would ask for; of users, there are whole ones only."""
    inside = (low + part / 4.0 * (high - low) for part in range(1, 4))
    return sorted({_short_load(each) if unit == RATE else float(round(each)) for each in inside} - {low, high})


def _short_load(load: float) -> float:
    """A load that one would ask for."""
    return float(f"{load:.2g}") if load < 10 else float(round(load))


_CURES = {
    "http_429": "Ask for a higher rate limit, or let clients wait as long as Retry-After says.",
    "http_4xx": "Look at one request by hand: the server refuses it as wrong, whatever the load.",
    "http_503": "See how many requests the server lets wait: a longer queue trades refusals for waiting.",
    "http_504": "Give the gateway before the server a longer time-out, or let it pass streams through.",
    "http_5xx": "Look into the server's log at that time.",
    "out_of_memory": "Let the server run fewer requests at once, or shorter ones: its memory is full.",
    "connect": "Raise what the server (or the proxy before it) accepts: its backlog, its open files, its connections.",
    "timeout_first_token": "Let fewer requests wait: refusing at once is kinder than a time-out.",
    "timeout_stall": "See what holds up streams that have begun: preemption, a proxy that buffers.",
    "timeout_total": "Ask for fewer tokens, or give requests a longer time-out.",
    "reset": "See the log of the server and of the proxy before it: one of them closes connections.",
    "truncated": "See the log of the server and of the proxy before it: one of them ends streams early.",
    "error_event": "Look into the server's log: it says 200 and then fails.",
}


def _errors(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """The most frequent kind of failure at the first load that fails by more than 1 %."""
    for step in steps:
        if step.errors <= ERROR_LIMIT or math.isnan(step.errors):
            continue
        for kind, count in step.kinds().items():
            if kind in _CURES:
                at = words.with_unit(step.load, verdict.unit)
                because = f"{count} of {step.requests} requests at {at}: {ERROR_KINDS[kind]}."
                yield Advice(_CURES[kind], because)
                return
        return


def _queue(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """Whether a queue is for want of places in the batch, or for a batch that is too slow."""
    found = verdict.capacity
    if not found.reached or len(steps) < 2:
        return
    first, last = steps[0], steps[-1]
    start = next((step for step in reversed(steps) if found.level_ok and step.load <= found.level_ok), first)
    at_start, at_end = (step.figure("gap", "p50") for step in (start, last))
    alone = first.figure("gap", "p50")
    where = f"{words.load(start.load)} to {words.with_unit(last.load, verdict.unit)}"
    waits = [step.figure("ttft", "p50") for step in (start, last)]
    if start is not last and 0.0 < at_end <= STEADY * at_start and all(map(math.isfinite, waits)):
        because = (
            f"From {where} the median gap between tokens stays ({words.change(at_start, at_end)}), while the median "
            f"TTFT goes {words.change(*waits)}."
        )
        yield Advice("Let the server run more requests at once (vLLM: --max-num-seqs), or add a replica.", because)
    if alone > 0.0 and at_start > SLOWER * alone:
        because = (
            f"The median gap between tokens goes {words.change(alone, at_start)} from {words.load(first.load)} to "
            f"{words.with_unit(start.load, verdict.unit)}, before any queue."
        )
        yield Advice("Make each step faster (quantisation, a faster or second GPU): the batch itself is slow.", because)


def _admission(levels: Sequence[LevelFigures], verdict: Verdict, goodput: Mapping[int, float]) -> Iterator[Advice]:
    """Where more load means fewer good answers, it pays to turn some away."""
    known = sorted((each for each in levels if each.level in goodput), key=lambda each: each.load)
    if len(known) < 2 or verdict.gone is not None or verdict.windows:
        return
    best = max(known, key=lambda each: goodput[each.level])
    last = known[-1]
    most, left = goodput[best.level], goodput[last.level]
    if best.load < last.load and left < (1.0 - LOST) * most:
        at = words.with_unit(best.load, verdict.unit)
        because = (
            f"Requests within the limits fall from {words.digits(most)}/s at {at} to {words.digits(left)}/s at "
            f"{words.with_unit(last.load, verdict.unit)}."
        )
        many = f"about {at} at once" if verdict.unit == USERS else f"about {at}"
        yield Advice(f"Let in no more than {many}, and refuse the rest early.", because)


def _longer(
    levels: Sequence[LevelFigures], verdict: Verdict, checks: Sequence[Check], *, counted: bool
) -> Iterator[Advice]:
    """How long the levels have to be held, or how many requests asked for, for a percentile with an interval, from how fast requests came."""
    for statistic, needed in BOUNDED.items():
        check = next((each for each in checks if each.name == f"requests for {statistic}"), None)
        if check is None or check.ok:
            continue
        short = [each for each in levels if each.level in check.levels and each.ok and each.window > 0.0]
        if short:
            worst = min(short, key=lambda each: each.ok / each.window)
            hold = needed * worst.window / worst.ok
            at = words.with_unit(worst.load, verdict.unit)
            because = (
                f"{worst.ok} requests succeeded in {words.duration(worst.window)} at {at}; {statistic} needs {needed}."
            )
            longer = f"Hold the levels longer: {words.duration(math.ceil(hold))} (--hold)."
            yield Advice(f"Ask for {needed} requests or more (--requests)." if counted else longer, because)
            return


def _own_limits(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    duration = next((each for each in verdict.thresholds if each.is_duration), None)
    if verdict.derived and duration is not None and steps:
        value = steps[0].figure(duration.metric, duration.statistic)
        if len(steps) == 1:
            yield Advice("Say what your users need (--threshold): nobody gave limits.", "One level has none to derive.")
            return
        because = f"{duration} was derived from the lowest level, whose {duration.name} is {words.duration(value)}."
        yield Advice("Say what your users need (--threshold): nobody gave limits.", because)
