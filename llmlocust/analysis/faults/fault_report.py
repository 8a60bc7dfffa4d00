"""`FaultReport`: what a fault did to the users, and how long it took until they had good answers again. Pure.

All numbers count requests by their scheduled arrival. Definitions are in docs/recovery.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmlocust.analysis.faults import effects
from llmlocust.analysis.faults import recovery as recovering
from llmlocust.analysis.faults.baseline import MIN_REQUESTS, Baseline, baseline_of
from llmlocust.analysis.faults.course import Course, course_of
from llmlocust.analysis.faults.healing import Healing
from llmlocust.analysis.faults.metastable import Metastable, metastable
from llmlocust.analysis.faults.recovery import FULL_WINDOW, UNKNOWN, WINDOW, RecoveryTime
from llmlocust.analysis.faults.requests import Requests
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences

TARGET = 0.95
"""Share of good requests from which on a service has recovered, unless the user gives another."""


@dataclass(frozen=True)
class Conditions:
    """The load around a fault. Moments are epoch seconds."""

    began: float
    """Begin of the constant load, without its warm-up: the baseline begins here."""
    until: float
    """End of the constant load, or of what was observed."""
    unit: str = RATE
    """Open load (RATE), or closed load (USERS)."""
    timeout: float = 0.0
    """The clients' time-out in seconds; 0 without one."""
    target: float = TARGET
    baseline_until: float | None = None
    """End of the baseline. None: the injection of the fault."""


