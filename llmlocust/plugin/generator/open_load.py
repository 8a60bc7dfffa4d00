"""`OpenLoad`: open load in a process that runs users. Each request is sent when it is due, in a greenlet of its own,
even if the server has not answered earlier ones.

In open load, a Locust user is a stream: it sends nothing on its own, and its tasks run when the schedule says so. The
process has one schedule, its share of the run's arrivals (load.arrivals) or its rows of a trace (load.traces), and
distributes it over its users in turn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust.exception import StopUser

from llmlocust.load.arrivals import RateShare
from llmlocust.load.traces import Replay, Row, TraceShare
from llmlocust.plugin.generator.timer import Alarm

_NS = 1_000_000_000
LEAD_NS = 20_000_000
"""Time before a request is due at which its task runs, if a native thread sends it when it is due. It covers the delays of the event loop, and a new connection to a server that is near."""
_STEP_NS = 2_000_000
_MAX_CATCH_UP_NS = 1_000_000
"""Maximum time for which a late schedule catches up before sockets are read again."""
_NO_ROW = -1
_OVER = (math.inf, _NO_ROW)
"""The due time and the row after the end of a schedule."""


class StreamUser(Protocol):
    """A user that is a stream."""

    stopping: Event
    """Set when the user has to stop."""

    def run_one_task(self) -> None: ...


class DueCounter(Protocol):
    """Counts the requests that are due, such as a Collector."""

    def request_due(self, due_ns: int, *, dropped: bool) -> None: ...


class Arrival(gevent.Greenlet):
    """One run of a user's task that was due at a moment (perf_counter_ns), with its row of a trace in a replay."""

    def __init__(self, user: StreamUser, due_ns: int, row: Row | None = None) -> None:
        super().__init__()
        self.user = user
        self.due_ns = due_ns
        self.row = row

    def _run(self) -> None:
        self.user.run_one_task()


def row_now() -> Row | None:
    """Return the row of a trace for the running greenlet's request; None in other loads and after a task's first request."""
    arrival = gevent.getcurrent()
    if not isinstance(arrival, Arrival):
        return None
    row, arrival.row = arrival.row, None
    return row


