"""`Polls`: when the event loop looked at its sockets.

Chunks that are read together came together, or waited for us together. To tell one from the other it must be known
when the loop looked before: the sockets that it did not report then held nothing.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter_ns

from gevent.hub import Hub

from llmlocust.stream.timeline import Look

_FIRST, _LAST = 2, -2
"""Of libev's priorities."""


class Polls:
    def __init__(self, hub: Hub) -> None:
        self._began = now = perf_counter_ns()
        self.look = Look(now, now, now, now)
        """The newest."""
        # gevent's own watchers run greenlets: they must have done so before a poll is taken to have begun
        self._prepare = hub.loop.prepare(ref=False, priority=_LAST)
        self._check = hub.loop.check(ref=False, priority=_FIRST)
        self._prepare.start(self._on_begin)
        self._check.start(self._on_return)

    def _on_begin(self) -> None:
        self._began = perf_counter_ns()

    def _on_return(self) -> None:
        now = perf_counter_ns()
        self.look = Look(self.look.returned, self._began, now, now)


@cache
def polls_of(hub: Hub) -> Polls:
    """Those of a hub, which all of its connections share."""
    return Polls(hub)