@dataclass(frozen=True)
class FaultReport:
    """One fault. Fields are named as in the JSON of a report. Durations are seconds; None means not known."""

    fault: FaultWindow
    confirmed: bool
    """Whether both ends of the fault were seen by something other than the users. Otherwise the verdict is void."""
    baseline: Baseline | None = None
    impact: float | None = None
    """From the injection until the first request outside the baseline's band."""
    detect: float | None = None
    """From the injection until a client saw the first error."""
    recovery: RecoveryTime = UNKNOWN
    """From the lift."""
    full_recovery: RecoveryTime = UNKNOWN
    """From the lift until the service is like the baseline for 60 s, also between tokens."""
    first_success: float | None = None
    """From the lift."""
    relapse: float | None = None
    """From the lift until many requests were bad again, after the recovery."""
    lost: float | None = None
    cut_streams: float | None = None
    lost_tokens: float | None = None
    slo_debt: float | None = None
    """Seconds: the integral of the share of good requests that is missing to the target."""
    slo_debt_requests: float | None = None
    """The same in requests."""
    depth: float | None = None
    """Share of the usual good requests that was missing in the worst 5 s."""
    overshoot: float | None = None
    """Peak of the p95 after the lift, as a multiple of the baseline's."""
    backlog: float | None = None
    """Requests in flight at the lift, above the usual ones."""
    drain: float | None = None
    """From the lift until no more requests were in flight than usual."""
    amplification: float | None = None
    """Attempts per first attempt, from the injection to the recovery."""
    metastable: bool | None = None
    metastable_why: str = ""
    error_mix: dict[str, float] = field(default_factory=dict)
    course: Course | None = None
    """good(t) from the beginning of the baseline to the end of the load."""
    observed: float | None = None
    """Seconds from the lift until the load ended."""
    remarks: tuple[str, ...] = ()
    healing: Healing | None = None
    """The search for the load at which the service heals; None if there was none."""
    problem: str = ""
    """Why the recovery from a confirmed fault cannot be determined at all, as a sentence; empty if it can be judged."""

    @property
    def outage(self) -> float | None:
        """Seconds from the injection until the users had good answers again."""
        seconds, length = self.recovery.seconds, self.fault.outage
        return None if seconds is None or length is None else length + seconds

    @property
    def is_watched_briefly(self) -> bool:
        """Whether the service recovered, and was then watched for less than a full recovery takes."""
        seconds = self.recovery.seconds
        return seconds is not None and (self.observed or 0.0) - seconds < FULL_WINDOW

    @property
    def says(self) -> Message:
        """One or two sentences."""
        if not self.confirmed:
            return self._void()
        if self.baseline is None:
            return message(
                "The recovery from “{name}” cannot be determined: {reason}", name=self.fault.name, reason=self.problem
            )
        healing = [self.healing.says] if self.healing else []
        return sentences([self._recovered(self.fault.name), *self._relapsed(), *healing, *self._costs()])  # type: ignore[return-value]

    @property
    def in_brief(self) -> Message:
        """One sentence, for a headline."""
        is_judged = self.confirmed and self.baseline is not None
        return self._recovered(self.fault.name) if is_judged else self.says

    def _void(self) -> Message:
        name, problem = self.fault.name, self.fault.problem
        if problem:
            return message("The verdict on “{name}” is void: {reason}", name=name, reason=words.sentence(problem))
        return message(
            "The verdict on “{name}” is void: nothing but the users shows that the fault was present and then over.",
            name=name,
        )

    @property
    def was_noticed(self) -> bool:
        """Whether requests suffered more than the baseline explains: those that arrived after the injection, or those that
        were under way and failed.
        """
        return self.impact is not None or self.detect is not None

    def _recovered(self, name: str) -> Message:
        recovery, observed = self.recovery, words.duration(self.observed or 0.0)
        if self.metastable:
            return message(
                "Metastable: “{name}” was over and the load was that of the baseline, but the service stayed bad for {observed}.",
                name=name,
                observed=observed,
            )
        if not self.observed:
            return message(
                "The recovery from “{name}” is not known: the load changed or ended before the fault was lifted.",
                name=name,
            )
        if recovery.seconds is None and not recovery.censored:
            return message(
                "The recovery from “{name}” is not known: the load ended {observed} after the lift, or had too few requests.",
                name=name,
                observed=observed,
            )
        if recovery.seconds is None:
            return message("Not recovered within {observed} after “{name}” was lifted.", observed=observed, name=name)
        if not self.was_noticed and recovery.seconds == 0.0:
            return message("Users did not notice “{name}”.", name=name)
        if self.impact is None and recovery.seconds == 0.0:
            return message("“{name}” hit only requests that were under way; later ones were as usual.", name=name)
        if recovery.seconds == 0.0:
            return message("Recovered as soon as “{name}” was lifted.", name=name)
        return message(
            "Recovered {seconds} after “{name}” was lifted (95 % CI {interval}).",
            seconds=words.duration(recovery.seconds),
            name=name,
            interval=words.span(recovery.low or 0.0, recovery.high or 0.0),
        )

    def _relapsed(self) -> list[Message]:
        if self.relapse is None:
            return []
        return [
            message(
                "Many requests failed again, or were slower than usual, {time} after the lift.",
                time=words.duration(self.relapse),
            )
        ]

    def _costs(self) -> list[Message]:
        if not self.lost or not self.was_noticed:  # the baseline, too, has requests that fail
            return []
        lost, cut = words.digits(self.lost), words.digits(self.cut_streams or 0.0)
        if not self.cut_streams:
            return [message("Lost requests: {lost}.", lost=lost)]
        if self.cut_streams == self.lost:
            return [message("Lost requests: {lost}, cut off in the middle of a stream.", lost=lost)]
        return [message("Lost requests: {lost}, of which {cut} in the middle of a stream.", lost=lost, cut=cut)]


def recovery_of(fault: FaultWindow, requests: Requests, conditions: Conditions) -> FaultReport:
    """Judge one fault. Requests that failed on the load generator say nothing about the server, and are left out."""
    report = FaultReport(fault, fault.is_confirmed)
    began, lifted = fault.began, fault.lifted
    if not fault.is_confirmed or began is None or lifted is None:
        return report
    requests = requests.of_the_server()
    baseline_until = began if conditions.baseline_until is None else conditions.baseline_until
    baseline = baseline_of(requests, conditions.began, baseline_until, conditions.target)
    if baseline is None:
        few = message(
            "The baseline has fewer than {number} requests, or most of them failed.", number=str(MIN_REQUESTS)
        )
        return FaultReport(fault, True, problem=few)
    return _judged(fault, began, lifted, requests, baseline, conditions)


