"""`NativeConnection`: a connection whose socket a native thread reads (llmlocust.wire).

The thread keeps bytes and times, and wakes the event loop once per answer: when it is whole, failed, or so long that a
slice has to be parsed. Time-outs are therefore checked when they are due, not at each read.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from contextlib import suppress
from itertools import accumulate, compress
from operator import gt
from time import perf_counter_ns
from typing import NamedTuple

import gevent
from gevent import socket
from gevent.hub import Hub, Waiter

from llmlocust.plugin.http.connection import NS, TAKEN_FROM, Connection
from llmlocust.plugin.http.failures import Failure
from llmlocust.plugin.http.response import MAX_KEPT, out_of_memory
from llmlocust.wire import CLOSED, CUT_OFF, FRAMED, STAMPED, UNSENT, WAKE_EACH, WAKE_FRAMED, WAKE_QUIET, Framing, Reader

_READABLE = 1  # gevent's loop.io
_LOOK_INTERVAL = 0.05
"""Seconds between two looks at time-outs."""
_FIRST = 2
"""A priority of libev: answers are taken before anything else that is ready, such as sleeping greenlets."""


class _Arrivals(NamedTuple):
    """The result of `Reader.take`."""

    data: bytes
    ends: list[int]
    times: list[int]
    lags: list[int]
    empties: list[int]
    sent_ns: int
    last_read_ns: int
    error: int
    flags: int


class Wire:
    """The reader of this process, which wakes the greenlets of one hub."""

    def __init__(self, hub: Hub) -> None:
        self.reader = Reader(MAX_KEPT)
        self._loop = hub.loop
        self._waiting: dict[int, tuple[Waiter, int]] = {}
        """By connection, the greenlet that waits for it, and the moment at which it looks at the latest."""
        self._ready: set[int] = set()
        """Connections with something new for which no greenlet waited."""
        self._watcher = hub.loop.io(self.reader.wakeup(), _READABLE, ref=False, priority=_FIRST)
        self._watcher.start(self._on_ready)
        # one timer for all: a timer for each request would cost as much as sending it
        self._timer = hub.loop.timer(_LOOK_INTERVAL, _LOOK_INTERVAL)

    def wait(self, number: int, until_ns: int) -> None:
        """Wait until a connection has something new, or until a moment (perf_counter_ns), to _LOOK_INTERVAL."""
        if number in self._ready:
            self._ready.remove(number)
            return
        if not self._waiting:
            self._timer.start(self._on_timer)
        waiter = Waiter()
        self._waiting[number] = waiter, until_ns
        try:
            waiter.get()
        finally:
            del self._waiting[number]
            if not self._waiting:
                self._timer.stop()

    def forget(self, number: int) -> None:
        """Drop a note that a connection has something new: its request is over."""
        self._ready.discard(number)

    def abandon(self) -> None:
        """Give up the reader in a forked process, where its thread does not exist."""
        self._watcher.stop()
        self._timer.stop()
        self.reader.abandon()

    def _on_ready(self) -> None:
        for number in self.reader.ready():
            if number in self._waiting:
                self._loop.run_callback(self._waiting[number][0].switch, None)
            else:
                self._ready.add(number)

    def _on_timer(self) -> None:
        now = perf_counter_ns()
        for waiter, until_ns in self._waiting.values():
            if until_ns <= now:
                self._loop.run_callback(waiter.switch, None)


_wires: dict[Hub, Wire] = {}


def wire_of(hub: Hub) -> Wire:
    """Return the wire of a hub, which all of its connections share."""
    if hub not in _wires:
        _wires[hub] = Wire(hub)
    return _wires[hub]


def _abandon_all() -> None:
    while _wires:
        _wires.popitem()[1].abandon()


os.register_at_fork(after_in_child=_abandon_all)


class NativeConnection(Connection):
    """A connection that a native thread reads."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._wire = wire_of(gevent.get_hub())
        self._reader = self._wire.reader
        self._number: int | None = None

    @property
    def _registered(self) -> int:
        """The connection's number in the reader, which has it from its first request on: TLS begins before."""
        if self._number is None:
            self._number = self._reader.add(self._raw.fileno(), self._tls is not None)
        return self._number

    def is_open(self) -> bool:
        try:
            arrivals = _Arrivals(*self._reader.take(self._registered))
        except OSError:  # the system watches no more sockets: the failure of a new connection says so
            return False
        if arrivals.error or arrivals.flags & CLOSED:
            return False
        # TLS also sends messages of its own
        return not arrivals.data or (self._tls is not None and not self._decrypted(arrivals.data))

    def close(self) -> None:
        if self._number is not None:
            self._reader.remove(self._number)
            self._number = None
        self._sock.close()

    def _exchange(self, wire: bytes) -> bool:
        self._flags = 0
        self._is_quiet = False
        if self._tls is not None:
            self._framing = Framing()
        number = self._registered
        try:
            self._begin(wire)
            self._wait_for_end()
            self._timeline.complete = True
            return self._answer.reusable and not self._flags & (UNSENT | CUT_OFF)
        except Exception:
            raise
        except BaseException:  # the user is being stopped: what has arrived is kept
            with suppress(Failure, OSError):
                self._receive()
            raise
        finally:
            self._reader.end(number)
            self._wire.forget(number)

    def _begin(self, wire: bytes) -> None:
        timeline, number = self._timeline, self._registered
        wake = WAKE_FRAMED
        if self._tls is not None:
            self._tls.write(wire)
            wire, wake = self._outgoing.read(), WAKE_EACH
        due = 0 if timeline.follows else timeline.due_ns
        while (sent_ns := self._reader.begin(number, wire, due, wake)) is None:
            if not self.is_open():  # otherwise TLS has sent messages of its own
                raise Failure("reset", "the connection was closed before an answer")
        self._last = sent_ns or due
        if not timeline.follows:
            timeline.sent_ns = sent_ns

    def _wait_for_end(self) -> None:
        answer, timeline, number = self._answer, self._timeline, self._registered
        # until the first token is looked for, it is not known whether the stall's time-out applies
        stall_ns = int(self._timeouts.stall * NS)
        while True:
            deadline, kind, length = self._nearest(self._last)
            now = perf_counter_ns()
            if deadline * NS <= now:
                raise Failure(kind, f"nothing within {length:g} s")
            self._wire.wait(number, min(int(deadline * NS), now + stall_ns))
            self._receive()
            if answer.ended:
                timeline.ended_ns = self._last
                return
            while perf_counter_ns() / NS < deadline and self._take_slice(timeline):
                gevent.sleep(0)  # other users come first
            if timeline.failure:  # the answer is too large to be parsed
                raise Failure(timeline.failure, timeline.detail)

    def _receive(self) -> None:
        """Take what has arrived, and parse it."""
        arrivals = _Arrivals(*self._reader.take(self._registered))
        timeline = self._timeline
        self._flags = arrivals.flags
        self._last = arrivals.last_read_ns or self._last
        if not timeline.sent_ns:
            timeline.sent_ns = arrivals.sent_ns
        if arrivals.data:
            if arrivals.flags & STAMPED:
                timeline.clock = "kernel"
            if self._tls is not None:
                self._take_encrypted(arrivals)
            elif arrivals.flags & FRAMED:
                self.has_received = True
                self._take_framed(arrivals)
            else:
                self.has_received = True
                self._take_pieces(arrivals)
        if self._answer.ended:
            return
        if arrivals.error == errno.ENOBUFS:
            raise out_of_memory()
        if arrivals.error:
            raise OSError(arrivals.error, os.strerror(arrivals.error))
        if arrivals.flags & CLOSED:
            self._answer.take(b"")
        if self._has_token is not None and timeline.body:
            self._look_for_token()
        if len(timeline.body) > TAKEN_FROM:
            self._check_unread()

    def _take_framed(self, arrivals: _Arrivals) -> None:
        """Take an answer of which the reader knows which bytes belong to the body."""
        timeline, ends = self._timeline, arrivals.ends
        before = len(timeline.body)
        try:
            self._answer.take(arrivals.data)
        finally:
            grown = len(timeline.body) - before
            if grown and ends and ends[-1] == grown:
                timeline.ends += [before + end for end in ends] if before else ends
                timeline.times += arrivals.times
                timeline.lags += arrivals.lags
                timeline.polls += arrivals.empties
            elif grown:  # the parser disagrees with the reader: the bytes arrived at some time since the request
                self._note(len(timeline.body), arrivals.last_read_ns, 0, timeline.sent_ns)
        self._answer.check_memory(grown, len(ends))

    def _take_pieces(self, arrivals: _Arrivals) -> None:
        begin = 0
        for end, arrived, lag, empty in zip(*arrivals[1:5], strict=True):
            self._take_piece(arrivals.data[begin:end], arrived, lag, empty)
            begin = end

    def _take_encrypted(self, arrivals: _Arrivals) -> None:
        """Decrypt what has arrived. A record arrived with the read that contained its last byte."""
        self._incoming.write(arrivals.data)
        records, is_over = self._records()
        if records:
            self.has_received = True
            offsets = [len(arrivals.data) - left for left, _ in records]
            plain = [record for _, record in records]
            if offsets == arrivals.ends:  # a record in each read, as nearly always
                ends = list(accumulate(map(len, plain)))
                self._take_plain(arrivals._replace(data=b"".join(plain), ends=ends))
            else:
                self._take_plain(_regrouped(arrivals, offsets, plain))
        if is_over and not self._answer.ended:
            self._answer.take(b"")
        if not self._is_quiet and self._answer.begun and self._has_token is not None and self._timeline.is_answered:
            self._is_quiet = True
            self._reader.set_wake(self._registered, WAKE_QUIET)

    def _take_plain(self, arrivals: _Arrivals) -> None:
        """Take decrypted bytes, with the reads that brought them."""
        bodies = self._framing.take(arrivals.data, arrivals.ends)
        if bodies is None:
            self._take_pieces(arrivals)
            return
        has_body = list(map(gt, bodies, [0, *bodies]))
        _, _, times, lags, empties, *_ = arrivals
        ends, times, lags, empties = (list(compress(values, has_body)) for values in (bodies, times, lags, empties))
        self._take_framed(arrivals._replace(ends=ends, times=times, lags=lags, empties=empties))

    def _take_piece(self, data: bytes, arrived: int, lag: int, empty: int) -> None:
        timeline = self._timeline
        before = len(timeline.body)
        try:
            self._answer.take(data)
        finally:
            if len(timeline.body) > before:
                self._note(len(timeline.body), arrived, lag, empty)
        self._answer.check_memory(len(timeline.body) - before, 1)

    def _note(self, end: int, arrived: int, lag: int, empty: int) -> None:
        timeline = self._timeline
        timeline.ends.append(end)
        timeline.times.append(arrived)
        timeline.lags.append(lag)
        timeline.polls.append(empty)

    def _send_tls_messages(self) -> None:
        self._reader.send(self._registered, self._outgoing.read())


def _regrouped(arrivals: _Arrivals, offsets: list[int], plain: list[bytes]) -> _Arrivals:
    """Return the plain bytes of records with the reads that completed them. `offsets` are the ends of the records in the
    encrypted bytes.
    """
    ends = {}
    for offset, end in zip(offsets, accumulate(map(len, plain)), strict=True):
        ends[bisect_left(arrivals.ends, offset)] = end
    times, lags, empties = ([values[read] for read in ends] for values in arrivals[2:5])
    return arrivals._replace(data=b"".join(plain), ends=[*ends.values()], times=times, lags=lags, empties=empties)
