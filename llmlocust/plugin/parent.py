"""Child processes that end when their parent ends, so that a killed command leaves no load running. Without Locust."""

from __future__ import annotations

import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def end_with(parent: int) -> None:
    """Have Linux send this process SIGTERM when its parent ends, even if the parent is killed. A child calls this first;
    `parent` is the process id of its parent.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # the parent ended before the call above
        os.kill(os.getpid(), signal.SIGTERM)


class Forks:
    """A fork hook: until `release` is called, a forked process ends with its parent, as those of --processes should."""

    def __init__(self) -> None:
        self._parent = 0
        self._is_active = True
        os.register_at_fork(before=self._remember, after_in_child=self._end_with_parent)

    def release(self) -> None:
        """Let processes that are forked from now on outlive this one: Locust has forked its own."""
        self._is_active = False

    def _remember(self) -> None:
        self._parent = os.getpid()

    def _end_with_parent(self) -> None:
        if self._is_active:
            end_with(self._parent)