def _judged(
    fault: FaultWindow,
    began: float,
    lifted: float,
    requests: Requests,
    baseline: Baseline,
    conditions: Conditions,
) -> FaultReport:
    until = conditions.until
    watched = recovering.watch(requests, baseline, lifted, until)
    recovery = recovering.time_to_recover(watched, baseline.off)
    recovered = until if recovery.seconds is None else lifted + recovery.seconds
    judged = baseline.is_known(requests), baseline.is_good(requests), baseline.is_off(requests)
    during = course_of(requests, *judged, began, max(began + 1.0, math.ceil(recovered - began) + began))
    impact = effects.time_to_impact(requests, baseline, began, max(recovered, lifted))
    lost = effects.losses(requests, began, recovered)
    debt, debt_requests = effects.slo_debt(during, baseline.target)
    backlog, drain = effects.backlog(requests, baseline, lifted, until)
    relapse = None if recovery.seconds is None else recovering.relapse(watched, recovery.seconds, baseline.off)
    verdict = _verdict(requests, baseline, recovery, relapse, fault, conditions)
    return FaultReport(
        fault,
        confirmed=True,
        baseline=baseline,
        impact=impact,
        detect=effects.time_to_detect(requests, baseline, began, max(recovered, lifted)),
        recovery=recovery,
        full_recovery=recovering.time_to_full_recovery(watched, recovery, baseline.off, baseline.slow_tokens),
        first_success=effects.time_to_first_success(requests, began, lifted),
        relapse=relapse,
        lost=lost.requests,
        cut_streams=lost.streams,
        lost_tokens=lost.tokens,
        slo_debt=debt if impact is not None else 0.0,
        slo_debt_requests=debt_requests if impact is not None else 0.0,
        depth=effects.depth(during, baseline.good) if impact is not None else 0.0,
        overshoot=effects.overshoot(requests, baseline, lifted, min(until, recovered + WINDOW)),
        backlog=backlog,
        drain=drain,
        amplification=effects.amplification(requests, began, max(recovered, lifted)),
        metastable=verdict.value,
        metastable_why=verdict.why,
        error_mix=lost.kinds,
        course=course_of(requests, *judged, baseline.began, until),
        observed=max(0.0, until - lifted),
        remarks=tuple(_remarks(requests, baseline, conditions, began, lifted)),
    )


def _verdict(
    requests: Requests,
    baseline: Baseline,
    recovery: RecoveryTime,
    relapse: float | None,
    fault: FaultWindow,
    conditions: Conditions,
) -> Metastable:
    outage, lifted, is_open = fault.outage or 0.0, fault.lifted or 0.0, conditions.unit == RATE
    until, timeout = conditions.until, conditions.timeout
    return metastable(requests, baseline, recovery, relapse, outage, lifted, until, timeout, is_open=is_open)


def _remarks(
    requests: Requests, baseline: Baseline, conditions: Conditions, began: float, lifted: float
) -> list[Message]:
    remarks = []
    if baseline.is_below_target:
        remarks.append(
            message(
                "Only {good} of the baseline's requests are good; the target is {target}. The service has recovered when it is like the baseline.",
                good=words.share(baseline.good),
                target=words.share(conditions.target),
            )
        )
    if conditions.unit == USERS:
        arrived = float(requests.weight[(requests.due >= began) & (requests.due < lifted)].sum())
        expected = baseline.rate * (lifted - began)
        remarks.append(
            message(
                "The load was closed: users who wait for an answer send nothing. During the fault {arrived} requests arrived, and about {expected} would have with open load. Lost requests, SLO debt and the backlog are too small.",
                arrived=words.digits(arrived),
                expected=words.digits(expected),
            )
        )
    return remarks


def recoveries_of(faults: Sequence[FaultWindow], requests: Requests, conditions: Conditions) -> list[FaultReport]:
    """Judge faults in the order of their injection.

    The baseline of all of them is the time before the first: later, the traces of an earlier fault may remain. A fault is
    watched until the next one begins.
    """
    known = sorted((fault for fault in faults if fault.began is not None), key=lambda fault: fault.began or 0.0)
    if not known:
        return [FaultReport(fault, confirmed=False) for fault in faults]
    first, reports = known[0].began, {}
    for place, fault in enumerate(known):
        following = known[place + 1].began if place + 1 < len(known) else None
        until = conditions.until if following is None else min(conditions.until, following)
        own = Conditions(
            conditions.began, until, conditions.unit, conditions.timeout, conditions.target, baseline_until=first
        )
        reports[id(fault)] = recovery_of(fault, requests, own)
    return [reports.get(id(fault)) or FaultReport(fault, confirmed=False) for fault in faults]
