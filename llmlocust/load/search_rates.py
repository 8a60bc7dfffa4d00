"""The judge of a search for a rate: requests must meet the limits, and no backlog may build up. Pure.

Users who wait for their answers send less to a saturated server. At a fixed rate, however, the backlog grows as long as
the test lasts, and a level of a few seconds shows little of it in its percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.load.search import Evidence, Judge, LoadResult

_UNANSWERED = 0.02
"""The share of the arrivals that must remain unanswered to count as a backlog."""
_LONGER = 1.5
"""Without a backlog, requests may take this many times as long as at a lower rate."""


@dataclass(frozen=True)
class RateLimits:
    """A judge: a load violates the limit if it violates `limits`, or if fewer requests end than are due."""

    limits: Judge
    first: float = math.nan
    """The first rate, which begins with no request in flight."""

    def judge(self, current: LoadResult, below: Sequence[LoadResult]) -> Evidence:
        return max(self.limits.judge(current, below), self._backlog(current, below))

    def slowest(self, current: LoadResult) -> float:
        return self.limits.slowest(current)

    def _backlog(self, current: LoadResult, below: Sequence[LoadResult]) -> Evidence:
        """Test the number of unanswered requests: between none, and twice the share that counts as a backlog."""
        due, ended = current.tally.numbers["due"], current.tally.numbers["ended"]
        reference = below[-1] if below else current
        if not due or current.seconds <= 0.0:
            return Evidence(limited_by="an empty queue")
        in_flight = max(1.0, due / current.seconds * _LONGER * _mean(reference))
        unanswered = due - ended - (in_flight / _LONGER if current.load == self.first else 0.0)
        backlog = 2.0 * _UNANSWERED * due
        # the number in flight at either end of a window varies by chance
        noise = 2.0 * in_flight * current.times
        return Evidence(backlog / noise * (unanswered - backlog / 2.0), "an empty queue", ended / current.seconds)


def _mean(result: LoadResult) -> float:
    e2e = result.durations("e2e")
    return e2e.mean if e2e.count else 0.0
