"""Turns: work that can wait is done one piece at a time, when the event loop has nothing to read.

Requests that were sent together end together: a server gives all of its streams a token at each step. A hundred
greenlets would then each parse an answer, one after the other, and a token that came meanwhile would wait for all of
them, and merge with the next: gevent looks at the clock only after every fiftieth greenlet.

A loop that always has something to read would never come to it: one fast stream is enough. So a turn is due after
5 ms at the latest, and is given between two rounds of reading then.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter

import gevent
from gevent.hub import Waiter

_MAX_WAIT = 0.005


class Turns:
    def __init__(self) -> None:
        self._loop = gevent.get_hub().loop
        self._idle = self._loop.idle()
        self._timer = self._loop.timer(_MAX_WAIT)
        self._waiting: deque[tuple[Waiter, float]] = deque()
        """Each with the moment at which its turn is due."""
        self._longest = 0.0

    def wait(self) -> None:
        """Return when it is the caller's turn: the sockets have been read, and everybody before it is done."""
        turn = Waiter(), perf_counter() + _MAX_WAIT
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            self._idle.start(self._next)
            self._start_timer(_MAX_WAIT)
        try:
            turn[0].get()
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
            raise
        self._longest = max(self._longest, perf_counter() - (turn[1] - _MAX_WAIT))

    def take_longest(self) -> float:
        """Return the longest wait for a turn (seconds) since the last call."""
        longest, self._longest = self._longest, 0.0
        return longest

    def _next(self) -> None:
        """Called by the event loop, once in each of its rounds, after the sockets' watchers where these found nothing."""
        waiter = self._waiting.popleft()[0] if self._waiting else None
        if not self._waiting:
            self._idle.stop()
            self._timer.stop()
        if waiter is not None:
            waiter.switch(None)

    def _overdue(self) -> None:
        """Called by the event loop when the first turn may be due. One turn a round: the sockets come in between."""
        now = perf_counter()
        if self._waiting and self._waiting[0][1] > now:
            self._start_timer(self._waiting[0][1] - now)
            return
        if len(self._waiting) > 1:
            self._start_timer(max(0.0, self._waiting[1][1] - now))
        self._next()

    def _start_timer(self, after: float) -> None:
        self._timer.close()
        self._timer = self._loop.timer(after)
        self._timer.start(self._overdue)
