"""The recovery time after a spike or a surge. Pure.

A request is slow if it failed, or if it took more than 1.2 times the p95 of the baseline. The server has recovered when few
requests are slow. This is the moment that best divides the requests sent after the surge into a period in which most were
slow, and one with about the baseline's share of slow requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.analysis import change_point
from llmlocust.analysis.breakpoints.steps import more_than
from llmlocust.analysis.phases.trend import CHANGE
from llmlocust.metrics.metric import METRICS
from llmlocust.text import figures as words
from llmlocust.text.message import message, term

MIN_BASELINE = 20
"""Requests. A baseline with fewer has no p95."""
TAIL = 10
"""Minimum number of requests after the recovery."""
BASELINE_SHARE = 0.05
"""Share of the baseline's requests above its p95."""
RECOVERED = 0.2
"""If certainly more than this share of requests stays slow, the server has not recovered."""
MIN_SLOW = 0.5
"""Minimum share of slow requests before the recovery."""


@dataclass(frozen=True)
class Recovery:
    """The recovery after a spike or a surge, in seconds since its load ended."""

    after: str
    """Name of the phase."""
    load: float
    """The highest load of the phase."""
    unit: str
    within: float
    """Length of the period that was searched for the recovery."""
    limit: float = math.nan
    """Seconds above which a request is slow; NaN if the baseline had too few requests."""
    seconds: float | None = None
    """Recovery time; None if there was no recovery within the period, or if it is not known."""
    low: float = math.nan
    """Lower end of the 95 % interval."""
    high: float = math.nan
    """Upper end of the 95 % interval."""
    slow: float = math.nan
    """Share of slow requests after the recovery; without a recovery, of the last requests."""
    usual: float = math.nan
    """Share of slow requests in the baseline."""

    @property
    def is_known(self) -> bool:
        return not math.isnan(self.limit)

    def __str__(self) -> str:
        """One or two sentences, as a message."""
        phase, load, within = term(self.after), words.with_unit(self.load, self.unit), words.duration(self.within)
        if not self.is_known:
            return message(
                "The recovery time after the {phase} of {load} cannot be determined: too few requests before or after it.",
                phase=phase,
                load=load,
            )
        slow, limit, usual = words.share(self.slow), words.duration(self.limit), words.share(self.usual)
        if self.seconds is None:
            return message(
                "Not recovered within {within} after the {phase} of {load}: {slow} of the last requests failed or exceeded {limit} (baseline {usual}).",
                within=within,
                phase=phase,
                load=load,
                slow=slow,
                limit=limit,
                usual=usual,
            )
        if self.seconds == 0.0:
            return message(
                "Recovered immediately after the {phase} of {load}: {slow} of the requests that were sent {since} or more after its end failed or exceeded {limit} (baseline {usual}).",
                phase=phase,
                load=load,
                slow=slow,
                since=words.duration(self.high),
                limit=limit,
                usual=usual,
            )
        return message(
            "Recovered {time} after the {phase} of {load} ended (95 % CI {interval}). After that, {slow} of the requests failed or exceeded {limit} (baseline {usual}).",
            time=words.duration(self.seconds),
            phase=phase,
            load=load,
            interval=words.span(self.low, self.high),
            slow=slow,
            limit=limit,
            usual=usual,
        )


def recovery(
    phase: tuple[str, float, str],
    metric: str,
    before: Sequence[float],
    after: Sequence[tuple[float, float]],
    within: float,
) -> Recovery:
    """Return the recovery after a phase, which is given by its name, load and unit.

    `before` are the durations of the baseline's requests in seconds, infinite for failed ones. `after` are the requests
    after the phase, oldest first: seconds from its end until the request was sent, and its duration.
    """
    usual = sorted(before)
    limit = _limit(usual, metric) if len(usual) >= MIN_BASELINE and len(after) >= TAIL else math.inf
    if math.isinf(limit):  # too few requests, or too many failures in the baseline
        return Recovery(*phase, within)
    slow = [seconds > limit for _, seconds in after]
    share = sum(seconds > limit for seconds in usual) / len(usual)
    first, place, last_place = change_point.plausible(change_point.log_likelihoods(slow, BASELINE_SHARE, MIN_SLOW))
    if first == 0:  # the requests are as expected without a wait
        place = 0
    tail = slow[place:]
    if len(tail) < TAIL or more_than(sum(tail), len(tail), RECOVERED):
        last = slow[-max(TAIL, len(slow) // 4) :]
        return Recovery(*phase, within, limit, slow=sum(last) / len(last), usual=share)
    remaining = sum(tail) / len(tail)
    if place == 0:
        return Recovery(*phase, within, limit, 0.0, 0.0, after[0][0], remaining, share)
    last_slow, first_recovered = after[first - 1][0], after[min(last_place, len(after) - 1)][0]
    return Recovery(*phase, within, limit, after[place][0], last_slow, first_recovered, remaining, share)


def _limit(usual: Sequence[float], metric: str) -> float:
    p95 = usual[math.ceil((1.0 - BASELINE_SHARE) * len(usual)) - 1]
    return max(CHANGE * p95, p95 + METRICS[metric].floor)
