"""`Polls`: the times at which the event loop polled its sockets.

Chunks that are read together arrived together, or waited together for the loop. The time of the previous poll decides
which: sockets that it did not report were empty.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter_ns

from gevent.hub import Hub

from llmlocust.stream.timeline import Poll

_LAST = -2
"""A priority of libev: a poll begins after gevent's own watchers, which run greenlets."""


class Polls:
    """The polls of one event loop."""

    def __init__(self, hub: Hub) -> None:
        now = perf_counter_ns()
        self.poll = Poll(now, now)
        """The newest poll."""
        self._prepare = hub.loop.prepare(ref=False, priority=_LAST)
        self._prepare.start(self._on_begin)

    def _on_begin(self) -> None:
        """Begin a new poll. The event loop calls this once in each of its rounds."""
        poll = self.poll
        self.poll = Poll(poll.first_read or poll.began, perf_counter_ns())


@cache
def polls_of(hub: Hub) -> Polls:
    """Return the polls of a hub, which all of its connections share."""
    return Polls(hub)
