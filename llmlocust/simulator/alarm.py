"""Wakes the loop at a time of CLOCK_MONOTONIC, to a fraction of a millisecond.

asyncio rounds every wait up to whole milliseconds; the kernel's timer does not. Elsewhere than on Linux the loop's own
timer has to do.
"""

import asyncio
import sys
from collections.abc import Callable
from math import inf
from time import monotonic

from llmlocust.load.kernel_timer import KernelTimer


def alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> "KernelAlarm | LoopAlarm":
    """The best alarm that there is here."""
    return KernelAlarm(loop, ring) if sys.platform == "linux" else LoopAlarm(loop, ring)


class LoopAlarm:
    """The loop's own timer: up to a millisecond late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring once at that time, at once if it has passed, never at infinity; forgets what was set before."""
        if self._timer:
            self._timer.cancel()
        # the loop's clock need not be ours: only differences are the same
        self._timer = self._loop.call_later(max(at - monotonic(), 0), self._ring) if at < inf else None

    def close(self) -> None:
        self.set(inf)


class KernelAlarm:
    """The kernel's timer, which the loop watches."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._timer = KernelTimer()
        self._loop, self._ring = loop, ring
        loop.add_reader(self._timer.file, self._rang)

    def set(self, at: float) -> None:
        """As LoopAlarm.set."""
        # 0 would disarm the timer, so a time that has passed is one nanosecond after boot
        self._timer.set(0 if at == inf else 1 if at <= 0 else int(at * 1e9))

    def close(self) -> None:
        self._loop.remove_reader(self._timer.file)
        self._timer.close()

    def _rang(self) -> None:
        if self._timer.has_expired():  # else it was set anew between the loop's waking and now
            self._ring()
