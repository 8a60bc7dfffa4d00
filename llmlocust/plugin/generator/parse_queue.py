"""`ParseQueue`: work that can wait runs one piece at a time, when the event loop has nothing to read.

Requests that were sent together end together, because a server gives all of its streams a token at each step. Without a
queue, a hundred greenlets would parse their answers one after the other. gevent looks at the clock only after every
fiftieth greenlet, so a token that arrives in the meantime would wait for all of them and merge with the next one.

A native thread reads on its own (llmlocust.wire). Then nothing has to wait, and only the delay of answers is noted.

A loop that always has something to read, as with one fast stream, would never run the queue. A turn is therefore due
after 5 ms at the latest; it then runs between two rounds of reading.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter, perf_counter_ns

import gevent
from gevent.hub import Waiter

_MAX_WAIT = 0.005
"""Maximum wait for a turn, in seconds, before it runs even though sockets have data."""


class ParseQueue:
    """The queue of one process. Greenlets wait in it for their turns."""

    def __init__(self, *, is_used: bool = True) -> None:
        """`is_used`: whether the event loop reads the sockets, so that work has to wait for it."""
        self._is_used = is_used
        self._loop = gevent.get_hub().loop
        self._idle = self._loop.idle()
        self._timer = self._loop.timer(_MAX_WAIT)
        self._waiting: deque[tuple[Waiter, float]] = deque()
        """The waiting greenlets, each with the moment at which its turn is due."""
        self._longest = 0.0

    def wait(self, ended_ns: int = 0) -> None:
        """Return when it is the caller's turn: the sockets have been read, and all earlier callers had their turns.

        `ended_ns`: the moment at which the answer that is to be parsed had arrived (perf_counter_ns); 0: there is none.
        """
        if not self._is_used:
            if ended_ns:
                self._longest = max(self._longest, (perf_counter_ns() - ended_ns) / 1e9)
            return
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

    def pause(self) -> None:
        """Let others work between two parts of a long piece of work."""
        if self._is_used:
            self.wait()
        else:
            gevent.sleep(0)

    def take_longest(self) -> float:
        """Return the longest wait for a turn since the last call, in seconds."""
        longest, self._longest = self._longest, 0.0
        return longest

    def _next(self) -> None:
        """Give the first waiter its turn. The event loop calls this once per round, after sockets that had no data."""
        waiter = self._waiting.popleft()[0] if self._waiting else None
        if not self._waiting:
            self._idle.stop()
            self._timer.stop()
        if waiter is not None:
            waiter.switch(None)

    def _overdue(self) -> None:
        """Give the first waiter its turn if it is due. The event loop calls this; sockets are read between two turns."""
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
