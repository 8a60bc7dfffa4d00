"""The time from the lift of a fault until users get good answers again. Pure.

The rule of a run of good buckets (k buckets of one second in a row, 10 s in total) is applied to requests instead: a bucket of
ten requests misses a target of 95 % by chance every few seconds, even when all is well. A window of at least 10 s and 50
requests is fine if its requests that are off are not more than the allowed share explains, with a probability of 1 %. The
first fine window after the lift contains the recovery or begins with it. The moment is where the window's requests are
divided best into mostly bad ones and usual ones (change_point), which also gives its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmlocust.analysis import change_point
from llmlocust.analysis.arrays import Bools, Floats, Places
from llmlocust.analysis.faults.baseline import Baseline
from llmlocust.analysis.faults.noise import Noise
from llmlocust.analysis.faults.requests import Requests

WINDOW, MIN_WINDOW_REQUESTS = 10.0, 50
"""Seconds and requests of the shortest window that shows a recovery."""
FULL_WINDOW = 60.0
"""Seconds for which the service must be like the baseline to have recovered in full."""
CHANCE = 0.01
"""Probability that a window without any effect of the fault is not fine."""
MIN_BAD = 0.5
"""Minimum share of requests that are off right before a recovery."""
_MAX_USUAL = 0.2
_EARLIER = 20
"""Requests before the first fine window among which the recovery may lie, too."""
RELAPSE = 0.2
"""Share of requests that are off in a window, from which on the service has relapsed."""


@dataclass(frozen=True)
class RecoveryTime:
    """Seconds from the lift of a fault until the service has recovered, as the JSON of a report has them."""

    seconds: float | None
    """None if it is not known, or if the service has not recovered in the time that was observed."""
    low: float | None = None
    """Lower end of the 95 % interval; if censored, the seconds for which the service had surely not recovered."""
    high: float | None = None
    """Upper end of the interval; None if censored."""
    censored: bool = False
    """Whether the service had not recovered when the load or the observation ended."""


UNKNOWN = RecoveryTime(None)


@dataclass(frozen=True)
class Watched:
    """The requests from the lift of a fault until the end of the constant load, whose outcomes are known."""

    due: Floats
    is_off: Bools
    has_slow_tokens: Bools
    lifted: float
    until: float

    @property
    def seconds(self) -> float:
        return self.until - self.lifted


def watch(requests: Requests, baseline: Baseline, lifted: float, until: float) -> Watched:
    is_inside = (requests.due >= lifted) & (requests.due < until) & baseline.is_known(requests)
    rows = requests.where(is_inside)
    return Watched(rows.due, baseline.is_off(rows), baseline.has_slow_tokens(rows), lifted, until)


def time_to_recover(watched: Watched, noise: Noise) -> RecoveryTime:
    """Return the time until the first window whose requests are as usual; UNKNOWN if not even one window was observed."""
    if watched.seconds < WINDOW or len(watched.due) < MIN_WINDOW_REQUESTS:
        return UNKNOWN
    window = _first_fine(watched, noise)
    if window is None:
        last = watched.due[watched.is_off].max(initial=watched.lifted)
        return RecoveryTime(None, float(last) - watched.lifted, None, censored=True)
    return _placed(watched, *window, noise)


def _first_fine(watched: Watched, noise: Noise) -> tuple[int, int] | None:
    """Return the places of the first window's first request, and after its last one; None if no window is fine."""
    starts, ends, is_fine = _windows(watched, watched.is_off, noise, WINDOW)
    place = int(np.argmax(is_fine)) if is_fine.any() else None
    return None if place is None else (int(starts[place]), int(ends[place]))


