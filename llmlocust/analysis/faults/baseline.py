"""`Baseline`: the service before the fault, at the same load. Pure.

A request is *good* if it succeeds and meets the thresholds. Without thresholds it is good if it is *usual*: not slower than
1.2 times the upper bound of the baseline's p95. It is *off* if it is not good or not usual. The service has recovered when no
more requests are off than the target and the baseline allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from llmlocust.analysis.arrays import Bools, Floats
from llmlocust.analysis.faults import noise
from llmlocust.analysis.faults.noise import Noise
from llmlocust.analysis.faults.requests import Requests
from llmlocust.metrics.metric import METRICS

MIN_REQUESTS = 50
"""A baseline with fewer requests has no p95 that is known well enough."""
TAIL_FACTOR = 1.2
"""Times the upper bound of the baseline's p95 up to which a duration is usual."""
_TAIL = 0.95
_DISPERSION_BUCKET = 5.0
"""Seconds of a bucket whose counts show the dispersion. A queue's bursts are usually shorter."""
_GRID = 0.1
"""Seconds between the moments at which the requests in flight are counted."""


@dataclass(frozen=True)
class Baseline:
    """The service before the fault."""

    began: float
    ended: float
    requests: int
    rate: float
    """Requests per second."""
    metric: str
    """`ttft`, or `e2e` where no TTFT is known."""
    p95: float
    """Seconds of the metric, of successful requests. Failed ones have a share of their own."""
    limit: float
    """Seconds of the metric above which a request is not usual."""
    tpot_limit: float
    """The same of the time per output token; infinite if it is not known."""
    slow_tokens: Noise
    """The share of requests that may be above `tpot_limit`."""
    good: float
    """Share of good requests."""
    failed: float
    """Share of failed requests."""
    target: float
    """Share of good requests from which on the service has recovered."""
    is_below_target: bool
    """Whether the baseline misses the target that was asked for."""
    off: Noise
    """The share of requests that may be off."""
    in_flight: float
    """Mean requests in flight."""
    max_in_flight: float
    """Upper bound of the usual requests in flight."""

    def is_good(self, requests: Requests) -> Bools:
        is_good = requests.is_ok & requests.meets
        return is_good if requests.is_judged else is_good & self._is_usual(requests)

    def is_off(self, requests: Requests) -> Bools:
        return ~(requests.is_ok & requests.meets & self._is_usual(requests))

    def is_known(self, requests: Requests) -> Bools:
        """Return which requests are known to be off or not. One that the run's end cut off may have been late before that."""
        age = requests.ended - requests.due
        is_late = (age > self.limit) & (np.isnan(requests.ttft) | (self.metric != "ttft"))
        return ~requests.is_aborted | is_late

    def has_slow_tokens(self, requests: Requests) -> Bools:
        return np.asarray(requests.tpot > self.tpot_limit)

    def _is_usual(self, requests: Requests) -> Bools:
        return ~(duration_of(requests, self.metric) > self.limit)  # NaN: the request has no such duration


def duration_of(requests: Requests, metric: str) -> Floats:
    return requests.ttft if metric == "ttft" else requests.e2e


def baseline_of(requests: Requests, began: float, injected: float, target: float) -> Baseline | None:
    """Return the baseline from a moment until the injection of a fault; None with too few requests.

    It ends earlier by the p99 of the duration of requests that ended before: later requests were still under way, and the fault met some of them.
    """
    is_before = (requests.due >= began) & (requests.due < injected)
    if is_before.sum() < MIN_REQUESTS:
        return None
    due = requests.due[is_before]
    ended = undisturbed_until(due, requests.ended[is_before] - due, began, injected)
    rows = requests.where((requests.due >= began) & (requests.due < ended) & ~requests.is_aborted)
    metric = "ttft" if (~np.isnan(rows.ttft[rows.is_ok])).any() else "e2e"
    durations = duration_of(rows, metric)[rows.is_ok]
    durations = durations[~np.isnan(durations)]
    if len(durations) < MIN_REQUESTS:
        return None
    p95, limit = _tail(durations, METRICS[metric].floor)
    tpots = rows.tpot[~np.isnan(rows.tpot)]
    draft = Baseline(
        began=began,
        ended=ended,
        requests=len(rows),
        rate=float(rows.weight.sum()) / (ended - began),
        metric=metric,
        p95=p95,
        limit=limit,
        tpot_limit=_tail(tpots, METRICS["tpot"].floor)[1] if len(tpots) >= MIN_REQUESTS else math.inf,
        slow_tokens=Noise(1.0 - _TAIL),
        good=math.nan,
        failed=float(np.average(rows.has_failed, weights=rows.weight)),
        target=target,
        is_below_target=False,
        off=Noise(1.0 - target),
        in_flight=math.nan,
        max_in_flight=math.nan,
    )
    return _with_shares(draft, rows, requests)


def undisturbed_until(due: Floats, spans: Floats, began: float, injected: float) -> float:
    """Return the end of the time before a fault whose requests it did not meet, from the requests of that time.

    `spans`: the durations of these requests in seconds. The fault lengthens those that are under way, so they do not count.
    """
    whole = spans[due + spans < injected]
    longest = float(np.quantile(whole, 0.99)) if len(whole) else 0.0
    return injected - min(longest, (injected - began) / 2.0)


def _with_shares(draft: Baseline, rows: Requests, requests: Requests) -> Baseline:
    good = float(np.average(draft.is_good(rows), weights=rows.weight))
    off, slow = _noise_of(rows.due, draft.is_off(rows)), _noise_of(rows.due, draft.has_slow_tokens(rows))
    moments = np.arange(draft.began, draft.ended, _GRID)
    in_flight = requests.in_flight(moments[len(moments) // 10 :])
    mean = float(in_flight.mean())
    return replace(
        draft,
        good=good,
        target=min(draft.target, good),
        is_below_target=good < draft.target,
        off=replace(off, allowed=max(1.0 - draft.target, off.allowed)),
        slow_tokens=replace(slow, allowed=max(1.0 - _TAIL, slow.allowed)),
        in_flight=mean,
        max_in_flight=float(max(np.quantile(in_flight, 0.99), mean + 2.0 * math.sqrt(mean))),
    )


def _noise_of(due: Floats, is_bad: Bools) -> Noise:
    """Return the upper bound of a share, and the dispersion of its counts."""
    places = ((due - due[0]) / _DISPERSION_BUCKET).astype(int)
    scatter = noise.dispersion(np.bincount(places, is_bad).astype(float), np.bincount(places).astype(float))
    return Noise(noise.upper_share(float(is_bad.sum()) / scatter, len(due) / scatter), scatter)


def _tail(durations: Floats, floor: float) -> tuple[float, float]:
    """Return the p95, and the limit that follows from the upper bound of its 95 % interval (of order statistics)."""
    values, count = np.sort(durations), len(durations)
    rank = _TAIL * count
    upper = math.ceil(rank + 1.96 * math.sqrt(rank * (1.0 - _TAIL)))
    p95, bound = float(values[math.ceil(rank) - 1]), float(values[min(upper, count) - 1])
    return p95, max(TAIL_FACTOR * bound, bound + floor)
