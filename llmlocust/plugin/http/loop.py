"""`LoopConnection`: reads in the event loop, with the kernel's arrival times.

The socket's watcher reads in the event loop's callback. A greenlet would need two switches per read; without them 300
streams are read cheaply and on time. The user's greenlet sleeps meanwhile, and is woken once: when the response has
ended, failed or timed out.
"""

from __future__ import annotations

import socket as plain_socket
import struct
from contextlib import suppress
from time import perf_counter_ns

import gevent
from gevent import socket
from gevent.event import Event

from llmlocust.plugin.http.connection import NS, READ, TAKEN_FROM, Connection
from llmlocust.plugin.http.failures import Failure, kind_of, plain_words
from llmlocust.plugin.http.loop_polls import polls_of
from llmlocust.stream.clocks import wall_minus
from llmlocust.stream.timeline import Poll

_PAUSED_AFTER = 1 << 20
"""Bytes of a body that may wait to be parsed before reading pauses: a server may send faster than we parse."""
_READABLE, _WRITABLE = 1, 2  # gevent's loop.io
_FIRST = 2
"""A priority of libev: sockets are read before anything else that is ready, such as sleeping greenlets."""

_MAX_CLOCK_DIFFERENCE = 10_000_000
"""Nanoseconds that a stamp may be off: the kernel may suspend a process between reading a socket and the clock."""
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@qq")
_ANCILLARY = plain_socket.CMSG_SPACE(_STAMP.size)


