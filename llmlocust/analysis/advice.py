"""Advice: what to try next. Each advice names the figure of the run that it is based on. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, Status, Step, steps_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.causes.cause import Causes
from llmlocust.analysis.causes.context import Context
from llmlocust.analysis.causes.find import causes_of
from llmlocust.analysis.causes.remedies import reason, remedy
from llmlocust.analysis.checks.check import BOUNDED, Check
from llmlocust.analysis.phases.phases import climbs, of_the_ramp
from llmlocust.metrics.levels import RATE, USERS, LevelFigures
from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.text import figures as words
from llmlocust.text.message import message, term

WIDE = 1.2
"""Factor. If a limit lies between two levels further apart than this, another run is worthwhile."""
LOST = 0.2
"""Share of the best goodput. If more is lost, rejecting requests is worthwhile."""
MAX_ADVICE = 6
"""Number of pieces of advice."""
_ORDER = ("slo_limit", "collapse", "saturation", "knee")
"""The numbers in the order in which their causes are advised on."""
_EXPLAINS_ERRORS = ("rate_limit", "proxy", "outage", "front_end")
"""Causes whose advice replaces that on the kind of error."""


@dataclass(frozen=True)
class Advice:
    """One thing to try next."""

    do: str
    because: str
    """A sentence with the figure of this run that the advice is based on."""


def advise(
    levels: Sequence[LevelFigures],
    verdict: Verdict,
    checks: Sequence[Check],
    goodput: Mapping[int, float],
    *,
    counted: bool = False,
    causes: Causes | None = None,
    context: Context | None = None,
) -> list[Advice]:
    """Return what to try next, the most important first.

    `goodput` is requests per second, by level. `counted`: the run had a fixed number of requests. `causes` are those of the
    verdict, which are otherwise found from the levels and `context`.
    """
    levels = [level for level in levels if level.level not in verdict.outages]
    ramp = of_the_ramp(levels)
    steps = steps_of(ramp)
    context = context or Context(checks=checks)
    if causes is None:
        causes = causes_of(verdict, ramp, context)
    repairs = list(_validity(checks))
    against = [] if verdict.windows else list(_against_causes(ramp, causes, context, repaired=bool(repairs)))
    explained = bool(against) and any(cause.key in _EXPLAINS_ERRORS for cause in causes.numbers.values())
    advice = [
        *repairs,
        *(_range(steps, verdict) if climbs(levels) else ()),
        *(() if explained else _errors(steps_of(levels), verdict)),
        *against,
        *_admission(ramp, verdict, goodput),
        *_longer(levels, verdict, checks, counted=counted),
        *_own_thresholds(steps, verdict),
    ]
    return advice[:MAX_ADVICE]


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
"""Advice by the keys of the checks of requests that never reached the server."""


def _validity(checks: Sequence[Check]) -> Iterator[Advice]:
    """Advice on failed checks. It comes first, because an overloaded load generator may cause everything else."""
    for check in checks:
        if check.ok or check.value is None:
            continue
        share = words.share(check.value)
        if check.key == "client_cpu":
            because = message("The busiest process used {share} of its core.", share=share)
            yield Advice(message("Measure again with more processes or machines (--processes, --worker)."), because)
        if check.key in _REPAIRS:
            because = message("{share} of a level's requests never reached the server.", share=share)
            yield Advice(_REPAIRS[check.key], because)


def _range(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """Advice on the loads of the next run."""
    limit, unit = verdict.slo_limit, verdict.unit
    if verdict.unreachable is not None or not steps:
        return
    top = steps[-1].load
    if not limit.reached:
        if limit.status is Status.NOT_REACHED:
            because = message("Every threshold was met up to {load}.", load=words.with_unit(top, unit))
            higher = words.with_unit(2 * top, unit)
            yield Advice(message("Raise the load up to {load} to find the limit.", load=higher), because)
    elif limit.level_ok is None and limit.level_bad is not None:
        low = words.with_unit(_short_load(limit.level_bad / 4.0), unit)
        because = message("The lowest level, {load}, failed.", load=words.with_unit(limit.level_bad, unit))
        yield Advice(message("Start lower: from {load} up.", load=low), because)
    elif limit.level_ok and limit.level_bad and limit.level_bad > WIDE * limit.level_ok:
        loads = _between(limit.level_ok, limit.level_bad, unit)
        if loads:
            because = message(
                "The limit lies between {low} and {high}.",
                low=words.load(limit.level_ok),
                high=words.with_unit(limit.level_bad, unit),
            )
            yield Advice(message("Measure between: {loads}.", loads=words.loads(loads, unit)), because)


def _between(low: float, high: float, unit: str) -> list[float]:
    """Up to three round loads between two others; numbers of users are whole."""
    inside = (low + quarters / 4.0 * (high - low) for quarters in range(1, 4))
    return sorted({_short_load(load) if unit == RATE else float(round(load)) for load in inside} - {low, high})


def _short_load(load: float) -> float:
    """The load, rounded to a value that is easy to type."""
    return float(f"{load:.2g}") if load < 10 else float(round(load))


_REMEDIES = {
    "http_429": message("Ask for a higher rate limit, or let clients wait as long as Retry-After says."),
    "http_4xx": message("Check one request by hand: the server rejects it as invalid at any load."),
    "http_503": message(
        "Check how many requests the server queues: with a longer queue it rejects fewer requests, but they wait longer."
    ),
    "http_504": message("Give the gateway in front of the server a longer timeout, or let it pass streams through."),
    "http_5xx": message("Check the server's log at that time."),
    "out_of_memory": message("Let the server run fewer requests at once, or shorter ones: its memory is full."),
    "connect": message(
        "Raise the limits of the server (or of the proxy in front of it): backlog, open files, connections."
    ),
    "timeout_first_token": message("Let fewer requests wait: an immediate rejection is better than a timeout."),
    "timeout_stall": message("Check what delays streams that have begun: preemption, or a proxy that buffers."),
    "timeout_total": message("Request fewer tokens, or give requests a longer timeout."),
    "reset": message("Check the logs of the server and of the proxy in front of it: one of them closes connections."),
    "truncated": message(
        "Check the logs of the server and of the proxy in front of it: one of them ends streams early."
    ),
    "error_event": message("Check the server's log: it responds with 200 and then fails."),
}
"""Advice by kind of error."""


def _errors(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """Advice on the most frequent kind of error at the first load with more than 1 % errors."""
    for step in steps:
        if step.errors <= ERROR_LIMIT or math.isnan(step.errors):
            continue
        for kind, count in step.kinds().items():
            if kind in _REMEDIES:
                because = message(
                    "{count} of {requests} requests at {load}: {kind}.",
                    count=count,
                    requests=step.requests,
                    load=words.with_unit(step.load, verdict.unit),
                    kind=term(ERROR_KINDS[kind]),
                )
                yield Advice(_REMEDIES[kind], because)
                return
        return


def _against_causes(
    levels: Sequence[LevelFigures], causes: Causes, context: Context, *, repaired: bool
) -> Iterator[Advice]:
    """Advice against the causes of the four numbers, the SLO limit's first. Each cause has one advice. `repaired`: there
    already is advice on the load generator.
    """
    by_key = {causes[name].key: causes[name] for name in reversed(_ORDER) if name in causes.numbers}
    keys = [causes[name].key for name in _ORDER if name in causes.numbers]
    for key in dict.fromkeys(keys):
        if key is not None and by_key[key].evidence and not (key == "client" and repaired):
            yield Advice(remedy(by_key[key], context, levels), reason(by_key[key]))


def _admission(levels: Sequence[LevelFigures], verdict: Verdict, goodput: Mapping[int, float]) -> Iterator[Advice]:
    """Advice to reject requests, if more load reduces goodput."""
    known = sorted((level for level in levels if level.level in goodput), key=lambda level: level.load)
    if len(known) < 2 or verdict.unreachable is not None or verdict.windows:
        return
    best = max(known, key=lambda level: goodput[level.level])
    last = known[-1]
    highest, rest = goodput[best.level], goodput[last.level]
    if best.load < last.load and rest < (1.0 - LOST) * highest:
        at = words.with_unit(best.load, verdict.unit)
        because = message(
            "Requests that meet the thresholds fall from {max}/s at {best} to {rest}/s at {last}.",
            max=words.digits(highest),
            best=at,
            rest=words.digits(rest),
            last=words.with_unit(last.load, verdict.unit),
        )
        do = message("Admit no more than about {load}, and reject the rest early.", load=at)
        if verdict.unit == USERS:
            do = message("Admit no more than about {load} at once, and reject the rest early.", load=at)
        yield Advice(do, because)


def _longer(
    levels: Sequence[LevelFigures], verdict: Verdict, checks: Sequence[Check], *, counted: bool
) -> Iterator[Advice]:
    """Advice on the duration of levels, or on the number of requests, that a percentile with an interval needs."""
    for statistic, needed in BOUNDED.items():
        check = next((check for check in checks if check.key == f"requests_for_{statistic}"), None)
        if check is None or check.ok:
            continue
        short = [level for level in levels if level.level in check.levels and level.ok and level.window > 0.0]
        if short:
            worst = min(short, key=lambda level: level.ok / level.window)
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
                do = message("Send {count} requests or more (--requests).", count=needed)
            yield Advice(do, because)
            return


def _own_thresholds(steps: Sequence[Step], verdict: Verdict) -> Iterator[Advice]:
    """Advice to give thresholds, if they were derived."""
    duration = next((threshold for threshold in verdict.thresholds if threshold.is_duration), None)
    if verdict.derived and duration is not None and steps:
        because = message("No thresholds can be derived from one level.")
        if len(steps) > 1:
            because = message(
                "{threshold} was derived from the lowest level, whose {name} is {value}.",
                threshold=duration,
                name=duration.name,
                value=words.duration(steps[0].figure(duration.metric, duration.statistic)),
            )
        yield Advice(message("Give the thresholds that your users need (--threshold)."), because)
