"""`Alarm`: sleeps until a moment, to a fraction of a millisecond.

libev rounds every wait up to whole milliseconds, so arrivals that are closer together would come in bursts.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from time import perf_counter_ns

import gevent

from llmlocust.load.kernel_timer import KernelTimer

_NS = 1_000_000_000
_READABLE = 1  # gevent's loop.io


class Alarm:
    """A timer for one greenlet at a time. It uses a kernel timer on Linux, and gevent's sleep elsewhere."""

    def __init__(self) -> None:
        self._timer: KernelTimer | None = None
        if sys.platform == "linux":
            with suppress(OSError):
                self._timer = KernelTimer()

    def sleep_until(self, at_ns: int) -> None:
        """Sleep until `at_ns` (perf_counter_ns, which on Linux is CLOCK_MONOTONIC). If it has passed, only yield."""
        timer = self._timer
        if timer is None or at_ns <= perf_counter_ns():
            gevent.sleep(max(0, at_ns - perf_counter_ns()) / _NS)
            return
        timer.set(at_ns)
        hub = gevent.get_hub()
        watcher = hub.loop.io(timer.file, _READABLE)
        try:
            hub.wait(watcher)
        finally:
            watcher.close()
            timer.has_expired()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