class LoopConnection(Connection):
    """A connection that the event loop reads."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        with suppress(OSError):  # without the kernel's arrival times, the time of the read is used
            self._raw.setsockopt(plain_socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        hub = gevent.get_hub()
        self._watcher = hub.loop.io(self._raw.fileno(), _READABLE, priority=_FIRST)
        self._writer = hub.loop.io(self._raw.fileno(), _WRITABLE)
        self._unsent = memoryview(b"")
        """Bytes that the kernel has not accepted yet."""
        self._is_cut_off = False
        """The server accepts no more bytes of the request. Its response is still read."""
        self._polls = polls_of(hub)
        self._awake = Event()

    def is_open(self) -> bool:
        try:
            # Locust's own check uses select, which fails for file descriptors from 1024 on
            while True:
                data = self._raw.recv(READ)
                if self._tls is None or self._decrypted(data):  # TLS also sends messages of its own
                    return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        for watcher in (self._watcher, self._writer):
            watcher.stop()
            watcher.close()
        self._sock.close()

    def _exchange(self, wire: bytes) -> bool:
        self._problem: BaseException | None = None
        self._is_cut_off = self._ended = self._is_paused = False
        self._paused_from = _PAUSED_AFTER
        """Bytes of the body above which reading pauses."""
        try:
            self._send(wire)
            self._watcher.start(self._on_readable)
            self._wait_for_end()
            if self._problem is not None:
                raise self._problem
            self._timeline.complete = True
            return self._answer.reusable and not self._unsent and not self._is_cut_off
        finally:
            self._watcher.stop()
            self._writer.stop()
            self._problem = None

    def _send(self, wire: bytes) -> None:
        if self._tls is not None:
            self._tls.write(wire)
            wire = self._outgoing.read()
        # kernel stamps are wall-clock times; they are converted to the monotonic clock
        self._from_wall = wall_minus()
        self._last = self._empty = perf_counter_ns()
        """The time of the last read, and the last time at which the socket was known to be empty."""
        if not self._timeline.follows:
            self._timeline.sent_ns = self._last
        self._unsent = memoryview(bytes(self._unsent) + wire if self._unsent else wire)
        self._push()

    def _push(self) -> None:
        """Send as much as the kernel accepts now; the event loop sends the rest. Meanwhile the response is read and
        time-outs apply: a server may answer before it has read the request, or never read it.
        """
        try:
            self._unsent = self._unsent[self._raw.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as problem:
            if kind_of(problem, otherwise="reset") != "reset":
                raise
            self._unsent, self._is_cut_off = memoryview(b""), True
        if self._unsent:
            self._writer.start(self._on_writable)
        else:
            self._writer.stop()

    def _wait_for_end(self) -> None:
        while not self._ended:
            deadline, kind, length = self._nearest(self._last)
            left = deadline - perf_counter_ns() / NS
            if left <= 0:
                raise Failure(kind, f"nothing within {length:g} s")
            self._awake.clear()
            self._awake.wait(left)
            while not self._ended and perf_counter_ns() / NS < deadline and self._take_slice(self._timeline):
                gevent.sleep(0)  # the bytes of other users come first
            if self._timeline.failure:  # the answer is too large to be parsed
                raise Failure(self._timeline.failure, self._timeline.detail)
            if self._is_paused and not self._ended:
                self._is_paused, self._paused_from = False, len(self._timeline.body) + _PAUSED_AFTER
                self._watcher.start(self._on_readable)

    # ── in the hub ──

    def _on_writable(self) -> None:
        """Send more of the request. The event loop calls this."""
        try:
            self._push()
        except OSError as problem:
            self._end(Failure(kind_of(problem, otherwise="reset"), plain_words(problem)))

    def _on_readable(self) -> None:
        """Read the socket. The event loop calls this, so it must raise nothing and return quickly."""
        try:
            data, stamps, _, _ = self._raw.recvmsg(READ, _ANCILLARY)
            now = perf_counter_ns()
            if stamps:
                seconds, ns = _STAMP.unpack(stamps[0][2])
                arrived = seconds * NS + ns - self._from_wall
                if not self._empty - _MAX_CLOCK_DIFFERENCE <= arrived <= now + _MAX_CLOCK_DIFFERENCE:
                    arrived = self._corrected_arrival(seconds * NS + ns, now)
                self._timeline.clock = "kernel"
            else:
                arrived = now
            self._last = now
            if len(data) < READ:
                self._empty = now
            poll = self._polls.poll
            if not poll.first_read:
                poll.first_read = now
            if arrived < poll.first:  # noqa: PLR1730  # a call would be slower, and this runs for every token
                poll.first = arrived
            for piece in (data,) if self._tls is None else self._decrypted(data):
                self._take(piece, arrived, now, poll)
            if not self._answer.ended:
                return
            self._end()
        except BlockingIOError:
            return
        except OSError as problem:
            self._end(Failure(kind_of(problem, otherwise="reset"), plain_words(problem)))
        except BaseException as problem:  # it is raised in the user's greenlet
            self._end(problem)

    def _end(self, problem: BaseException | None = None) -> None:
        self._problem = problem
        self._watcher.stop()
        self._writer.stop()
        self._ended = True
        self._awake.set()

    def _corrected_arrival(self, stamp: int, now: int) -> int:
        """Return the arrival time of bytes whose stamp is too early, or later than the read. The system's clock may have
        been set.
        """
        before, self._from_wall = self._from_wall, wall_minus()
        arrived = stamp - self._from_wall
        if abs(self._from_wall - before) < _MAX_CLOCK_DIFFERENCE:
            return arrived  # the clock was not set: the process was suspended between reading the socket and the clock
        return arrived if self._empty <= arrived <= now else now  # otherwise the clock was set after the stamp

    def _send_tls_messages(self) -> None:
        self._unsent = memoryview(bytes(self._unsent) + self._outgoing.read())
        self._push()

    def _take(self, data: bytes, arrived: int, now: int, poll: Poll) -> None:
        timeline, answer = self._timeline, self._answer
        before = len(timeline.body)
        self.has_received = self.has_received or bool(data)
        try:
            new_bytes = answer.take(data)
        finally:
            if len(timeline.body) > before:
                timeline.ends.append(len(timeline.body))
                timeline.times.append(arrived)
                timeline.lags.append(now - arrived)
                timeline.polls.append(poll)
        if self._has_token is not None and new_bytes and self._look_for_token():
            self._awake.set()
        if len(timeline.body) > TAKEN_FROM:
            self._awake.set()  # long streams are parsed, and released, while they arrive
            if self._check_unread() > self._paused_from and not answer.ended:
                self._watcher.stop()
                self._is_paused = True
        answer.check_memory(new_bytes, 1)
