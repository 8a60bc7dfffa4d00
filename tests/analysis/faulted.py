"""Requests around a fault, drawn from known shares of bad ones."""

import math
import random
from collections.abc import Callable, Sequence

import numpy as np

from llmlocust.analysis.faults.fault_report import Conditions, FaultReport, recovery_of
from llmlocust.analysis.faults.requests import Requests
from llmlocust.metrics.fault_window import FaultWindow

EPOCH = 1_795_000_000.0
BEGAN, LIFTED, END = 100.0, 120.0, 240.0
"""Seconds since EPOCH."""


def window(began: float = BEGAN, lifted: float = LIFTED, **other: object) -> FaultWindow:
    confirmed = {"confirmed_began": EPOCH + began, "confirmed_lifted": EPOCH + lifted}
    return FaultWindow("down", "proxy", EPOCH + began, EPOCH + lifted, **{**confirmed, **other})


def requests(
    seed: int,
    bad: Callable[[float], float],
    *,
    rate: float = 20.0,
    end: float = END,
    slow: bool = False,
    ttft: float = 0.1,
    attempts: Callable[[float], float] = lambda at: 1.0,
) -> Requests:
    """Return requests that are bad with a probability that depends on the second. Bad ones fail, or are slow."""
    generator = random.Random(seed)
    due, outcomes, firsts, durations, cuts, tries = [], [], [], [], [], []
    at = 0.0
    while (at := at + generator.expovariate(rate)) < end:
        is_bad = generator.random() < bad(at)
        first = ttft * generator.lognormvariate(0.0, 0.2) * (20.0 if is_bad and slow else 1.0)
        is_failed = is_bad and not slow
        due.append(EPOCH + at)
        outcomes.append("truncated" if is_failed and generator.random() < 0.5 else "reset" if is_failed else "ok")
        firsts.append(math.nan if outcomes[-1] == "reset" else first)
        durations.append(first if is_failed else first + 0.3)
        cuts.append(outcomes[-1] == "truncated")
        tries.append(attempts(at))
    return Requests.of(
        due, durations, outcomes, ttft=firsts, tokens=np.full(len(due), 10.0), is_cut=cuts, attempts=tries
    )


def report(
    rows: Requests, fault: FaultWindow | None = None, *, end: float = END, began: float = 0.0, **other: object
) -> FaultReport:
    return recovery_of(fault or window(), rows, Conditions(EPOCH + began, EPOCH + end, **other))


def outage(until: float, share: float = 1.0) -> Callable[[float], float]:
    """Return the probability of a bad request: from the injection until a moment."""
    return lambda at: share if BEGAN <= at < until else 0.0


def shares(pieces: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """Return a probability that changes at moments: (from this second on, probability)."""
    return lambda at: next(share for since, share in reversed(pieces) if at >= since)
