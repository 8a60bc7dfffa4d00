"""Whether a service stays bad after its fault is over. Pure.

A metastable failure persists after its trigger is gone, because something that the bad state causes keeps it up: retries,
cold caches, open circuit breakers (Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021; Huang et al.,
Metastable Failures in the Wild, OSDI 2022). A test finds it without knowing the cause: the fault is confirmed to be over, the
load is that of the baseline, much time has passed, and the service is still bad.

A long backlog looks the same for a while. While it shrinks, the service is on its way back, and the result is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llmlocust.analysis.faults.baseline import Baseline
from llmlocust.analysis.faults.recovery import CHANCE, MIN_WINDOW_REQUESTS, WINDOW, RecoveryTime
from llmlocust.analysis.faults.requests import Requests
from llmlocust.text.message import Message, message

OUTAGES, TIMEOUTS = 5.0, 5.0
"""Multiples of the outage and of the clients' time-out that must have passed since the lift. A server that is 75 % busy needs
three outages to work off its backlog, one that is 83 % busy needs five. If its clients have left, they do not see it shrink."""
_LOAD_TOLERANCE = 0.1
"""Share by which the load may differ from the baseline's, besides chance."""
_Z = 3.0
_PARTS, _SHRINKS = 4, 0.8
"""A backlog, or a share of bad requests, shrinks if each of four means is below the one before, and the last is below this
share of the first. By chance, four means fall one after another in one of 24 cases, and rarely by a fifth."""


@dataclass(frozen=True)
class Metastable:
    """True, False, or None where it is not known, with the reason."""

    value: bool | None
    why: Message


def metastable(
    requests: Requests,
    baseline: Baseline,
    recovered: RecoveryTime,
    relapse: float | None,
    outage: float,
    lifted: float,
    until: float,
    timeout: float,
    *,
    is_open: bool,
) -> Metastable:
    """Judge a fault that is confirmed to be over. `timeout` is that of the clients in seconds; 0 if they have none."""
    if recovered.seconds is not None:
        if relapse is not None and _is_bad_at_end(requests, baseline, until):
            return Metastable(
                None, message("The service recovered for a while, and was bad again when the load ended.")
            )
        return Metastable(False, message("The service recovered."))
    if not recovered.censored:
        return Metastable(None, message("Too little was observed after the fault."))
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
    rows = requests.where((requests.due < until) & baseline.is_known(requests))
    last = min(int(np.searchsorted(rows.due, until - WINDOW)), max(0, len(rows) - MIN_WINDOW_REQUESTS))
    is_bad = ~baseline.is_good(rows)[last:]
    missed = baseline.off.exceeds(np.array([is_bad.sum()]), np.array([len(is_bad)]), CHANCE)
    return bool(missed[0])


def _gets_better(requests: Requests, baseline: Baseline, lifted: float, until: float) -> bool:
    """Whether the backlog, or the share of bad requests, shrinks steadily in the last two thirds of the time since the lift."""
    edges = np.linspace(lifted + (until - lifted) / 3.0, until, _PARTS + 1)
    backlogs = [float(requests.in_flight(np.linspace(began, ended, 100)).mean()) for began, ended in pairwise(edges)]
    rows = requests.where(baseline.is_known(requests))
    is_bad, places = ~baseline.is_good(rows), np.searchsorted(rows.due, edges)
    shares = [float(is_bad[begin:end].mean()) if end > begin else 1.0 for begin, end in pairwise(places)]
    return _shrinks(backlogs) or _shrinks(shares)


def _shrinks(means: Sequence[float]) -> bool:
    is_falling = all(after < before for before, after in pairwise(means))
    return is_falling and means[-1] < _SHRINKS * means[0]
