"""`Burst`: the response of a service to a spike or a surge: overshoot, time until it is steady, goodput kept, requests shed. Pure.

The p95 is that of windows of 5 s, and counts from the moment at which a request was due. It is steady when it stays within
10 % of its last third, or within the noise of that third if that is more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmlocust.analysis.arrays import Floats
from llmlocust.analysis.faults.requests import Requests
from llmlocust.analysis.phases.phases import RunPhase
from llmlocust.metrics.levels import RATE, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message, term

_WINDOW, _MIN_REQUESTS = 5.0, 20
_MIN_WINDOWS = 6
"""Windows without which nothing shows that a service is steady."""
_BAND = 0.1
_NOISE = 3.0 * 1.4826
"""Median absolute deviations that are noise: three standard deviations of a normal distribution."""
_SHED = ("http_429", "http_503")
"""Outcomes of requests that a server refuses because it is overloaded."""
_GRID = 0.1
_QUEUE, _FALLEN = 2.0, 0.7
"""Requests in flight at the peak of a queue, as a multiple of those in the first window; and after it has shrunk, as a share
of its peak."""
_EDGE = 1.5
"""A p95 that rises by less is no overshoot worth a word."""


@dataclass(frozen=True)
class Burst:
    """The response to one spike or surge. None: not known."""

    phase: str
    load: float
    unit: str
    metric: str
    overshoot: float | None = None
    """The highest p95 of the burst, as a multiple of the baseline's."""
    steady_after: float | None = None
    """Seconds from the begin of the burst's last step until the p95 stays where it ends; None if it never did."""
    is_steadiness_known: bool = False
    caught_up_after: float | None = None
    """Open load: seconds from the begin of the burst's last step until the service answers more than arrives, after its
    queue has grown: new replicas help from then on. None if the queue did not grow, or grew until the end.
    """
    goodput_kept: float | None = None
    """Good requests per second in the burst, as a share of those of the baseline."""
    shed: int = 0
    """Requests that the server refused (429, 503)."""
    dropped: int = 0
    """Requests that were due, and that the load generator did not send, because too many were in flight."""

    @property
    def says(self) -> Message | None:
        """One sentence; None if nothing is known."""
        parts = [*self._overshoot(), *self._caught_up(), *self._steady(), *self._kept(), *self._lost()]
        if not parts:
            return None
        load = words.with_unit(self.load, self.unit)
        return message(
            "Response to the {phase} of {load}: {parts}.", phase=term(self.phase), load=load, parts=clauses(parts)
        )

    def _overshoot(self) -> list[Message]:
        if self.overshoot is None:
            return []
        name = term(METRICS[self.metric].short)
        if self.overshoot < _EDGE:
            return [
                message(
                    "the p95 {metric} stayed below {edge} times that of the baseline", metric=name, edge=f"{_EDGE:g}"
                )
            ]
        times = words.digits(self.overshoot)
        return [message("the p95 {metric} rose to {times} times that of the baseline", metric=name, times=times)]

    def _steady(self) -> list[Message]:
        if not self.is_steadiness_known:
            return []
        if self.steady_after is None:
            return [message("it was not steady when the load ended")]
        if self.steady_after == 0.0:
            return [message("it was steady at once")]
        return [message("it was steady after {time}", time=words.duration(self.steady_after))]

    def _caught_up(self) -> list[Message]:
        if self.caught_up_after is None:
            return []
        time = words.duration(self.caught_up_after)
        return [message("its queue grew for {time}; from then on it answered more than arrived", time=time)]

    def _kept(self) -> list[Message]:
        if self.goodput_kept is None:
            return []
        return [message("goodput was {share} of that of the baseline", share=words.share(self.goodput_kept))]

    def _lost(self) -> list[Message]:
        parts = []
        if self.shed:
            parts.append(message("the server refused {count} requests (429, 503)", count=str(self.shed)))
        if self.dropped:
            parts.append(
                message("{count} due requests were not sent, because too many were in flight", count=str(self.dropped))
            )
        return parts


