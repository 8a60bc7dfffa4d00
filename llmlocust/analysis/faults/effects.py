"""The effects of a fault: when users notice it, how deep it is, and which requests are lost. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from llmlocust.analysis.arrays import Bools, Floats
from llmlocust.analysis.faults.baseline import Baseline, duration_of
from llmlocust.analysis.faults.course import Course
from llmlocust.analysis.faults.noise import Noise, upper_share
from llmlocust.analysis.faults.requests import WRONG_SUCCESS, Requests

CHANCE = 0.01
"""Probability that chance alone shows an impact, over the time that is searched."""
_SIZES = (1, 2, 3, 5, 10)
"""Buckets that are judged together. Few requests a second show an impact only together."""
DEPTH_WINDOW = 5.0
"""Seconds of the window in which the depth is measured."""
_PEAK_WINDOW, _MIN_PEAK = 5.0, 20
"""Seconds and requests of a window whose p95 may be the peak."""
_GRID = 0.1


def first_excess(moments: Floats, is_bad: Bools, noise: Noise, began: float, ended: float) -> float | None:
    """Return the moment of the first bad request in the first buckets that have more bad ones than chance explains."""
    is_inside = (moments >= began) & (moments < ended)
    moments, is_bad = moments[is_inside], is_bad[is_inside]
    if not is_bad.any():
        return None
    order = np.argsort(moments)
    moments, is_bad = moments[order], is_bad[order]
    places = np.floor(moments - began).astype(int)
    count = int(places[-1]) + 1
    bad = np.bincount(places, is_bad, count).astype(float)
    total = np.bincount(places, minlength=count).astype(float)
    window = _first_window(bad, total, noise, CHANCE / count)
    if window is None:
        return None
    return float(moments[is_bad & (places >= window[0]) & (places < window[1])][0])


def _first_window(bad: Floats, total: Floats, noise: Noise, chance: float) -> tuple[int, int] | None:
    """Return the buckets (first, after the last) that first show an excess: the shortest of those with the earliest end."""
    windows = []
    for size in _SIZES:
        ones = np.ones(size)
        if size <= len(bad):
            is_excess = noise.exceeds(np.convolve(bad, ones, "valid"), np.convolve(total, ones, "valid"), chance)
            windows += [(place + size, size) for place in np.flatnonzero(is_excess)[:1]]
    if not windows:
        return None
    end, size = min(windows)
    return int(end - size), int(end)


def time_to_impact(requests: Requests, baseline: Baseline, began: float, ended: float) -> float | None:
    """Return the seconds from the injection until the first request that is off, among more than chance explains."""
    moment = first_excess(requests.due, baseline.is_off(requests), baseline.off, began, ended)
    return None if moment is None else moment - began


def time_to_detect(requests: Requests, baseline: Baseline, began: float, ended: float) -> float | None:
    """Return the seconds from the injection until a client sees the first error that the baseline does not explain."""
    failed = requests.has_failed
    if baseline.failed == 0.0:
        moments = requests.ended[failed & (requests.ended >= began) & (requests.ended < ended)]
        return float(moments.min()) - began if len(moments) else None
    usual = Noise(upper_share(baseline.failed * baseline.requests, baseline.requests), baseline.off.dispersion)
    moment = first_excess(requests.ended, failed, usual, began, ended)
    return None if moment is None else moment - began


def time_to_first_success(requests: Requests, began: float, lifted: float) -> float | None:
    """Return the seconds from the lift until the first complete answer to a request that was due during the fault or after.

    One success is no recovery. The number is reported because other tools call it the recovery time.
    """
    moments = requests.ended[requests.is_ok & (requests.due >= began) & (requests.ended >= lifted)]
    return float(moments.min()) - lifted if len(moments) else None


@dataclass(frozen=True)
class Losses:
    """The requests that failed because of a fault, weighted."""

    requests: float
    streams: float
    """Of these, cut after their first token."""
    tokens: float
    """Tokens that clients had received of answers that never ended."""
    kinds: dict[str, float]
    """Requests by outcome, the most frequent first; wrong successes have a key of their own."""


def losses(requests: Requests, began: float, ended: float) -> Losses:
    """Return the requests that failed between two moments, or were due between them and failed later.

    Requests that were under way at the injection count, too: a kill cuts them.
    """
    is_lost = requests.has_failed & (requests.ended >= began) & (requests.due < ended)
    rows = requests.where(is_lost)
    counts: Counter[str] = Counter()
    for outcome, is_wrong, weight in zip(rows.outcome, rows.is_wrong, rows.weight, strict=True):
        counts[WRONG_SUCCESS if is_wrong else str(outcome)] += weight
    cut = rows.weight * rows.is_cut
    return Losses(
        float(rows.weight.sum()), float(cut.sum()), float((cut * rows.tokens).sum()), dict(counts.most_common())
    )


def slo_debt(course: Course, target: float) -> tuple[float, float]:
    """Return the integral of the share of good requests that is missing to the target: in seconds, and in requests."""
    missing = np.nan_to_num(np.maximum(0.0, target - course.share))
    return float(missing.sum() * course.width), float((missing * course.total).sum())


def depth(course: Course, usual: float) -> float:
    """Return the share of the usual good requests that is missing in the worst window of 5 s; 1 if none is good."""
    shares = course.windows(min(DEPTH_WINDOW, course.width * max(1, len(course.total))))
    shares = shares[~np.isnan(shares)]
    return max(0.0, 1.0 - float(shares.min()) / usual) if len(shares) and usual > 0.0 else 0.0


def overshoot(requests: Requests, baseline: Baseline, lifted: float, ended: float) -> float | None:
    """Return the peak of the p95 of successful requests after the lift as a multiple of the baseline's; None if not known."""
    rows = requests.where(requests.is_ok & (requests.due >= lifted) & (requests.due < ended))
    durations = duration_of(rows, baseline.metric)
    due, durations = rows.due[~np.isnan(durations)], durations[~np.isnan(durations)]
    if len(due) < _MIN_PEAK or not baseline.p95 > 0.0:
        return None
    starts = lifted + np.arange(1 + max(0, int(due[-1] - _PEAK_WINDOW - lifted)))
    begins = np.minimum(np.searchsorted(due, starts), len(due) - _MIN_PEAK)
    ends = np.maximum(np.searchsorted(due, starts + _PEAK_WINDOW), begins + _MIN_PEAK)
    return max(float(np.quantile(durations[b:e], 0.95)) for b, e in zip(begins, ends, strict=True)) / baseline.p95


def backlog(requests: Requests, baseline: Baseline, lifted: float, until: float) -> tuple[float, float | None]:
    """Return the requests in flight at the lift above the usual ones, and the seconds until no more are in flight than usual.

    The seconds are None if more are in flight until the end.
    """
    moments = np.arange(lifted, until, _GRID)
    if not len(moments):
        return math.nan, None
    in_flight = requests.in_flight(moments)
    is_usual = in_flight <= baseline.max_in_flight
    drained = float(moments[np.argmax(is_usual)]) - lifted if is_usual.any() else None
    return max(0.0, float(in_flight[0]) - baseline.in_flight), drained


def amplification(requests: Requests, began: float, ended: float) -> float | None:
    """Return attempts per first attempt of the requests that were due between two moments; None if not known."""
    is_known = (requests.due >= began) & (requests.due < ended) & ~np.isnan(requests.attempts)
    weight = requests.weight[is_known]
    return float(np.average(requests.attempts[is_known], weights=weight)) if len(weight) else None
