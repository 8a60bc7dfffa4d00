"""Turns: work that can wait is done one piece at a time, when the event loop has nothing to read.

Requests that were sent together end together: a server gives all of its streams a token at each step. A hundred
greenlets would then each parse an answer, one after the other, and a token that came meanwhile would wait for all of
them, and merge with the next: gevent looks at the clock only after every fiftieth greenlet.
"""

from __future__ import annotations

from collections import deque

import gevent
from gevent.hub import Waiter


class Turns:
    def __init__(self) -> None:
        self._idle = gevent.get_hub().loop.idle()
        self._waiting: deque[Waiter] = deque()

    def wait(self) -> None:
        """Return when it is the caller's turn: the sockets have been read, and everybody before it is done."""
        waiter = Waiter()
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            self._idle.start(self._next)
        try:
            waiter.get()
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _next(self) -> None:
        """Called by the event loop, once in each of its rounds, after the sockets' watchers."""
        waiter = self._waiting.popleft() if self._waiting else None
        if not self._waiting:
            self._idle.stop()
        if waiter is not None:
            waiter.switch(None)
