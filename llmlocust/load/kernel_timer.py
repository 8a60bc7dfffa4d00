"""`KernelTimer`: Linux's timerfd. It does not round, while event loops round every wait up to whole milliseconds.

It is called through ctypes, for Python has it from 3.13 only.
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
    """A timer with absolute times of CLOCK_MONOTONIC. OSError where the kernel gives none."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.file: int = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        """A file descriptor that is readable when the timer has rung."""
        if self.file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, at_ns: int) -> None:
        """Ring once at this time, at once if it has passed. 0: never. It forgets what was set before."""
        spec = _Spec(0, 0, *divmod(at_ns, _NS))
        self._libc.timerfd_settime(self.file, _ABSOLUTE, ctypes.byref(spec), None)

    def has_rung(self) -> bool:
        """Whether it has rung since it was set, or since the last call."""
        with suppress(BlockingIOError):
            return bool(os.read(self.file, 8))
        return False

    def close(self) -> None:
        os.close(self.file)
