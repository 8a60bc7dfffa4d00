"""A timer that wakes the event loop at a time of CLOCK_MONOTONIC, to a fraction of a millisecond.

asyncio rounds every wait up to whole milliseconds; the kernel's timer does not. Other systems than Linux use the loop's
own timer.
"""

import asyncio
import sys
from collections.abc import Callable
from math import inf
from time import monotonic

from llmlocust.load.kernel_timer import KernelTimer


def alarm(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> "KernelAlarm | LoopAlarm":
    """Return the most precise timer that the system provides. It calls `callback` when it expires."""
    return KernelAlarm(loop, callback) if sys.platform == "linux" else LoopAlarm(loop, callback)


class LoopAlarm:
    """The loop's own timer: up to a millisecond late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop, self._callback = loop, callback
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Expire once at this time in seconds: immediately if it has passed, never if it is infinite. Replaces an earlier
        time.
        """
        if self._timer:
            self._timer.cancel()
        # the loop may use another clock than ours: only differences are the same
        self._timer = self._loop.call_later(max(at - monotonic(), 0), self._callback) if at < inf else None

    def close(self) -> None:
        self.set(inf)


class KernelAlarm:
    """The kernel's timer, whose file descriptor the loop watches."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._timer = KernelTimer()
        self._loop, self._callback = loop, callback
        loop.add_reader(self._timer.file, self._on_expiry)

    def set(self, at: float) -> None:
        """Set the timer, as `LoopAlarm.set` does."""
        # 0 would disarm the timer, so a time that has passed is one nanosecond after boot
        self._timer.set(0 if at == inf else 1 if at <= 0 else int(at * 1e9))

    def close(self) -> None:
        self._loop.remove_reader(self._timer.file)
        self._timer.close()

    def _on_expiry(self) -> None:
        if self._timer.has_expired():  # it may have been set again since the loop woke
            self._callback()
