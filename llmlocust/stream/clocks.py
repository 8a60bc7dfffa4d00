"""How far the wall clock is ahead of a monotonic one."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter_ns, time_ns

_NEAR_NS = 5_000
_TRIES = 20


def wall_minus(clock_ns: Callable[[], int] = perf_counter_ns) -> int:
    """Nanoseconds to add to a clock's time to have the time since the epoch.

    Two clocks are never read at once. A process that is put aside between the two readings, as on a busy machine, would
    have its difference wrong by as long as that, so the wall clock is read between two readings of the other: the error
    is at most half of their distance, and of several attempts the nearest counts.
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
