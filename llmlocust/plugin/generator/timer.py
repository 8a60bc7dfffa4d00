"""Sleeping until a moment, to a fraction of a millisecond: libev rounds every wait up to whole milliseconds, and arrivals
that are that near to each other would come in clumps.
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
    """For one greenlet at a time. Elsewhere than on Linux, gevent's own sleep has to do."""

    def __init__(self) -> None:
        self._timer: KernelTimer | None = None
        if sys.platform == "linux":
            with suppress(OSError):
                self._timer = KernelTimer()

    def sleep_until(self, at_ns: int) -> None:
        """`at_ns` is of perf_counter_ns, which on Linux is CLOCK_MONOTONIC. Others run even where it has passed."""
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
            timer.has_rung()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
