"""The difference between the wall clock and a monotonic clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter_ns, time_ns

_NEAR_NS = 5_000
_TRIES = 20


def wall_minus(clock_ns: Callable[[], int] = perf_counter_ns) -> int:
    """Return the nanoseconds to add to a clock's time to get the time since the epoch.

    Two clocks cannot be read at the same moment. The system may suspend the process between the two readings. So the wall
    clock is read between two readings of the other clock, which limits the error to half of their distance. The attempt
    with the smallest distance counts.
    """
    best = (math.inf, 0)
    for _ in range(_TRIES):
        before = clock_ns()
        wall = time_ns()
        apart = clock_ns() - before
        best = min(best, (apart, wall - before - apart // 2))
        if apart < _NEAR_NS:
            break
    return best[1]
