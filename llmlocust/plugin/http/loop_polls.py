"""`Polls`: when the event loop looked at its sockets.

Chunks that are read together came together, or waited for us together. To tell one from the other it must be known
when the loop looked before: the sockets that it did not report then held nothing.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter_ns

from gevent.hub import Hub

from llmlocust.stream.timeline import Look

_LAST = -2
"""Of libev's priorities: gevent's own watchers run greenlets, and must have done so before a look is taken to begin."""


class Polls:
    def __init__(self, hub: Hub) -> None:
        now = perf_counter_ns()
        self.look = Look(now, now)
        """The newest."""
        self._prepare = hub.loop.prepare(ref=False, priority=_LAST)
        self._prepare.start(self._on_begin)

    def _on_begin(self) -> None:
        """Called by the event loop, once in each of its rounds."""
        look = self.look
        self.look = Look(look.first_read or look.began, perf_counter_ns())


@cache
def polls_of(hub: Hub) -> Polls:
    """Those of a hub, which all of its connections share."""
    return Polls(hub)