def _windows(watched: Watched, flags: Bools, noise: Noise, seconds: float) -> tuple[Places, Places, Bools]:
    """Return the windows that begin at each request and were observed to their end, and which of them are fine."""
    due = watched.due
    ends = np.maximum(np.searchsorted(due, due + seconds), np.arange(len(due)) + MIN_WINDOW_REQUESTS)
    starts = np.flatnonzero((ends <= len(due)) & (due + seconds <= watched.until))
    counts, ends = np.concatenate(([0.0], np.cumsum(flags))), ends[starts]
    is_fine = ~noise.exceeds(counts[ends] - counts[starts], (ends - starts).astype(float), CHANCE)
    return starts, ends, is_fine


def time_to_full_recovery(watched: Watched, recovered: RecoveryTime, off: Noise, slow_tokens: Noise) -> RecoveryTime:
    """Return the time until 60 s in which not too many requests are off, and not too many have slow tokens."""
    if recovered.seconds is None:
        return recovered
    since = watched.lifted + recovered.seconds
    is_fine, starts = None, np.array([])
    for flags, noise in ((watched.is_off, off), (watched.has_slow_tokens, slow_tokens)):
        starts, _, fine = _windows(watched, flags, noise, FULL_WINDOW)
        is_fine = fine if is_fine is None else is_fine & fine
    if is_fine is None:
        return UNKNOWN
    moments = watched.due[starts[is_fine]]
    moments = moments[moments >= since - 1e-6]
    if not len(moments):
        return RecoveryTime(None, recovered.seconds, None, censored=True)
    seconds = float(moments[0]) - watched.lifted
    # the first request after the recovery
    is_same = seconds <= (recovered.high or 0.0) + 1e-6
    return recovered if is_same else RecoveryTime(seconds, recovered.low, seconds)


def _placed(watched: Watched, start: int, end: int, noise: Noise) -> RecoveryTime:
    """Return the moment within the first fine window.

    The window may begin with some bad requests, so the moment is sought inside it; before it, most requests are bad. The
    interval also considers the requests right before the window.
    """
    due, usual = watched.due - watched.lifted, min(noise.allowed, _MAX_USUAL)
    place = start + _change(watched.is_off[start:end], usual, noise)[1]
    earlier = max(0, start - _EARLIER)
    first, _, last = (earlier + at for at in _change(watched.is_off[earlier:end], usual, noise))
    first, last = min(first, place), min(max(last, place), end - 1)
    high = float(due[last])
    if place == 0:  # the requests are as expected without a wait
        return RecoveryTime(0.0, 0.0, high)
    # the service recovered between the last bad request and the first good one
    low = float(due[first - 1]) if first else 0.0
    return RecoveryTime(float(due[place - 1] + due[min(place, end - 1)]) / 2.0, low, high)


def _change(is_off: Bools, usual: float, noise: Noise) -> tuple[int, int, int]:
    likelihoods = change_point.log_likelihoods(is_off, usual, MIN_BAD) / noise.dispersion
    first, place, last = change_point.plausible(likelihoods)
    return first, 0 if first == 0 else place, last


def relapse(watched: Watched, recovered: float, noise: Noise) -> float | None:
    """Return the seconds from the lift until a window after the recovery in which many requests are off; None without."""
    due, start = watched.due, int(np.searchsorted(watched.due, watched.lifted + recovered + 1e-6, side="right"))
    counts = np.concatenate(([0.0], np.cumsum(watched.is_off)))
    starts = np.arange(start, len(due) - MIN_WINDOW_REQUESTS)
    ends = np.maximum(np.searchsorted(due, due[starts] + WINDOW, side="left"), starts + MIN_WINDOW_REQUESTS)
    starts, ends = starts[ends <= len(due)], ends[ends <= len(due)]
    bad, total = counts[ends] - counts[starts], (ends - starts).astype(float)
    # many windows are looked at, so each has a smaller chance
    is_bad = noise.exceeds(bad, total, CHANCE / max(1, len(starts))) & (bad >= RELAPSE * total)
    if not is_bad.any():
        return None
    return float(due[starts[int(np.argmax(is_bad))]]) - watched.lifted
