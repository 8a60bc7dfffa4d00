"""Whether a service stays bad after its fault is over. Pure.

A metastable failure persists after its trigger is gone, because something that the bad state causes keeps it up: retries,
cold caches, open circuit breakers (Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021; Huang et al.,
Metastable Failures in the Wild, OSDI 2022). A test finds it without knowing the cause: the fault is confirmed to be over, the
load is that of the baseline, much time has passed, and the service is still bad.

A long backlog looks the same for a while. While it shrinks, the service is on its way back, and the result is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llmlocust.analysis.faults.baseline import Baseline
from llmlocust.analysis.faults.recovery import CHANCE, MIN_WINDOW_REQUESTS, WINDOW, RecoveryTime
from llmlocust.analysis.faults.requests import Requests
from llmlocust.text.message import Message, message

OUTAGES, TIMEOUTS = 3.0, 5.0
"""Multiples of the outage and of the clients' time-out that must have passed since the lift."""
_LOAD_TOLERANCE = 0.1
"""Share by which the load may differ from the baseline's, besides chance."""
_Z = 3.0
_SHRINKS = 0.9
"""Factor. A backlog, or a share of bad requests, that is smaller than before by this factor is shrinking."""


@dataclass(frozen=True)
class Metastable:
    """True, False, or None where it is not known, with the reason."""

    value: bool | None
    why: Message


def metastable(
    requests: Requests,
    baseline: Baseline,
    recovered: RecoveryTime,
    outage: float,
    lifted: float,
    until: float,
    timeout: float,
    *,
    is_open: bool,
) -> Metastable:
    """Judge a fault that is confirmed to be over. `timeout` is that of the clients in seconds; 0 if they have none."""
    if recovered.seconds is not None:
        return Metastable(False, message("The service recovered."))
    waited, needed = until - lifted, max(OUTAGES * outage, TIMEOUTS * timeout)
    if waited < needed:
        return Metastable(
            None,
            message(
                "The load ended {waited} s after the fault; {needed} s are needed to call the failure metastable.",
                waited=f"{waited:.0f}",
                needed=f"{needed:.0f}",
            ),
        )
    if is_open and not _is_usual_load(requests, baseline, lifted, until):
        return Metastable(None, message("The load after the fault was not that of the baseline."))
    if not _is_bad_at_end(requests, baseline, until):
        return Metastable(None, message("The service was good again right before the load ended."))
    if _gets_better(requests, baseline, lifted, until):
        return Metastable(None, message("The service was getting better when the load ended."))
    return Metastable(
        True, message("The fault is over and the load is that of the baseline, but the service stays bad.")
    )


def _is_usual_load(requests: Requests, baseline: Baseline, lifted: float, until: float) -> bool:
    """Whether as many first attempts per second arrived in the second half after the lift as in the baseline."""
    began = (lifted + until) / 2.0
    count = float(requests.weight[(requests.due >= began) & (requests.due < until)].sum())
    expected = baseline.rate * (until - began)
    relative_error = math.sqrt(
        1.0 / max(expected, 1.0) + 1.0 / max(baseline.rate * (baseline.ended - baseline.began), 1.0)
    )
    return abs(count / max(expected, 1e-9) - 1.0) <= _LOAD_TOLERANCE + _Z * relative_error


def _is_bad_at_end(requests: Requests, baseline: Baseline, until: float) -> bool:
    rows = requests.where((requests.due < until) & ~requests.is_aborted)
    last = min(int(np.searchsorted(rows.due, until - WINDOW)), max(0, len(rows) - MIN_WINDOW_REQUESTS))
    is_bad = ~baseline.is_good(rows)[last:]
    missed = baseline.off.exceeds(np.array([is_bad.sum()]), np.array([len(is_bad)]), CHANCE)
    return bool(missed[0])


def _gets_better(requests: Requests, baseline: Baseline, lifted: float, until: float) -> bool:
    """Whether the backlog or the bad share is smaller in the last third after the lift than in the middle third."""
    first, second = lifted + (until - lifted) / 3.0, lifted + (until - lifted) * 2.0 / 3.0
    in_flight = [requests.in_flight(np.linspace(*ends, 100)).mean() for ends in ((first, second), (second, until))]
    excess = [max(0.0, float(mean) - baseline.max_in_flight) for mean in in_flight]
    if excess[1] < _SHRINKS * excess[0]:
        return True
    is_bad = ~baseline.is_good(requests) & ~requests.is_aborted
    middle, end = (
        is_bad[(requests.due >= began) & (requests.due < ended)] for began, ended in ((first, second), (second, until))
    )
    if not len(middle) or not len(end):
        return False
    noise = _Z * math.sqrt(baseline.off.dispersion * 0.25 * (1.0 / len(middle) + 1.0 / len(end)))
    return bool(end.mean() < _SHRINKS * middle.mean() - noise)
