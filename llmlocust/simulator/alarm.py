"""Wakes the loop at a time of CLOCK_MONOTONIC, to a fraction of a millisecond.

asyncio rounds every wait up to whole milliseconds; the kernel's timerfd does not. It is called through ctypes, for
Python has it from 3.13 only. Elsewhere than on Linux the loop's own timer has to do.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from math import inf
from time import CLOCK_MONOTONIC, monotonic


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


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class KernelAlarm:
    """A timerfd with absolute times."""

    _NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
    _ABSOLUTE = 1

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, self._NONBLOCK_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop, self._ring = loop, ring
        loop.add_reader(self._file, self._rang)

    def set(self, at: float) -> None:
        """As LoopAlarm.set."""
        # all zeros would disarm it, so a time that has passed is one nanosecond after boot
        at_ns = 0 if at == inf else 1 if at <= 0 else int(at * 1e9)
        spec = _Spec(0, 0, *divmod(at_ns, 1_000_000_000))
        self._libc.timerfd_settime(self._file, self._ABSOLUTE, ctypes.byref(spec), None)

    def close(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _rang(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return  # set anew between the loop's waking and now
        self._ring()
