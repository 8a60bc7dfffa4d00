"""Processes that end with the one that started them: no load goes on where nobody waits for it. Without Locust."""

from __future__ import annotations

import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def end_with(parent: int) -> None:
    """Have Linux send this process SIGTERM when its parent ends, also where that is killed. Called in a child before it
    begins; `parent` is the id that the parent had then.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it could be named
        os.kill(os.getpid(), signal.SIGTERM)


class Forks:
    """The processes that Locust forks for --processes end with their parent, until `are_over` is called."""

    def __init__(self) -> None:
        self._parent = 0
        self._go_on = True
        os.register_at_fork(before=self._remember, after_in_child=self._end_with_parent)

    def are_over(self) -> None:
        """What is forked from now on is none of Locust's."""
        self._go_on = False

    def _remember(self) -> None:
        self._parent = os.getpid()

    def _end_with_parent(self) -> None:
        if self._go_on:
            end_with(self._parent)
