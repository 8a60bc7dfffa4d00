"""`KernelTimer`: Linux's timerfd. It does not round, while event loops round each wait up to whole milliseconds.

It is called through ctypes, because Python supports it only from 3.13.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from time import CLOCK_MONOTONIC

_NS = 1_000_000_000
_ABSOLUTE = 1


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class KernelTimer:
    """A timer with absolute times of CLOCK_MONOTONIC. Raises OSError if the kernel provides none."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.file: int = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        """File descriptor that becomes readable when the timer expires."""
        if self.file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, at_ns: int) -> None:
        """Set the timer to expire once at this time in nanoseconds, immediately if it has passed, never for 0."""
        spec = _Spec(0, 0, *divmod(at_ns, _NS))
        self._libc.timerfd_settime(self.file, _ABSOLUTE, ctypes.byref(spec), None)

    def has_expired(self) -> bool:
        """Return whether the timer has expired since it was set or since the last call."""
        with suppress(BlockingIOError):
            return bool(os.read(self.file, 8))
        return False

    def close(self) -> None:
        os.close(self.file)