def burst_of(phase: RunPhase, baseline: RunPhase, requests: Requests, goodput: tuple[float, float]) -> Burst:
    """Return the response to a burst. `goodput`: good requests per second in the burst and in the baseline; NaN if not known."""
    metric = "ttft" if (~np.isnan(requests.ttft)).any() else "e2e"
    began = _begin_of(phase.levels[0])
    usual = _durations(requests, metric, baseline.levels[0].warmed_up, baseline.levels[-1].ended)[1]
    peaks = _p95s(requests, metric, began, phase.levels[-1].ended)[1]
    last = phase.levels[-1]
    starts, course = _p95s(requests, metric, _begin_of(last), last.ended)
    is_known = len(course) >= _MIN_WINDOWS
    within, usual_goodput = goodput
    return Burst(
        phase.name,
        phase.whole.load,
        phase.levels[0].unit,
        metric,
        overshoot=float(peaks.max() / np.quantile(usual, 0.95)) if len(usual) >= _MIN_REQUESTS and len(peaks) else None,
        steady_after=_steady_after(starts - _begin_of(last), course) if is_known else None,
        is_steadiness_known=is_known,
        caught_up_after=_caught_up_after(requests, last) if last.unit == RATE else None,
        goodput_kept=within / usual_goodput if usual_goodput > 0.0 and math.isfinite(within) else None,
        shed=sum(level.error_kinds.get(kind, 0) for level in phase.levels for kind in _SHED),
        dropped=sum(level.dropped for level in phase.levels),
    )


def _caught_up_after(requests: Requests, level: LevelFigures) -> float | None:
    """Return the seconds until the number of requests in flight is at its peak, if it was small before and falls after it.

    A queue grows while the service answers less than arrives. The windows are those of the p95, so the time is exact to
    one of them.
    """
    began = _begin_of(level)
    if not (math.isfinite(began) and level.ended - began >= _MIN_WINDOWS * _WINDOW):
        return None
    moments = np.arange(began, level.ended, _GRID)
    count = int((level.ended - began) / _WINDOW)
    size = round(_WINDOW / _GRID)
    means = requests.in_flight(moments[: count * size]).reshape(count, size).mean(axis=1)
    peak = int(np.argmax(means))
    noise = _NOISE * math.sqrt(float(means[peak]))
    is_queue = means[peak] >= _QUEUE * means[0] and means[peak] - means[0] > noise
    falls = means[peak] - means[-1] > max(noise, (1.0 - _FALLEN) * float(means[peak]))
    return (peak + 0.5) * _WINDOW if is_queue and falls else None


def _begin_of(level: LevelFigures) -> float:
    """Return the begin of a level. Levels that were computed from their requests have only the end of their warm-up."""
    return level.began if level.began > 0.0 else level.warmed_up


def _p95s(requests: Requests, metric: str, began: float, ended: float) -> tuple[Floats, Floats]:
    """Return the begins of windows, and the p95 of the successful requests that were due in each; few have none."""
    due, seconds = _durations(requests, metric, began, ended)
    if not math.isfinite(began) or not len(due):
        return np.array([]), np.array([])
    edges = np.arange(began, float(due[-1]) + _WINDOW, _WINDOW)
    places = np.searchsorted(due, edges)
    pairs = list(zip(edges, places, np.append(places[1:], len(due)), strict=True))
    known = [
        (begin, np.quantile(seconds[first:last], 0.95)) for begin, first, last in pairs if last - first >= _MIN_REQUESTS
    ]
    return np.array([begin for begin, _ in known]), np.array([p95 for _, p95 in known])


def _durations(requests: Requests, metric: str, began: float, ended: float) -> tuple[Floats, Floats]:
    """Return when the successful requests between two moments were due, and their durations."""
    seconds = requests.ttft if metric == "ttft" else requests.e2e
    is_used = requests.is_ok & ~np.isnan(seconds) & (requests.due >= began) & (requests.due < ended)
    return requests.due[is_used], seconds[is_used]


def _steady_after(since: Floats, course: Sequence[float] | Floats) -> float | None:
    """Return the seconds after which the values stay within a band around their last third; None if they do not."""
    values = np.asarray(course)
    tail = values[-max(2, len(values) // 3) :]
    final = float(np.median(tail))
    steps = np.diff(tail)  # a trend is no noise
    band = max(_BAND * final, _NOISE * float(np.median(np.abs(steps - np.median(steps)))) / math.sqrt(2.0))
    is_out = np.abs(values - final) > band
    # a single window outside is chance
    pairs = np.flatnonzero(is_out[:-1] & is_out[1:])
    if not len(pairs):
        return float(since[1]) if is_out[0] else 0.0
    first = int(pairs[-1]) + 2
    return float(since[first]) if first <= 2 * len(values) / 3 else None
