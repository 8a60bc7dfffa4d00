"""`Timeline`: one request as the wire saw it. The transport fills it; nothing in it is parsed but HTTP's framing."""

from __future__ import annotations

from bisect import bisect_right

import msgspec

_NEVER = 1 << 62
_SLEPT = 200_000
"""A look at the sockets that took more nanoseconds than this was a sleep: nothing was waiting when it began."""
_MOST_READ = 60_000
"""A read that brought so many bytes may have left some behind."""
OF_READ = 200
"""Bytes of memory, about, that what is noted of one read takes."""
_PROMPT = 500_000
"""Who sleeps is woken by the first byte. Where that was so long ago, there may have been older ones before it."""


class Look(msgspec.Struct):
    """One look of an event loop at all of its sockets: those that it does not report hold nothing. Nanoseconds."""

    before: int
    """When the look before it had returned, or at least begun."""
    began: int
    first_read: int = 0
    """When the first of the sockets that it reported was read, right after it had returned; 0: none was."""
    first: int = _NEVER
    """The earliest arrival among the bytes that were read."""

    def empty(self) -> int:
        """When a socket that it reports held nothing yet."""
        if self.first < self.began or self.first_read - self.began < _SLEPT:
            return self.before  # it did not sleep: bytes had come while the loop was busy
        return self.first if self.first > self.first_read - _PROMPT else self.began


class Timeline(msgspec.Struct, weakref=True):
    """Body bytes and, for every socket read that brought some, its end offset and arrival time.

    Times are nanoseconds of one monotonic clock. `ends` and `times` have one entry a read and only grow.
    """

    asked_ns: int = 0
    """When the request was asked for, before any waiting."""
    due_ns: int = 0
    """When it was due, in open load; 0: whenever it was asked for."""
    sent_ns: int = 0
    """Right before the request's bytes were handed to the socket; 0 when that never happened."""
    ended_ns: int = 0
    """When the response was complete, or failed."""
    wait: float | None = None
    """Seconds waited for a socket of the pool."""
    connect: float | None = None
    """Seconds of name look-up and TCP connect; None on a connection that was kept."""
    tls: float | None = None
    """Seconds of the TLS handshake; None where there was none."""
    clock: str = "user"
    """Whose arrival times these are: the kernel's, or our own when we got to read."""
    status: int = 0
    content_type: str = ""
    retry_after: float | None = None
    location: str = ""
    """Where a redirect leads to."""
    body: bytearray = msgspec.field(default_factory=bytearray)
    ends: list[int] = msgspec.field(default_factory=list)
    times: list[int] = msgspec.field(default_factory=list)
    lags: list[int] = msgspec.field(default_factory=list)
    """How long each read had been waiting for us: when it was read − when it arrived."""
    looks: list[Look] = msgspec.field(default_factory=list)
    """Which look told of each read. It is shared by the reads of all sockets, and complete when they are done."""
    complete: bool = False
    """The response ended where its framing said that it would (a closed connection is such an end only where neither
    a length nor chunks were announced)."""
    closed: bool = False
    """Nothing but the closed connection says that it is complete: it may have been cut off."""
    follows: bool = False
    """What comes is fetched by a second request; `sent_ns` stays the first one's."""
    kept: int = 0
    """Approximate bytes of memory of what was parsed from the part of the body that is released."""
    failure: str = ""
    """What stopped it before that: an error kind, or empty."""
    detail: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether the server has accepted the request: any status of 2xx may carry an answer."""
        return 200 <= self.status < 300

    @property
    def weight(self) -> int:
        """Bytes of memory, about, that the answer takes."""
        return len(self.body) + self.kept + OF_READ * len(self.times)

    def follow(self) -> None:
        """The answer is fetched by a second request: of the first one stays when it was sent."""
        for told in (self.body, self.ends, self.times, self.lags, self.looks):
            told.clear()
        self.status, self.content_type, self.complete, self.closed, self.follows = 0, "", False, False, True

    def window(self, read: int) -> int:
        """How long before its arrival a read's socket was empty: all of its bytes came in between."""
        return max(0, self.times[read] - max(self._drained(read), self.looks[read].empty()))

    def _drained(self, read: int) -> int:
        """When the read before left the socket empty, as far as that is known."""
        if not read:
            return self.sent_ns
        before = self.ends[read - 1] - (self.ends[read - 2] if read > 1 else 0)
        return self.times[read - 1] + self.lags[read - 1] if before < _MOST_READ else self.sent_ns

    def reads_within(self, end: int) -> int:
        """How many reads brought nothing behind `end`."""
        return bisect_right(self.ends, end)

    def let_go(self, end: int) -> int:
        """Forget the body up to `end`, which was read, and the reads that brought only that; says how many."""
        reads = self.reads_within(end)
        del self.body[:end], self.ends[:reads], self.times[:reads], self.lags[:reads], self.looks[:reads]
        self.ends = [each - end for each in self.ends]
        return reads
