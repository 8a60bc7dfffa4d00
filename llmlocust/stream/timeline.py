"""`Timeline`: the bytes of one response with their arrival times. The transport fills it and parses only HTTP's framing."""

from __future__ import annotations

from bisect import bisect_right

import msgspec

_NEVER = 1 << 62
_SLEPT = 200_000
"""Nanoseconds. A poll of the sockets that took longer was a sleep: no data was waiting when it began."""
_MAX_READ = 60_000
"""A read of this many bytes may not have emptied the socket."""
OF_READ = 200
"""Approximate bytes of memory for the notes on one read."""
_PROMPT = 500_000
"""Nanoseconds. The first byte wakes a sleeping loop. If that byte is older than this, others may have arrived before it."""


class Poll(msgspec.Struct):
    """One poll of an event loop over all of its sockets: those that it does not report are empty. Nanoseconds."""

    before: int
    """The moment at which the poll before it had returned, or at least begun."""
    began: int
    first_read: int = 0
    """The moment of the first read after the poll had returned; 0 where nothing was read."""
    first: int = _NEVER
    """The earliest arrival among the bytes that were read."""

    def empty(self) -> int:
        """Return the last moment at which a socket that the poll reports is known to have been empty."""
        if self.first < self.began or self.first_read - self.began < _SLEPT:
            return self.before  # the poll did not sleep: bytes had arrived while the loop was busy
        return self.first if self.first > self.first_read - _PROMPT else self.began


class Timeline(msgspec.Struct, weakref=True):
    """Body bytes and, for every socket read with body bytes, its end offset and arrival time.

    Times are nanoseconds of one monotonic clock. `ends` and `times` have one entry per read and only grow.
    """

    requested_ns: int = 0
    """The moment at which the user requested it, before any waiting."""
    due_ns: int = 0
    """In open load, the moment at which the request was due; 0 in closed load."""
    sent_ns: int = 0
    """The moment right before the request's bytes were handed to the socket; 0 if that never happened."""
    ended_ns: int = 0
    """The moment at which the response was complete, or failed."""
    client_queue: float | None = None
    """Seconds of waiting for a connection of the pool."""
    connect: float | None = None
    """Seconds of name look-up and TCP connect; None on a connection that was reused."""
    tls: float | None = None
    """Seconds of the TLS handshake; None where there was none."""
    clock: str = "user"
    """The clock of the arrival times: "kernel", or "user" where the process took the time after reading."""
    status: int = 0
    content_type: str = ""
    retry_after: float | None = None
    should_retry: str = ""
    """The header x-should-retry of an error: "true" or "false", by which the server directs SDKs."""
    location: str = ""
    """The target of a redirect."""
    body: bytearray = msgspec.field(default_factory=bytearray)
    ends: list[int] = msgspec.field(default_factory=list)
    times: list[int] = msgspec.field(default_factory=list)
    lags: list[int] = msgspec.field(default_factory=list)
    """How late each read was: the moment of the read − the arrival."""
    polls: list[Poll | int] = msgspec.field(default_factory=list)
    """The poll that reported each read, or the last moment before at which the socket is known to have been empty. All reads
    after a poll share it; it is complete when they are done."""
    complete: bool = False
    """The response ended where its framing announced it (a closed connection is such an end only where neither
    a length nor chunks were announced)."""
    closed: bool = False
    """Only the closed connection indicates the end: the response may have been cut off."""
    follows: bool = False
    """The answer is fetched by a second request; `sent_ns` is still the first one's."""
    kept: int = 0
    """Approximate bytes of memory of what was parsed from the part of the body that is released."""
    failure: str = ""
    """The error kind of a failure before the end; empty without one."""
    detail: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether the server has accepted the request: a response with any 2xx status may be an answer."""
        return 200 <= self.status < 300

    @property
    def weight(self) -> int:
        """Approximate bytes of memory that the answer takes."""
        return len(self.body) + self.kept + OF_READ * len(self.times)

    def follow(self) -> None:
        """Prepare for the second request that fetches the answer: only the moment of sending is kept."""
        for received in (self.body, self.ends, self.times, self.lags, self.polls):
            received.clear()
        self.status, self.content_type, self.complete, self.closed, self.follows = 0, "", False, False, True
        self.ended_ns = 0

    def window(self, read: int) -> int:
        """Return how long before a read's arrival its socket was empty: all of its bytes arrived in that time."""
        poll = self.polls[read]
        empty = poll if isinstance(poll, int) else poll.empty()
        return max(0, self.times[read] - max(self._drained(read), empty))

    def _drained(self, read: int) -> int:
        """Return when the previous read left the socket empty, or, if that is not known, when the request was sent."""
        if not read:
            return self.sent_ns
        before = self.ends[read - 1] - (self.ends[read - 2] if read > 1 else 0)
        return self.times[read - 1] + self.lags[read - 1] if before < _MAX_READ else self.sent_ns

    def reads_within(self, end: int) -> int:
        """Return the number of reads that ended at or before the offset `end`."""
        return bisect_right(self.ends, end)

    def release(self, end: int) -> int:
        """Remove the body up to `end`, which was parsed, and the reads of only those bytes. Returns the number of reads."""
        reads = self.reads_within(end)
        del self.body[:end], self.ends[:reads], self.times[:reads], self.lags[:reads], self.polls[:reads]
        self.ends = [offset - end for offset in self.ends]
        return reads
