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
from llmlocust.text.message import Message, message, term

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
    do: Message
    because: Message
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
        *_validity(checks),
        *(_range(steps, verdict) if climbs(levels) else ()),
        *_errors(steps_of(levels), verdict),
        *_queue(steps, verdict),
        *_admission(ramp, verdict, goodput),
        *_longer(levels, verdict, checks, counted=counted),
        *_own_limits(steps, verdict),
    ]
    return found[:MOST]


_REPAIRS = {
    "client_limits": message("Measure again with a higher limit of open files (ulimit -n), or from more machines."),
    "network": message("Measure again when the network to the server is up."),
    "name_lookup": message(
        "Measure again with the server's IP address as the host, or with a name service that works."
    ),
    "proxy": message("Measure again with a proxy that works, or without one (NO_PROXY)."),
    "tls": message("Measure again with a certificate that the load generator trusts."),
    "requests_not_sent": message("Measure again with a valid path and valid headers (--llm-path, --llm-header)."),
}
"""By the keys of the checks of requests that never reached the server."""


def _validity(checks: Sequence[Check]) -> Iterator[Advice]:
    """A generator that was full comes first: all else may be its own doing."""
    for check in checks:
        if check.ok or check.value is None:
            continue
        share = words.share(check.value)
        if check.key == "client_cpu":
            because = message("The busiest load process used {share} of its core.", share=share)
            yield Advice(
                message("Measure again with more load processes or machines (--processes, --worker)."), because
            )
        if check.key in _REPAIRS:
            because = message("{share} of a level's requests never reached the server.", share=share)
            yield Advice(_REPAIRS[check.key], because)


