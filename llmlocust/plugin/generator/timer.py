"""Sleeping until a moment, to a fraction of a millisecond: libev rounds every wait up to whole milliseconds, and arrivals
that are that near to each other would come in clumps. The kernel's timerfd does not round. It is called through ctypes,
for Python has it from 3.13 only; elsewhere than on Linux gevent's own sleep has to do.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from time import CLOCK_MONOTONIC, perf_counter_ns

import gevent

_NS = 1_000_000_000
_READABLE = 1  # gevent's loop.io
_ABSOLUTE = 1


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class Alarm:
    """For one greenlet at a time."""

    def __init__(self) -> None:
        self._file = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)

    def sleep_until(self, at_ns: int) -> None:
        """`at_ns` is of perf_counter_ns, which on Linux is CLOCK_MONOTONIC. Others run even where it has passed."""
        if self._file < 0 or at_ns <= perf_counter_ns():
            gevent.sleep(max(0, at_ns - perf_counter_ns()) / _NS)
            return
        spec = _Spec(0, 0, *divmod(at_ns, _NS))
        self._libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(spec), None)
        hub = gevent.get_hub()
        watcher = hub.loop.io(self._file, _READABLE)
        try:
            hub.wait(watcher)
        finally:
            watcher.close()
            with suppress(BlockingIOError):
                os.read(self._file, 8)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
