"""`Timeline`: one request as the wire saw it. The transport fills it; nothing in it is parsed but HTTP's framing."""

from __future__ import annotations

from bisect import bisect_right

import msgspec

_SLEPT = 100_000
"""A look at the sockets that took more nanoseconds than this was a sleep: nothing was waiting when it began."""
_PROMPT = 500_000
"""Who sleeps is woken by the first byte. Where that was so long ago, there may have been older ones before it."""


class Look(msgspec.Struct):
    """One look of an event loop at all of its sockets: those that it does not report hold nothing. Nanoseconds."""

    before: int
    """When the look before it returned."""
    began: int
    returned: int
    first: int
    """The earliest arrival among the bytes that were read after it."""

    def empty(self) -> int:
        """When a socket that it reports held nothing yet."""
        if self.returned - self.began < _SLEPT:
            return self.before
        return self.first if self.first > self.returned - _PROMPT else self.began


class Timeline(msgspec.Struct):
    """Body bytes and, for every socket read that brought some, its end offset and arrival time.

    Times are nanoseconds of one monotonic clock. `ends` and `times` have one entry a read and only grow.
    """

    asked_ns: int = 0
    """When the request was asked for, before any waiting."""
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
    body: bytearray = msgspec.field(default_factory=bytearray)
    ends: list[int] = msgspec.field(default_factory=list)
    times: list[int] = msgspec.field(default_factory=list)
    lags: list[int] = msgspec.field(default_factory=list)
    """How long each read had been waiting for us: when it was read − when it arrived."""
    drained: list[int] = msgspec.field(default_factory=list)
    """When the read before had left the socket empty."""
    looks: list[Look] = msgspec.field(default_factory=list)
    """Which look told of each read. It is shared by the reads of all sockets, and complete when they are done."""
    complete: bool = False
    """The response ended where its framing said that it would (a closed connection is such an end only where neither
    a length nor chunks were announced)."""
    failure: str = ""
    """What stopped it before that: an error kind, or empty."""
    detail: str = ""

    def window(self, read: int) -> int:
        """How long before its arrival a read's socket was empty: all of its bytes came in between."""
        return max(0, self.times[read] - max(self.drained[read], self.looks[read].empty()))

    def reads_within(self, end: int) -> int:
        """How many reads brought nothing behind `end`."""
        return bisect_right(self.ends, end)

    def let_go(self, end: int) -> int:
        """Forget the body up to `end`, which was read, and the reads that brought only that; says how many."""
        reads = self.reads_within(end)
        del self.body[:end], self.ends[:reads], self.times[:reads], self.lags[:reads]
        del self.drained[:reads], self.looks[:reads]
        self.ends = [each - end for each in self.ends]
        return reads