def _range(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """Where the next run should look."""
    limit, unit = verdict.slo_limit, verdict.unit
    if verdict.gone is not None or not steps:
        return
    top = steps[-1].load
    if not limit.reached:
        if limit.status is Status.NOT_REACHED:
            because = message("Nothing broke up to {load}.", load=words.with_unit(top, unit))
            higher = words.with_unit(2 * top, unit)
            yield Advice(message("Go higher: up to {load}, to see where it breaks.", load=higher), because)
    elif limit.level_ok is None and limit.level_bad is not None:
        low = words.with_unit(_short_load(limit.level_bad / 4.0), unit)
        because = message("The lowest level, {load}, did not hold.", load=words.with_unit(limit.level_bad, unit))
        yield Advice(message("Begin lower: from {load} up.", load=low), because)
    elif limit.level_ok and limit.level_bad and limit.level_bad > WIDE * limit.level_ok:
        loads = _between(limit.level_ok, limit.level_bad, unit)
        if loads:
            because = message(
                "The limit lies somewhere between {low} and {high}.",
                low=words.load(limit.level_ok),
                high=words.with_unit(limit.level_bad, unit),
            )
            yield Advice(message("Measure between: {loads}.", loads=words.loads(loads, unit)), because)


def _between(low: float, high: float, unit: str) -> list[float]:
    """Loads that one would ask for; of users, there are whole ones only."""
    inside = (low + part / 4.0 * (high - low) for part in range(1, 4))
    return sorted({_short_load(each) if unit == RATE else float(round(each)) for each in inside} - {low, high})


def _short_load(load: float) -> float:
    """A load that one would ask for."""
    return float(f"{load:.2g}") if load < 10 else float(round(load))


_CURES = {
    "http_429": message("Ask for a higher rate limit, or let clients wait as long as Retry-After says."),
    "http_4xx": message("Look at one request by hand: the server refuses it as wrong, whatever the load."),
    "http_503": message("See how many requests the server lets wait: a longer queue trades refusals for waiting."),
    "http_504": message("Give the gateway before the server a longer time-out, or let it pass streams through."),
    "http_5xx": message("Look into the server's log at that time."),
    "out_of_memory": message("Let the server run fewer requests at once, or shorter ones: its memory is full."),
    "connect": message(
        "Raise what the server (or the proxy before it) accepts: its backlog, its open files, its connections."
    ),
    "timeout_first_token": message("Let fewer requests wait: refusing at once is kinder than a time-out."),
    "timeout_stall": message("See what holds up streams that have begun: preemption, a proxy that buffers."),
    "timeout_total": message("Ask for fewer tokens, or give requests a longer time-out."),
    "reset": message("See the log of the server and of the proxy before it: one of them closes connections."),
    "truncated": message("See the log of the server and of the proxy before it: one of them ends streams early."),
    "error_event": message("Look into the server's log: it says 200 and then fails."),
}


def _errors(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """The most frequent kind of failure at the first load that fails by more than 1 %."""
    for step in steps:
        if step.errors <= ERROR_LIMIT or math.isnan(step.errors):
            continue
        for kind, count in step.kinds().items():
            if kind in _CURES:
                because = message(
                    "{count} of {requests} requests at {load}: {kind}.",
                    count=count,
                    requests=step.requests,
                    load=words.with_unit(step.load, verdict.unit),
                    kind=term(ERROR_KINDS[kind]),
                )
                yield Advice(_CURES[kind], because)
                return
        return


def _queue(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """Whether a queue is for want of places in the batch, or for a batch that is too slow."""
    found = verdict.saturation
    if not found.reached or len(steps) < 2:
        return
    first, last = steps[0], steps[-1]
    start = next((step for step in reversed(steps) if found.level_ok and step.load <= found.level_ok), first)
    at_start, at_end = (step.figure("itl", "p50") for step in (start, last))
    alone = first.figure("itl", "p50")
    waits = [step.figure("ttft", "p50") for step in (start, last)]
    if start is not last and 0.0 < at_end <= STEADY * at_start and all(map(math.isfinite, waits)):
        because = message(
            "From {low} to {high} the median gap between tokens stays ({gap}), while the median TTFT goes {ttft}.",
            low=words.load(start.load),
            high=words.with_unit(last.load, verdict.unit),
            gap=words.change(at_start, at_end),
            ttft=words.change(*waits),
        )
        do = message("Let the server run more requests at once (vLLM: --max-num-seqs), or add a replica.")
        yield Advice(do, because)
    if alone > 0.0 and at_start > SLOWER * alone:
        because = message(
            "The median gap between tokens goes {gap} from {low} to {high}, before any queue.",
            gap=words.change(alone, at_start),
            low=words.load(first.load),
            high=words.with_unit(start.load, verdict.unit),
        )
        do = message("Make each step faster (quantisation, a faster or second GPU): the batch itself is slow.")
        yield Advice(do, because)


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
        because = message(
            "Requests within the limits fall from {most}/s at {best} to {left}/s at {last}.",
            most=words.digits(most),
            best=at,
            left=words.digits(left),
            last=words.with_unit(last.load, verdict.unit),
        )
        do = message("Let in no more than about {load}, and refuse the rest early.", load=at)
        if verdict.unit == USERS:
            do = message("Let in no more than about {load} at once, and refuse the rest early.", load=at)
        yield Advice(do, because)


def _longer(
    levels: Sequence[LevelFigures], verdict: Verdict, checks: Sequence[Check], *, counted: bool
) -> Iterator[Advice]:
    """How long the levels have to be held, or how many requests asked for, for a percentile with an interval, from how fast requests came."""
    for statistic, needed in BOUNDED.items():
        check = next((each for each in checks if each.key == f"requests_for_{statistic}"), None)
        if check is None or check.ok:
            continue
        short = [each for each in levels if each.level in check.levels and each.ok and each.window > 0.0]
        if short:
            worst = min(short, key=lambda each: each.ok / each.window)
            hold = needed * worst.window / worst.ok
            because = message(
                "{count} requests succeeded in {time} at {load}; {statistic} needs {needed}.",
                count=worst.ok,
                time=words.duration(worst.window),
                load=words.with_unit(worst.load, verdict.unit),
                statistic=statistic,
                needed=needed,
            )
            do = message("Hold the levels longer: {time} (--hold).", time=words.duration(math.ceil(hold)))
            if counted:
                do = message("Ask for {count} requests or more (--requests).", count=needed)
            yield Advice(do, because)
            return


def _own_limits(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    duration = next((each for each in verdict.thresholds if each.is_duration), None)
    if verdict.derived and duration is not None and steps:
        because = message("One level has none to derive.")
        if len(steps) > 1:
            because = message(
                "{limit} was derived from the lowest level, whose {name} is {value}.",
                limit=duration,
                name=duration.name,
                value=words.duration(steps[0].figure(duration.metric, duration.statistic)),
            )
        yield Advice(message("Say what your users need (--threshold): nobody gave limits."), because)
