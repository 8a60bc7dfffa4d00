"""`Record`: what one request came to. Everything after the socket reads Records.

The definitions are DESIGN's, and docs/metrics.md states them for readers. All durations are seconds.
"""

from __future__ import annotations

import msgspec

OK = "ok"
STALL = 0.2
"""A gap between tokens above this is a stall, unless told otherwise."""

CUT = ("length", "max_tokens", "max_output_tokens")
"""What servers say where an answer reached its limit of tokens."""
_TAIL, _LONGEST_PIECE = 400, 100


class Merged(msgspec.Struct):
    """Neighbouring gaps of which only the sum is known: their chunks waited for us, and were read together."""

    total: float
    guesses: list[float]
    """What stands for them among the gaps: the chunks spread evenly over the time in which they came."""
    exact: bool = True
    """False where even the sum is only known not to be more: before the first chunk there is no other."""


class Record(msgspec.Struct):
    name: str = ""
    outcome: str = OK
    """OK, or the kind of its failure (numbers.formats.ERROR_KINDS)."""
    error: str = ""
    """What was said of the failure, without ids and numbers, so that equal failures read equal;"""
    words: str = ""
    """and as it was said, for whoever reads a single one."""
    status: int = 0
    sent: float = 0.0
    """When, on the Timeline's clock; for a request that was never sent, when it was asked for."""
    duration: float = 0.0
    """From `sent` until the response was complete or failed."""
    e2e: float | None = None
    """Last token-bearing delta − sent; the whole body's arrival for an answer that was not streamed."""
    ttft: float | None = None
    """First token-bearing delta − sent. None for an answer that was not streamed: it cannot be known."""
    answer: float | None = None
    """First answer delta − sent."""
    tpot: float | None = None
    """(e2e − ttft) / (output tokens − tokens that were there at TTFT)."""
    ttft_bounds: tuple[float, float] | None = None
    """Between these it lies, where the first chunk was read late and together with others; None: it is exact."""
    arrivals: list[float] = msgspec.field(default_factory=list)
    """When each token-bearing chunk arrived, after `sent`."""
    gaps: list[float] = msgspec.field(default_factory=list)
    """Between neighbouring arrivals."""
    stalls: int = 0
    coalesced: int = 0
    """Chunks that came in the same read as an earlier one."""
    coalesced_at: list[tuple[float, int]] = msgspec.field(default_factory=list)
    """When, after `sent`, and how many at once."""
    merged: list[Merged] = msgspec.field(default_factory=list)
    """Of these, those that did so because we read late: what their gaps were is not known one by one."""
    delay: float | None = None
    """In open load, sent − when it was due."""
    wait: float | None = None
    connect: float | None = None
    tls: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    inputs: int | None = None
    """Texts to embed or documents to rank that were sent; None where the answer is text."""
    token_source: str = ""
    """usage, chunk_usage or chunks: who counted the output tokens."""
    unread: str = ""
    """Where the server counted tokens and none of them was seen: the fields of the stream that are not read."""
    finish: str = ""
    retry_after: float | None = None
    size: int = 0
    """Body bytes."""
    lags: list[float] = msgspec.field(default_factory=list)
    """How long each read had waited for us: what the kernel's arrival times save from the numbers."""
    lag_max: float | None = None
    lag_max_at: float = 0.0
    """When the longest of them was, after `sent`."""
    clock: str = ""
    """The Timeline's; empty where nothing arrived."""
    id: str = ""
    """What was sent as X-Request-Id."""
    text: str = ""
    reasoning: str = ""
    right: bool | None = None
    """Whether somebody who judged the answer found it right; None where nobody did."""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def empty(self) -> bool:
        """No text, and no other piece of an answer such as a call of a tool."""
        return self.answer is None and not self.text.strip()

    @property
    def cut(self) -> bool:
        """The limit of tokens ended the answer."""
        return self.finish.lower() in CUT

    @property
    def repeated(self) -> bool:
        """The answer ends in one piece, of 100 characters at most, said again and again."""
        tail = self.text[-_TAIL:]
        # where its last characters stood before, there it began again
        before = tail.rfind(tail[-_LONGEST_PIECE:], 0, -1)
        length = _TAIL - _LONGEST_PIECE - before
        return len(tail) == _TAIL and length <= _LONGEST_PIECE and tail.endswith(tail[:-length])

    @property
    def blurred(self) -> int:
        """Gaps that are not known one by one."""
        return sum(len(each.guesses) for each in self.merged)

    @property
    def chunks(self) -> int:
        """Token-bearing chunks."""
        return len(self.arrivals)
