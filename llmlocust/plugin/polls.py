"""`Polls`: since when a socket that has bytes to read had none.

Chunks that are read together came together, or waited for us together. To tell one from the other it must be known
when the event loop looked at its sockets last: those that it did not report then were empty.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter_ns

from gevent.hub import Hub

_SLEPT = 100_000
"""A look at the sockets that took more nanoseconds than this was a sleep: nothing was waiting when it began."""
_PROMPT = 500_000
"""Who slept is woken by the first byte. A byte no older than this at waking was among the first."""
_FIRST, _LAST = 2, -2
"""Of libev's priorities."""


class Polls:
    def __init__(self, hub: Hub) -> None:
        self.began = self.returned = self._before = perf_counter_ns()
        # gevent's own watchers run greenlets: they must have done so before a poll is taken to have begun
        self._prepare = hub.loop.prepare(ref=False, priority=_LAST)
        self._check = hub.loop.check(ref=False, priority=_FIRST)
        self._prepare.start(self._on_begin)
        self._check.start(self._on_return)

    def empty_since(self, arrived: int) -> int:
        """A moment before `arrived`, when the newest byte of a socket came, at which that socket was empty.

        For a socket that this round's poll reported, and that was not read since the poll before.
        """
        if self.returned - self.began < _SLEPT:
            return self._before
        # woken late, it may have been by an older byte, whose arrival nobody told
        return self.returned - _PROMPT if arrived > self.returned - _PROMPT else self.began

    def _on_begin(self) -> None:
        self.began = perf_counter_ns()

    def _on_return(self) -> None:
        self._before, self.returned = self.returned, perf_counter_ns()


@cache
def polls_of(hub: Hub) -> Polls:
    """Those of a hub, which all of its connections share."""
    return Polls(hub)
