"""What a search for a rate looks for: that what comes is answered, on top of the limits that were asked for. Pure.

Users who wait spare a server that is full. Requests that come at a rate do not: above its capacity the backlog grows
as long as the test lasts, and a level that was held for a few seconds shows little of it in its percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.load.search import Judge, Opinion, Seen

_UNANSWERED = 0.02
"""Of what comes, the share that must pile up to be called a backlog."""
_LONGER = 1.5
"""So many times longer than at a lower rate may requests be without a backlog."""


@dataclass(frozen=True)
class Answered:
    """Breaks where `limits` do, or where fewer requests end than are due."""

    limits: Judge
    first: float = math.nan
    """The rate that begins with nothing in flight."""

    def judge(self, here: Seen, below: Sequence[Seen]) -> Opinion:
        return max(self.limits.judge(here, below), self._backlog(here, below))

    def slowest(self, here: Seen) -> float:
        return self.limits.slowest(here)

    def _backlog(self, here: Seen, below: Sequence[Seen]) -> Opinion:
        """A test on what has piled up: between nothing, and twice the share that is a backlog."""
        due, ended = here.tally.numbers["due"], here.tally.numbers["ended"]
        reference = below[-1] if below else here
        if not due or here.seconds <= 0.0:
            return Opinion(what="an empty queue")
        in_flight = max(1.0, due / here.seconds * _LONGER * _mean(reference))
        piled_up = due - ended - (in_flight / _LONGER if here.load == self.first else 0.0)
        backlog = 2.0 * _UNANSWERED * due
        # what is in flight at either end of a window comes and goes by chance
        noise = 2.0 * in_flight * here.times
        return Opinion(backlog / noise * (piled_up - backlog / 2.0), "an empty queue", ended / here.seconds)


def _mean(seen: Seen) -> float:
    e2e = seen.durations("e2e")
    return e2e.mean if e2e.count else 0.0
