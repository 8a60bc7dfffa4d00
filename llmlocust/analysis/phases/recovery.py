"""How long it took to be well again after a spike or a surge. Pure.

A request is slow that failed, or took longer than those of the baseline did but for one in twenty, and a fifth more.
Well is from when on few are slow: the moment that best divides the requests sent after the surge into a time in which most
were slow and one in which about as few were as in the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from llmlocust.analysis.breakpoints.steps import more_than
from llmlocust.analysis.phases.trend import CHANGE
from llmlocust.metrics.metric import METRICS
from llmlocust.text import figures as words
from llmlocust.text.message import message, term

LEAST = 20
"""With fewer requests in the baseline there is no p95."""
TAIL = 10
"""Requests in a row that must be well."""
USUAL = 0.05
"""Share of the baseline's requests above its p95."""
WELL = 0.2
"""Where surely more than this share stays slow, it is not well."""
MOST = 0.5
"""Share of requests that are slow at least, before it is well."""
_UNLIKELY = 1.92
"""ln of how much less likely a moment may be and still lie in the 95 % interval: half of χ² with one degree."""


@dataclass(frozen=True)
class Recovery:
    """What came after a surge. Seconds since its load was taken away."""

    after: str
    """Which phase it was,"""
    load: float
    """at its highest,"""
    unit: str
    within: float
    """and how long was looked at afterwards."""
    limit: float = math.nan
    """What takes longer is slow. Not known where the baseline had too few requests."""
    seconds: float | None = None
    """None where it was not well again meanwhile, or nobody can tell."""
    low: float = math.nan
    high: float = math.nan
    """95 % interval."""
    slow: float = math.nan
    """Share of the requests that were slow from then on; where it was not well again, of the last ones."""
    usual: float = math.nan
    """And of the baseline's."""

    @property
    def is_known(self) -> bool:
        return not math.isnan(self.limit)

    def __str__(self) -> str:
        """A sentence. It is a message."""
        phase, load, within = term(self.after), words.with_unit(self.load, self.unit), words.duration(self.within)
        if not self.is_known:
            return message(
                "How long it took to be well after the {phase} of {load} cannot be told: too few requests before or after it.",
                phase=phase,
                load=load,
            )
        slow, limit, usual = words.share(self.slow), words.duration(self.limit), words.share(self.usual)
        if self.seconds is None:
            return message(
                "Not well again within {within} after the {phase} of {load}: {slow} of the last requests failed or took longer "
                "than {limit}, in the baseline {usual}.",
                within=within,
                phase=phase,
                load=load,
                slow=slow,
                limit=limit,
                usual=usual,
            )
        if self.seconds == 0.0:
            return message(
                "Well at once after the {phase} of {load}: {slow} of those that were sent from {since} after it on failed or took "
                "longer than {limit}, in the baseline {usual}.",
                phase=phase,
                load=load,
                slow=slow,
                since=words.duration(self.high),
                limit=limit,
                usual=usual,
            )
        return message(
            "Well again {time} after the {phase} of {load} (95 %: {interval}): from then on {slow} of the requests failed or took "
            "longer than {limit}, in the baseline {usual}.",
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
    """Of a phase's name, load and unit. `before` are the seconds that requests of the baseline took, infinite where they
    failed; `after` those of the requests after it, with when they were sent, oldest first.
    """
    usual = sorted(before)
    limit = _limit(usual, metric) if len(usual) >= LEAST and len(after) >= TAIL else math.inf
    if math.isinf(limit):  # or too many of the baseline failed
        return Recovery(*phase, within)
    slow = [seconds > limit for _, seconds in after]
    share = sum(seconds > limit for seconds in usual) / len(usual)
    likely = _likelihoods(slow)
    among = [at for at, each in enumerate(likely) if each >= max(likely) - _UNLIKELY]
    place = 0 if among[0] == 0 else likely.index(max(likely))
    tail = slow[place:]
    if len(tail) < TAIL or more_than(sum(tail), len(tail), WELL):
        last = slow[-max(TAIL, len(slow) // 4) :]
        return Recovery(*phase, within, limit, slow=sum(last) / len(last), usual=share)
    still = sum(tail) / len(tail)
    if place == 0:
        return Recovery(*phase, within, limit, 0.0, 0.0, after[0][0], still, share)
    last_slow, first_well = after[among[0] - 1][0], after[min(among[-1], len(after) - 1)][0]
    return Recovery(*phase, within, limit, after[place][0], last_slow, first_well, still, share)


def _limit(usual: Sequence[float], metric: str) -> float:
    p95 = usual[math.ceil((1.0 - USUAL) * len(usual)) - 1]
    return max(CHANGE * p95, p95 + METRICS[metric].floor)


def _likelihoods(slow: Sequence[bool]) -> list[float]:
    """Logarithms of how likely what was seen is, had it been well from the first, the second, … or none of the requests on."""
    counts = [0, *accumulate(slow)]
    total, usual, found = counts[-1], USUAL, []
    for place, count in enumerate(counts):
        unwell = min(0.99, max(count / place, MOST)) if place else MOST
        rest, fast = total - count, len(slow) - place - (total - count)
        found.append(
            count * math.log(unwell)
            + (place - count) * math.log1p(-unwell)
            + rest * math.log(usual)
            + fast * math.log1p(-usual)
        )
    return found
