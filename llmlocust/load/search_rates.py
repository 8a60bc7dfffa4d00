"""The judge of a search for a rate: requests must meet the limits, and no backlog may build up. Pure.

Users who wait for their answers send less to a saturated server. At a fixed rate, however, the backlog grows as long as
the test lasts, and a level that is held for a few seconds shows little of it in its percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.load.search import Judge, Opinion, Seen

_UNANSWERED = 0.02
"""The share of the arrivals that must remain unanswered to count as a backlog."""
_LONGER = 1.5
"""Without a backlog, requests may take this many times as long as at a lower rate."""


@dataclass(frozen=True)
class Answered:
    """A judge: a load breaks the limit where it breaks `limits`, or where fewer requests end than are due."""

    limits: Judge
    first: float = math.nan
    """The first rate, which begins with no request in flight."""

    def judge(self, here: Seen, below: Sequence[Seen]) -> Opinion:
        return max(self.limits.judge(here, below), self._backlog(here, below))

    def slowest(self, here: Seen) -> float:
        return self.limits.slowest(here)

    def _backlog(self, here: Seen, below: Sequence[Seen]) -> Opinion:
        """Test the number of unanswered requests: between none, and twice the share that counts as a backlog."""
        due, ended = here.tally.numbers["due"], here.tally.numbers["ended"]
        reference = below[-1] if below else here
        if not due or here.seconds <= 0.0:
            return Opinion(what="an empty queue")
        in_flight = max(1.0, due / here.seconds * _LONGER * _mean(reference))
        piled_up = due - ended - (in_flight / _LONGER if here.load == self.first else 0.0)
        backlog = 2.0 * _UNANSWERED * due
        # the number in flight at either end of a window varies by chance
        noise = 2.0 * in_flight * here.times
        return Opinion(backlog / noise * (piled_up - backlog / 2.0), "an empty queue", ended / here.seconds)


def _mean(seen: Seen) -> float:
    e2e = seen.durations("e2e")
    return e2e.mean if e2e.count else 0.0