class OpenLoad:
    """The schedule of one process and the streams that send its requests."""

    def __init__(self, counter: DueCounter, lead_ns: int = 0) -> None:
        """`lead_ns`: how long before a request is due its task runs. The client then sends it when it is due."""
        self._counter = counter
        self._lead_ns = lead_ns
        self._ahead: deque[tuple[int, bool]] = deque()
        """The requests that are not due yet: the moment at which each is due, and whether it is dropped."""
        self._tasks_ahead = 0
        """Those that are not dropped."""
        self.on = False
        """Users are streams. Set before the first of them begins."""
        self._share: RateShare | None = None
        self._max_in_flight = 0
        self._streams: deque[tuple[StreamUser, Group]] = deque()
        self._thinking: set[gevent.Greenlet] = set()
        """The streams' greenlets that are between two turns of a conversation."""
        self._schedule: Iterator[tuple[float, int]] = iter(())
        self._next_ns: float = 0
        """The time at which the next request is due (perf_counter_ns)."""
        self._next_row = _NO_ROW
        """The row of a trace for the next request."""
        self.salt = ""
        """The salt of the texts that rows of a trace share."""
        self._replay: Replay | None = None
        self._replay_began_ns: int | None = None
        self._trace_shares: list[TraceShare] = []
        self._newest_row = _NO_ROW
        self._driver: gevent.Greenlet | None = None

    def follow(self, share: RateShare, max_in_flight: int) -> None:
        """Send this share of the arrivals at a rate from now on."""
        self.on = True
        if self._driver is not None:
            self._send_due(math.inf)  # requests of the old share that are late
        self._end()
        self._share, self._max_in_flight = share, max_in_flight
        self._begin()

    def replay(self, replay: Replay, began_ns: int | None, share: TraceShare, max_in_flight: int, salt: str) -> None:
        """Send the rows of a trace that `share` assigns to this process, from the share's moment on.

        `began_ns`: the time at which the replay began (perf_counter_ns); None: it has not begun. A process that already
        has this time keeps its own.
        """
        self.on = True
        self._end()
        self._replay, self._max_in_flight, self.salt = replay, max_in_flight, salt
        if began_ns is not None:
            self._replay_began_ns = began_ns if self._replay_began_ns is None else self._replay_began_ns
            self._trace_shares.append(share)
            self._begin()

    def close(self) -> None:
        """End open load."""
        self._end()
        self.on, self._share = False, None
        self._forget_trace()

    def _forget_trace(self) -> None:
        self._replay = self._replay_began_ns = None
        self._trace_shares, self._newest_row = [], _NO_ROW

    def stream(self, user: StreamUser) -> None:
        """Run the user as a stream until it has to stop and its requests in flight have ended.

        Locust kills users that take longer than --stop-timeout: their requests in flight are cut off.
        """
        stream = (user, Group())
        self._streams.append(stream)
        if len(self._streams) == 1:
            self._begin()
        try:
            try:
                user.stopping.wait()
            finally:
                user.stopping.set()  # also if it is killed: conversations end at their next think time
                if len(self._streams) == 1:
                    self._end()
                self._streams.remove(stream)
            stream[1].join()
        finally:
            stream[1].kill()

    def ahead(self) -> int:
        """Count the requests that have become due. Returns the number of tasks that run but are not due yet."""
        now = perf_counter_ns()
        while self._ahead and self._ahead[0][0] <= now:
            due_ns, dropped = self._ahead.popleft()
            self._tasks_ahead -= not dropped
            self._counter.request_due(due_ns, dropped=dropped)
        return self._tasks_ahead

    def due_now(self, requested_ns: int) -> int:
        """Return the time at which the schedule made the running greenlet's request due; 0 if it did not.

        A task's later requests follow its first: they are due at `requested_ns`, when the task asks for them.
        """
        arrival = gevent.getcurrent()
        if not isinstance(arrival, Arrival):
            return 0
        due_ns, arrival.due_ns = arrival.due_ns, 0
        if not due_ns:
            self._counter.request_due(requested_ns, dropped=False)
        return due_ns

    def think(self, user: StreamUser, seconds: float) -> None:
        """Wait between two turns of a conversation. A greenlet that waits here has nothing in flight."""
        greenlet = gevent.getcurrent()
        self._thinking.add(greenlet)
        try:
            is_over = user.stopping.wait(seconds)
        finally:
            self._thinking.remove(greenlet)
        if is_over:
            raise StopUser

    def _begin(self) -> None:
        """Start the present share, or the rest of a trace, if the process has a user."""
        if not self._streams:
            return
        if self._replay is not None and self._replay_began_ns is not None:
            began = self._replay_began_ns
            rows = self._replay.assigned(self._trace_shares, after=self._newest_row)
            self._schedule = ((began + int(due * _NS), row) for due, row in rows)
        elif self._share is not None and self._share.rate:
            began = perf_counter_ns() + self._lead_ns
            self._schedule = ((began + int(due * _NS), _NO_ROW) for due in self._share.due())
        else:
            return
        self._next_ns, self._next_row = next(self._schedule, _OVER)
        self._driver = gevent.spawn(self._drive)

    def _end(self) -> None:
        if self._driver is not None:
            self._driver.kill(block=False)
            self._driver = None

    def _drive(self) -> None:
        alarm = Alarm()
        try:
            while self._next_ns < math.inf:
                # with a lead, nothing depends on the exact moment: several tasks are started at a time
                soonest = perf_counter_ns() + _STEP_NS if self._lead_ns else 0
                alarm.sleep_until(max(int(self._next_ns) - self._lead_ns, soonest))
                self._send_due(_MAX_CATCH_UP_NS)
        finally:
            alarm.close()

    def _send_due(self, within_ns: float) -> None:
        began = now = perf_counter_ns()
        # the last stream may have ended: the driver is killed, but notices only when it waits again
        while self._streams and self._next_ns - self._lead_ns <= now < began + within_ns:
            self._arrive(int(self._next_ns), self._next_row)
            self._next_ns, self._next_row = next(self._schedule, _OVER)
            now = perf_counter_ns()

    def _arrive(self, due_ns: int, number: int) -> None:
        self._streams.rotate(-1)
        user, stream = self._streams[0]
        in_flight = sum(len(group) for _, group in self._streams) - len(self._thinking) - self.ahead()
        dropped = in_flight >= self._max_in_flight
        if self._lead_ns:
            self._ahead.append((due_ns, dropped))
            self._tasks_ahead += not dropped
        else:
            self._counter.request_due(due_ns, dropped=dropped)
        row = None
        if self._replay is not None:
            self._newest_row = number
            row = None if dropped else self._replay.trace.row(number)
        if not dropped:
            stream.start(Arrival(user, due_ns, row))
